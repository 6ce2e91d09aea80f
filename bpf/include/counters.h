/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* Everything that happened or was lost, counted per CPU.
 * inserted in: nowhere (an array); counted in: every program; deleted in: never; read in: counters.py.
 * Size: 64 x 8 bytes x CPUs. */
#ifndef MESHLAB_COUNTERS_H
#define MESHLAB_COUNTERS_H
#include "types.h"
#define COUNT_CONNECTS 0           /* TCP connects of meshed pods that connect.c judged */
#define COUNT_BALANCED 1           /* ... whose service address became a backend's */
#define COUNT_DIVERTED 2           /* ... sent to the node's Envoy */
#define COUNT_DENIED_AT_SOURCE 3   /* ... refused by a rule before a packet left */
#define COUNT_NO_BACKEND 4         /* ... refused: the service has no backend */
#define COUNT_FAMILY_REFUSED 5     /* ... refused: IPv6 that is not IPv4-mapped */
#define COUNT_SOCKETS_REFUSED 6    /* MPTCP sockets that a meshed pod was not given */
#define COUNT_INBOUND_ALLOWED 7    /* arrivals with kernel identity that a rule let through */
#define COUNT_DENIED_AT_DESTINATION 8
#define COUNT_STEERED 9            /* arrivals handed to the node's Envoy */
#define COUNT_NO_PROXY 10          /* arrivals refused because no Envoy listens there */
#define COUNT_UNKNOWN_ADDRESS 11   /* arrivals refused: a pod's address that nobody announced */
#define COUNT_FLOWS 12             /* same-node connections with an identity */
#define COUNT_FLOWS_LOST 13        /* ... that found the map full (they go through Envoy) */
#define COUNT_FLOWS_ENDED 14
#define COUNT_ORIGINALS_LOST 15    /* diverted connections whose destination could not be kept */
#define COUNT_ORIGINALS_ASKED 16   /* SO_ORIGINAL_DST of the proxy */
#define COUNT_ORIGINALS_FOUND 17
#define COUNT_NOT_READY 18         /* judged before the first policy, or a pod without a default rule */
#define COUNT_STORAGE_LOST 19      /* sockets whose state the kernel could not allocate */
#define COUNT_READERS 20           /* ends of connections whose HTTP is read */
#define COUNT_EVENTS 21
#define COUNT_EVENTS_LOST 22       /* the ring buffer was full */
#define COUNT_HTTP_REQUESTS 23
#define COUNT_HTTP_RESPONSES 24    /* whole: each is in an edge */
#define COUNT_HTTP_UPGRADED 25     /* connections that became another protocol (101), which is not followed */
#define COUNT_HTTP_UNPARSED 26     /* connections not followed any further: no head at the place of one, or too long */
#define COUNT_HTTP_PIPELINED 27    /* ... a request before the response to the one before was whole */
#define COUNT_HTTP_GAPS 28         /* ... bytes that were never seen */
#define COUNT_HTTP_CUT 29          /* paths and authorities longer than what is kept of them */
#define COUNT_EDGES_LOST 30        /* requests that found the table of edges full */
#define COUNT_INWARDS 31           /* dials of the proxy to a pod's own application, from its client's address */
#define COUNT_HANDED_OVER 32       /* packets that went from pod to pod past the bridge */
#define COUNT_INWARD_PORTS_SHORT 33    /* COUNT_INWARDS whose port a client's connection may have as well: all others were taken */
#define COUNT_DNS_ASKED 34         /* questions of pods by DNS over UDP */
#define COUNT_DNS_ANSWERED 35      /* ... each of which is told with its answer */

BPF_F_TABLE(PINNED("percpu_array", "counters"), u32, u64, counters, 64, 0);

/* Atomic although per CPU: a program may be preempted by another on the same CPU, and none is to be missed. */
static inline void count(u32 which)
{
    u64 *value = counters.lookup(&which);
    if (value)
        __sync_fetch_and_add(value, 1);
}
#endif
