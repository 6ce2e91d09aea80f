/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* HTTP/1.1 as far as it can be read exactly: one request at a time, heads that come in one message.
 * Anything else (a split head, pipelining, an upgrade, another protocol) ends the following of a connection, and is
 * counted; what was counted before stays right. */
#ifndef MESHLAB_HTTP_H
#define MESHLAB_HTTP_H
#include "counters.h"
#include "edges.h"
#include "events.h"
#include "flows.h"

#define HEAD_BYTES 1024             /* a longer request head is not parsed */
#define RESPONSE_HEAD_BYTES 512    /* of a longer response head the length of the body is not known */
#define UNTIL_RESPONSE (1ULL << 62)    /* a body in chunks: where it ends is not known */
#define METHOD_GET 1
#define METHOD_POST 2
#define METHOD_PUT 3
#define METHOD_DELETE 4
#define METHOD_HEAD 5
#define METHOD_PATCH 6
#define METHOD_OPTIONS 7
#define WORD(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)
#define LETTERS(a, b, c, d, e, f, g, h) \
    ((u64)(a) << 56 | (u64)(b) << 48 | (u64)(c) << 40 | (u64)(d) << 32 | (u64)(e) << 24 | (u64)(f) << 16 | (u64)(g) << 8 | (u64)(h))
#define CONTENT LETTERS('\n', 'c', 'o', 'n', 't', 'e', 'n', 't')
#define LENGTH LETTERS('-', 'l', 'e', 'n', 'g', 't', 'h', ':')
#define TRANSFER LETTERS('a', 'n', 's', 'f', 'e', 'r', '-', 'e')
#define ENCODING LETTERS('n', 'c', 'o', 'd', 'i', 'n', 'g', ':')

struct head { u32 bytes; u32 chunked; u64 body; };

/* Make the verifier forget what it knows of a number: else it follows each possible end of the loop by itself. */
#define FORGET(number, unknown) \
    asm volatile("%0 ^= %1" : "+r"(number) : "r"(unknown)); \
    asm volatile("%0 ^= %1" : "+r"(number) : "r"(unknown))

/* The decimal number at an offset, after spaces. */
static inline u64 digits(void *data, void *end, u64 offset, u64 unknown)
{
    u64 found = 0;
    FORGET(offset, unknown);
    u8 *text = data + (offset & (2 * HEAD_BYTES - 1));
    for (u32 i = 0; i < 20; i++) {
        if ((void *)(text + i + 1) > end)
            break;
        u32 digit = text[i] - '0';
        if (digit > 9 && (text[i] != ' ' || found))
            break;
        found = digit > 9 ? 0 : found * 10 + digit;
        FORGET(found, unknown);
    }
    return found;
}

/* Find the end of a head, its Content-Length and whether its body is in chunks. `bytes` is 0 if the end is not there.
 * `unknown` is any number that the verifier does not know. Few branches, and no knowledge carried round the loop: this
 * is most of what the verifier has to walk through. */
static inline struct head scan(struct sk_msg_md *msg, u32 limit, u64 unknown)
{
    struct head head = {};
    void *data = msg->data, *end = msg->data_end;
    u64 before = 0, last = 0, bytes = 0, number = 0, chunked = 0;
    for (u32 i = 0; i < limit; i++) {
        if (data + i + 1 > end)
            break;
        u32 letter = *(u8 *)(data + i);
        letter |= ((64 - letter) & (letter - 91)) >> 31 << 5;    /* A to Z in lower case */
        before = before << 8 | last >> 56;
        last = last << 8 | letter;
        FORGET(before, unknown);
        FORGET(last, unknown);
        if ((u32)last == 0x0d0a0d0a) {
            bytes = i + 1;
            break;
        }
        if (letter != ':')
            continue;
        if (last == LENGTH && before == CONTENT)
            number = i + 1;
        if (last == ENCODING && before == TRANSFER)
            chunked = 1;
        FORGET(number, unknown);
        FORGET(chunked, unknown);
        FORGET(last, unknown);
        FORGET(before, unknown);
    }
    FORGET(bytes, unknown);
    head.bytes = (u32)bytes;
    head.chunked = (u32)chunked;
    barrier();    /* read the pointers again: how far they are known to be good differs at each end of the loop */
    head.body = number ? digits(msg->data, msg->data_end, number, unknown) : 0;
    return head;
}

/* The whole head in one piece: what a message holds may lie in several pages. */
static inline int reach(struct sk_msg_md *msg)
{
    u32 size = msg->size;
    if (msg->data + (size < HEAD_BYTES ? size : HEAD_BYTES) <= msg->data_end)
        return 1;
    return !bpf_msg_pull_data(msg, 0, size < HEAD_BYTES ? size : HEAD_BYTES, 0);
}

static inline void lose(struct exchange *http, u32 why)
{
    http->state = HTTP_LOST;
    count(why);
}

/* The method by its first four letters; `skip` is where the path begins. 0: none. */
static inline u8 method_of(u32 word, u64 *skip)
{
    switch (word) {
    case WORD('G', 'E', 'T', ' '): *skip = 4; return METHOD_GET;
    case WORD('P', 'O', 'S', 'T'): *skip = 5; return METHOD_POST;
    case WORD('P', 'U', 'T', ' '): *skip = 4; return METHOD_PUT;
    case WORD('D', 'E', 'L', 'E'): *skip = 7; return METHOD_DELETE;
    case WORD('H', 'E', 'A', 'D'): *skip = 5; return METHOD_HEAD;
    case WORD('P', 'A', 'T', 'C'): *skip = 6; return METHOD_PATCH;
    case WORD('O', 'P', 'T', 'I'): *skip = 8; return METHOD_OPTIONS;
    }
    return 0;
}

