/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* Same-node connections of meshed pods, from before the SYN to the client's close: who the kernel knows the client to be.
 * inserted in: sockops.c (TCP_CONNECT_CB); deleted in: sockops.c (close of the client's socket);
 * read in: lookup.c, sockops.c, msg.c. Size: 65536 x 240 bytes, allocated as used. */
#ifndef MESHLAB_FLOWS_H
#define MESHLAB_FLOWS_H
#include "types.h"
#define PATH_BYTES 48
/* One direction of a pair, see msg.c. */
struct direction {
    u64 bytes;          /* sent over the short cut */
    u32 spent;          /* of the present budget */
    u32 drained;        /* where in the stream the receiver's application had got to, when last known */
    u8 drained_known;
    u8 on_tcp;          /* a direction begins here, and comes back when it is proven drained */
    u8 begun, pad[5];
};
/* HTTP/1.1 on this connection, see http.h. */
struct exchange {
    u64 began_ns;
    u64 position;        /* of the client's stream: bytes that it has sent, whichever way */
    u64 request_end;     /* the position where the present request ends */
    u64 request_bytes;
    u32 sequence;        /* the low half of `position`, as the kernel counts */
    u32 path_hash;
    u8 state, method, path_length, pad;
    char path[PATH_BYTES];
};
#define HTTP_IDLE 0       /* a request's head comes next */
#define HTTP_WAITING 1    /* for the response's head */
#define HTTP_LOST 2       /* not followed any further */
struct flow {
    u64 generation;
    u64 started_ns;
    u32 source_pod, source_identity, destination_pod, destination_identity, service;
    u32 setup_us;
    u32 policy;
    u16 reason;
    u8 closed_by, shortcut;
    struct direction request, response;
    struct exchange http;
};
#define CLOSED_BY_SOURCE 1
#define CLOSED_BY_DESTINATION 2
HASH(flows, tuple, flow, 65536);
#endif
