/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* Both ends of same-node connections, each under its own address first: messages skip TCP between them.
 * inserted in: sockops.c (established); deleted in: the kernel, when the socket closes; read in: msg.c.
 * Size: 65536 sockets. */
#ifndef MESHLAB_PAIRS_H
#define MESHLAB_PAIRS_H
#include "types.h"
struct pairs_table {
    struct tuple key;
    int leaf;
    int (*sock_hash_update)(void *, struct tuple *, u64);
    int (*msg_redirect_hash)(void *, struct tuple *, u64);
    u32 max_entries;
};
__attribute__((section("maps/" PINNED("sockhash", "pairs"))))
struct pairs_table pairs = {.max_entries = 65536};
#endif
