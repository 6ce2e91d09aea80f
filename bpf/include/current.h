/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* Which generation of services, backends and rules is in force. A hash, not an array: the kernel swaps an element of a
 * hash as a whole, so a program never reads half of an old and half of a new value.
 * inserted in: policy.py; deleted in: never; read in: connect.c, lookup.c, policy.py. Size: 1 x 24 bytes. */
#ifndef MESHLAB_CURRENT_H
#define MESHLAB_CURRENT_H
#include "types.h"
struct current_key { u32 zero; };
struct generation {
    u64 number;      /* 0: nothing was applied yet */
    u32 previous;    /* is the one before it still whole (0 while the next is being written over it) */
    u32 flags;
};
#define DIVERT_UNKNOWN 1    /* destinations outside the mesh go to Envoy too */
#define REQUEST_EVENTS 2    /* an event for each HTTP request, beside the aggregated edges */
HASH(current, current_key, generation, 1);

#define SLOT(number) ((u16)((number) & 1))

static inline struct generation *generation_now(void)
{
    struct current_key key = {};
    return current.lookup(&key);
}

/* The slot in which a connection that began under `number` is judged: its own while that is whole, else the present. */
static inline u16 slot_for(struct generation *now, u64 number)
{
    if (number == now->number || (number + 1 == now->number && now->previous))
        return SLOT(number);
    return SLOT(now->number);
}
#endif
