/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* Requests that were answered, per CPU: always on, whether or not each is also told as an event.
 * inserted in: egress.c, sockops.c; deleted in: never; read in: edges.py.
 * Size: 8192 x 296 bytes x CPUs, allocated as used. When it is full a request is counted under path 0. */
#ifndef MESHLAB_EDGES_H
#define MESHLAB_EDGES_H
#include "counters.h"
#include "flows.h"
#define LATENCY_BUCKETS 64
struct edge_key { u32 source_pod, destination_pod, service, path_hash; u16 status; u8 method, pad; };
struct edge {
    u64 count, request_bytes, response_bytes, latency_us;
    u32 latency[LATENCY_BUCKETS];    /* two per doubling: bucket 2n and 2n+1 share [2^n, 2^(n+1)) microseconds */
};
BPF_F_TABLE(PINNED("percpu_hash", "edges"), struct edge_key, struct edge, edges, 8192, BPF_F_NO_PREALLOC);

/* The first path of each hash.
 * inserted in: egress.c, with the edge; deleted in: never; read in: edges.py. Size: 8192 x 132 bytes, allocated as used. */
struct path_key { u32 hash; };
struct path { char text[PATH_BYTES]; };
HASH(paths, path_key, path, 8192);

/* An edge is too large for a program's stack. Written in: nowhere. Size: 1 x 288 bytes x CPUs; never read. */
BPF_F_TABLE(PINNED("percpu_array", "blank_edge"), u32, struct edge, blank_edge, 1, 0);

static inline u32 latency_bucket(u64 us)
{
    u32 power = 0;
    u64 rest = us;
    if (rest >> 16) { rest >>= 16; power += 16; }
    if (rest >> 8) { rest >>= 8; power += 8; }
    if (rest >> 4) { rest >>= 4; power += 4; }
    if (rest >> 2) { rest >>= 2; power += 2; }
    if (rest >> 1) power += 1;
    u32 bucket = 2 * power + (power ? (u32)(us >> (power - 1)) & 1 : 0);
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static inline struct edge *edge_of(struct edge_key *key, struct exchange *http)
{
    struct edge *found = edges.lookup(key);
    if (found)
        return found;
    u32 zero = 0;
    struct edge *blank = blank_edge.lookup(&zero);
    if (!blank)
        return 0;
    if (edges.update(key, blank)) {
        count(COUNT_EDGES_LOST);
        key->path_hash = 0;
        edges.update(key, blank);
    } else {
        struct path_key hash = {key->path_hash};
        paths.insert(&hash, (struct path *)http->path);
    }
    return edges.lookup(key);
}
#endif
