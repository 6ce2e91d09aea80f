/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* Every address of the mesh.
 * inserted in: pods.py (own pods), policy.py (others); deleted in: the same; read in: connect.c, sockops.c, lookup.c,
 * peer.c.
 * Size: 65536 x 28 bytes, allocated as used. */
#ifndef MESHLAB_ADDRESSES_H
#define MESHLAB_ADDRESSES_H
#include "types.h"
struct address_key { u32 ip; };
struct address { u64 cookie; u32 pod, identity, flags, link; };    /* cookie, link (the node's end): 0 unless local */
#define ADDRESS_LOCAL 1     /* on this node */
#define ADDRESS_KERNEL 2    /* its plane is sidecarless */
#define ADDRESS_SIDECAR 4   /* its plane is sidecar */
#define ADDRESS_BYPASS 8    /* never diverted (the node's DNS) */
HASH(addresses, address_key, address, 65536);

static inline struct address *address_of(u32 ip)
{
    struct address_key key = {ip};
    return addresses.lookup(&key);
}
#endif