static inline void keep_path(struct exchange *http, void *data, u64 skip, void *end, u64 unknown)
{
    u64 hash = 2166136261, i;    /* FNV-1a */
    FORGET(hash, unknown);
    u8 *path = data + (skip & 15);
    __builtin_memset(http->path, 0, sizeof(http->path));
    for (i = 0; i < PATH_BYTES; i++) {
        if ((void *)(path + i + 1) > end || path[i] == ' ' || path[i] == '?')
            break;
        http->path[i] = path[i];
        hash = (u32)((hash ^ path[i]) * 16777619);
    }
    FORGET(i, unknown);
    http->path_length = (u8)i;
    http->path_hash = hash ? (u32)hash : 1;
}

/* Where the client's stream is, before this message. Counted by the kernel's own numbers: a program is not asked about
 * every message (the verdict on one that met a full buffer is kept for the next). */
static inline void advance(struct exchange *http, u32 sequence)
{
    http->position += (u32)(sequence - http->sequence);
    http->sequence = sequence;
}

/* A message of the client. `sequence` is how much it sent before, in the low 32 bits. */
static inline void observe_request(struct sk_msg_md *msg, struct exchange *http, u32 sequence)
{
    u64 size = msg->size;
    u64 skip = 0;
    advance(http, sequence);
    if (http->position < http->request_end) {
        if (http->position + size > http->request_end)
            lose(http, COUNT_HTTP_PIPELINED);
        return;
    }
    if (http->state == HTTP_WAITING)
        return lose(http, COUNT_HTTP_PIPELINED);
    if (!reach(msg) || msg->data + 16 > msg->data_end)
        return lose(http, COUNT_HTTP_UNPARSED);
    u64 method = method_of(*(u32 *)msg->data, &skip);
    FORGET(method, size);
    FORGET(skip, size);
    http->method = (u8)method;
    if (!method)
        return lose(http, COUNT_HTTP_UNPARSED);
    keep_path(http, msg->data, skip, msg->data_end, size);
    barrier();    /* as in scan: it differs with the path's length */
    struct head head = scan(msg, HEAD_BYTES, size);
    if (!head.bytes)
        return lose(http, COUNT_HTTP_UNPARSED);
    http->request_end = head.chunked ? UNTIL_RESPONSE : http->position + head.bytes + head.body;
    if (http->position + size > http->request_end)
        return lose(http, COUNT_HTTP_PIPELINED);
    http->request_bytes = head.body;
    http->began_ns = bpf_ktime_get_ns();
    http->state = HTTP_WAITING;
    count(COUNT_HTTP_REQUESTS);
}

static inline void report_request(struct flow *flow, struct tuple *key, u16 status, u64 latency_ns, u64 body)
{
    struct event *event = event_begin(EVENT_REQUEST, OUTCOME_ALLOWED, (u8)flow->reason);
    if (!event)
        return;
    event->duration_ns = latency_ns;
    event->request_bytes = flow->http.request_bytes;
    event->response_bytes = body;
    event->source_pod = flow->source_pod;
    event->source_identity = flow->source_identity;
    event->destination_pod = flow->destination_pod;
    event->destination_identity = flow->destination_identity;
    event->service = flow->service;
    event->policy = flow->policy;
    event->source_ip = key->client_ip;
    event->destination_ip = key->server_ip;
    event->source_port = key->client_port;
    event->destination_port = key->server_port;
    event->status = status;
    event->method = flow->http.method;
    event->path_length = flow->http.path_length;
    __builtin_memcpy(event->path, flow->http.path, PATH_BYTES);
    events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

static inline void add_to_edge(struct flow *flow, u16 status, u64 latency_us, u64 body)
{
    struct edge_key key = {flow->source_pod, flow->destination_pod, flow->service, flow->http.path_hash, status,
                           flow->http.method};
    struct edge *edge = edge_of(&key, &flow->http);
    if (!edge)
        return;
    __sync_fetch_and_add(&edge->count, 1);    /* atomic: see counters.h */
    __sync_fetch_and_add(&edge->request_bytes, flow->http.request_bytes);
    __sync_fetch_and_add(&edge->response_bytes, body);
    __sync_fetch_and_add(&edge->latency_us, latency_us);
    __sync_fetch_and_add(&edge->latency[latency_bucket(latency_us) & (LATENCY_BUCKETS - 1)], 1);
}

/* A message of the server while a request waits: the response's head, or 1xx before it. */
static inline void observe_response(struct sk_msg_md *msg, struct flow *flow, struct tuple *key, u32 events_wanted)
{
    struct exchange *http = &flow->http;
    if (!reach(msg) || msg->data + 16 > msg->data_end)
        return lose(http, COUNT_HTTP_UNPARSED);
    u8 *text = msg->data;
    if (*(u32 *)text != WORD('H', 'T', 'T', 'P') || text[4] != '/')
        return lose(http, COUNT_HTTP_UNPARSED);
    u16 status = (u16)((text[9] - '0') * 100 + (text[10] - '0') * 10 + (text[11] - '0'));
    if (status == 101)
        return lose(http, COUNT_HTTP_UNPARSED);
    if (status < 200)
        return;
    u64 body = scan(msg, RESPONSE_HEAD_BYTES, http->began_ns).body;
    u64 latency_ns = bpf_ktime_get_ns() - http->began_ns;
    if (http->request_end == UNTIL_RESPONSE)
        http->request_end = 0;
    http->state = HTTP_IDLE;
    count(COUNT_HTTP_RESPONSES);
    add_to_edge(flow, status, latency_ns / 1000, body);
    if (events_wanted)
        report_request(flow, key, status, latency_ns, body);
}
#endif
