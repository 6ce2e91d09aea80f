/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* What user space is told: one record per denied connection, per end of a connection whose requests were not all told, and, on demand, per request.
 * inserted in: connect.c, lookup.c, sockops.c, egress.c; deleted in: ring.py, as it reads; read in: ring.py.
 * Size: 8 MiB (26886 records). */
#ifndef MESHLAB_EVENTS_H
#define MESHLAB_EVENTS_H
#include "counters.h"
#include "flows.h"
#include "reasons.h"
struct event {
    u64 time_ns;                  /* CLOCK_MONOTONIC */
    u64 duration_ns;              /* request: latency; connection: life */
    u64 connected_ns;             /* when the connection began; 0: it was refused */
    u64 request_bytes, response_bytes;
    u32 source_pod, source_identity, destination_pod, destination_identity, service, policy;
    u32 source_ip, destination_ip;
    u16 source_port, destination_port;
    u32 setup_us, rtt_us, retransmits;
    u16 status;
    u8 kind, verdict, reason, closed_by, method, end;
    char path[PATH_BYTES], authority[AUTHORITY_BYTES];
    u8 trace_id[TRACE_BYTES];
};
#define EVENT_CONNECTION 1
#define EVENT_REQUEST 2
#define EVENT_DNS 3    /* a question and its answer; `path`: the question as on the wire, `status`: the RCODE */
#define OUTCOME_ALLOWED 0
#define OUTCOME_DENIED 1
#define OUTCOME_FAILED 2

struct events_table {
    int key;
    struct event leaf;    /* not the kernel's business: it lets bcc describe the record to Python */
    void *(*ringbuf_reserve)(u64);
    void (*ringbuf_discard)(void *, u64);
    void (*ringbuf_submit)(void *, u64);
    u32 max_entries;
};
__attribute__((section("maps/" PINNED("ringbuf", "events"))))
struct events_table events = {.max_entries = 8388608};

static inline struct event *event_begin(u8 kind, u8 verdict, u8 reason)
{
    struct event *event = events.ringbuf_reserve(sizeof(struct event));
    if (!event) {
        count(COUNT_EVENTS_LOST);
        return 0;
    }
    count(COUNT_EVENTS);
    __builtin_memset(event, 0, sizeof(*event));
    event->time_ns = bpf_ktime_get_ns();
    event->kind = kind;
    event->verdict = verdict;
    event->reason = reason;
    return event;
}

/* Of a connection that was made. */
static inline struct event *event_of(struct flow *flow, struct tuple *key, u8 kind, u8 verdict, u8 reason)
{
    struct event *event = event_begin(kind, verdict, reason);
    if (!event)
        return 0;
    event->source_pod = flow->source_pod;
    event->source_identity = flow->source_identity;
    event->destination_pod = flow->destination_pod;
    event->destination_identity = flow->destination_identity;
    event->service = flow->service;
    event->policy = flow->policy;
    event->source_ip = flow->source_ip;
    event->destination_ip = flow->destination_ip;
    event->source_port = key->client_port;
    event->destination_port = flow->destination_port;
    event->connected_ns = flow->started_ns;
    event->end = flow->end;
    return event;
}
#endif
