/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* What became of one socket's connect; it lives and dies with the socket.
 * inserted in: connect.c, inward.c; deleted in: the kernel, with the socket; read in: connect.c, sockops.c.
 * Size: 48 bytes a socket. */
#ifndef MESHLAB_SOCKETS_H
#define MESHLAB_SOCKETS_H
#include "backends.h"
struct dial {
    u64 generation;
    u64 started_ns;
    struct target dialled;     /* what the application asked for, and sees with getpeername */
    struct target original;    /* what the proxy is told */
    u32 service, flags;
    u32 policy;                /* of the rule that let it through at the source, with its reason and http */
    u8 reason, http, pad[2];
};
#define DIAL_BALANCED 1
#define DIAL_DIVERTED 2
#define DIAL_COUNTED 4
#define DIAL_INWARD 8       /* the proxy's to an application, to be read */
BPF_F_TABLE(PINNED("sk_storage", "sockets"), int, struct dial, sockets, 0, BPF_F_NO_PREALLOC);
#endif
