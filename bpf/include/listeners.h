/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* The listening sockets of the node's Envoy inside pods' namespaces.
 * inserted in: sockops.c (TCP_LISTEN_CB in the proxy's cgroup); deleted in: the kernel, when the socket closes;
 * read in: lookup.c. Size: 16384 sockets. */
#ifndef MESHLAB_LISTENERS_H
#define MESHLAB_LISTENERS_H
#include "types.h"
struct listener_key { u64 cookie; u32 port, pad; };
/* bcc has no sockhash that can be pinned and looked up: its macro written out, with both. */
struct listeners_table {
    struct listener_key key;
    int leaf;
    void *(*lookup)(struct listener_key *);
    int (*sock_hash_update)(void *, struct listener_key *, u64);
    u32 max_entries;
};
__attribute__((section("maps/" PINNED("sockhash", "listeners"))))
struct listeners_table listeners = {.max_entries = 16384};
#endif
