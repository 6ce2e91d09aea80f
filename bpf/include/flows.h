/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* Connections of meshed pods, from before the SYN to the client's close. Within the node: who the kernel knows the client
 * to be. Of what the proxy carries between nodes without reading it: one for each end, there the application's.
 * inserted in: sockops.c (TCP_CONNECT_CB); deleted in: sockops.c (close of the client's socket);
 * read in: lookup.c, sockops.c, egress.c. Size: 65536 x 376 bytes, allocated as used. */
#ifndef MESHLAB_FLOWS_H
#define MESHLAB_FLOWS_H
#include "types.h"
#define PATH_BYTES 128
#define AUTHORITY_BYTES 64
#define TRACE_BYTES 16
/* HTTP/1.1 on this connection, see http.h. */
struct exchange {
    u64 began_ns;
    u64 open;            /* 1 from the request's head to the whole response: who takes it tells of the exchange */
    u64 requests;
    u64 request_bytes, response_bytes;    /* of the bodies: as announced, or of chunks as sent */
    u32 path_hash;
    u16 status;          /* 0: no response yet */
    u8 state, method, pad[8];
    char path[PATH_BYTES], authority[AUTHORITY_BYTES];
    u8 trace_id[TRACE_BYTES];
};
#define HTTP_OFF 0         /* the rule does not say that it speaks HTTP */
#define HTTP_FOLLOWED 1
#define HTTP_LOST 2        /* not followed any further, and not every request was told */
#define HTTP_UPGRADED 3    /* another protocol since the last request */
struct flow {
    u64 generation;
    u64 started_ns;
    u32 source_pod, source_identity, destination_pod, destination_identity, service;
    u32 source_ip, destination_ip;    /* the pods', where the key has the proxy's */
    u32 setup_us;
    u32 policy;
    u16 reason;
    u8 closed_by;
    u8 fin_sent;         /* by the client */
    u8 told;             /* by a denial, or by the proxy: its end is no news */
    u8 end;
    u16 destination_port;
    u8 pad[6];
    u64 acked, received; /* what TCP had counted when the connection was established: a SYN */
    struct exchange http;
};
#define END_BOTH 0           /* within the node */
#define END_SOURCE 1         /* from the application to the proxy, which carries it on: to whom, the proxy knows */
#define END_DESTINATION 2    /* from the proxy to the application: for whom, the proxy knows */
#define CLOSED_BY_SOURCE 1
#define CLOSED_BY_DESTINATION 2
HASH(flows, tuple, flow, 65536);
#endif
