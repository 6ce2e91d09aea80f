/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* How far one end's outgoing HTTP has been read: a socket that has none is not read. The kernel sends for one socket at a
 * time, so nobody else writes here meanwhile; the buffer is a socket's own because programs interrupt each other on a CPU.
 * inserted in: sockops.c (established, where the rule says http); deleted in: the kernel, with the socket; read in:
 * egress.c. Size: 3.2 KB a socket. */
#ifndef MESHLAB_READERS_H
#define MESHLAB_READERS_H
#include "types.h"
#define HEAD_BYTES 2048    /* a head may have; a power of two */
#define PART_BYTES 1024    /* a packet may add to the head that another has begun */
struct reader {
    struct tuple key;    /* of the flow */
    u32 next;            /* the sequence number that comes next: what lies before has been read */
    u64 left;            /* of a body */
    u64 tail;            /* the stream's last 8 bytes, the last one on top */
    u8 phase, is_client;
    u8 whole;            /* the response is, with this packet */
    /* The head that is being read: how much of it is there, where the present message and the present line begin, and
     * where the values begin of headers that matter (0: none). */
    u16 filled, base, line, length_at, host_at, trace_at, chunked;
    u32 offset, length, before;    /* of this packet's new bytes; what of the head was there before them */
    u8 text[HEAD_BYTES + PART_BYTES + 32];
};
#define READ_HEAD 0
#define READ_BODY 1       /* `left` bytes of it */
#define READ_CHUNKS 2     /* up to the last chunk */
#define READ_TO_END 3     /* up to the end of the connection */
#define READ_NOTHING 4    /* any more */
BPF_F_TABLE(PINNED("sk_storage", "readers"), int, struct reader, readers, 0, BPF_F_NO_PREALLOC);
#endif
