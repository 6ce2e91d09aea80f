/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* The pods of this node, by the cookie of their network namespace: what a process cannot forge by an address, nor
 * change by a move to another cgroup.
 * inserted in: pods.py, before a pod's first process; deleted in: pods.py; read in: connect.c, sockops.c, inward.c.
 * Size: 4096 x 24 bytes. */
#ifndef MESHLAB_PODS_H
#define MESHLAB_PODS_H
#include "types.h"
struct pod_key { u64 cookie; };
struct pod { u32 index, identity, ip, flags; };
#define POD_MESHED 1
HASH(pods, pod_key, pod, 4096);

static inline struct pod *pod_of(u64 cookie)
{
    struct pod_key key = {cookie};
    return pods.lookup(&key);
}
#endif
