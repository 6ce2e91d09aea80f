/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* HTTP/1.1 as far as it can be read exactly: one request at a time, heads of up to HEAD_BYTES in any number of packets.
 * What cannot be (pipelining, another protocol, trailers) ends the following of a connection and is counted; what was
 * counted before stays right. The client's end writes what is known of the request, the server's what is known of the
 * response; `open` goes from one to the other and is taken by who reports the exchange.
 *
 * The verifier follows every branch of a loop on its own unless both ends of it look alike: so what is found in a head is
 * kept in the reader, which it does not track, and numbers that differ are masked alike. */
#ifndef MESHLAB_HTTP_H
#define MESHLAB_HTTP_H
#include "counters.h"
#include "current.h"
#include "edges.h"
#include "events.h"
#include "flows.h"
#include "readers.h"

#define METHOD_GET 1
#define METHOD_POST 2
#define METHOD_PUT 3
#define METHOD_DELETE 4
#define METHOD_HEAD 5
#define METHOD_PATCH 6
#define METHOD_OPTIONS 7

#define STEPS 384               /* words and line ends of a head */
#define AT(number) ((number) & (HEAD_BYTES - 1))
#define WORD(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)
#define LETTERS(a, b, c, d, e, f, g, h) ((u64)WORD(a, b, c, d) | (u64)WORD(e, f, g, h) << 32)
#define EACH_BYTE 0x0101010101010101ULL
#define SMALL (EACH_BYTE * 0x20)    /* makes letters small; what it does to others makes no name of a header of them */
#define FIRST(bytes) (~0ULL >> (64 - 8 * (bytes)))
#define LAST_CHUNK (LETTERS(0, '\r', '\n', '0', '\r', '\n', '\r', '\n') >> 8)
#define LINE_END LETTERS(0, 0, 0, 0, 0, 0, '\r', '\n')

/* Make the verifier forget what it knows of a number: else it follows each possible end of a loop by itself. */
#define FORGET(number, unknown) \
    asm volatile("%0 ^= %1" : "+r"(number) : "r"(unknown)); \
    asm volatile("%0 ^= %1" : "+r"(number) : "r"(unknown))

static inline void lose(struct reader *reader, struct flow *flow, u32 why)
{
    reader->phase = READ_NOTHING;
    if (flow->http.state != HTTP_FOLLOWED)
        return;
    flow->http.state = HTTP_LOST;
    count(why);
}

static inline void expect_head(struct reader *reader)
{
    reader->phase = READ_HEAD;
    reader->filled = reader->base = reader->line = 0;
    reader->length_at = reader->host_at = reader->trace_at = reader->chunked = 0;
}

/* A number that the compiler cannot know more of: it must compare, and the verifier sees it compare, what it passes on. */
#define PLAIN(number) asm volatile("" : "+r"(number))

/* The decimal number at an offset, after spaces; 0 if there is none. */
static inline u64 digits(struct reader *reader, u32 offset, u64 unknown)
{
    u64 found = 0;
    for (u32 i = 0; i < 24; i++) {
        u32 letter = reader->text[AT(offset) + i];
        u32 digit = letter - '0';
        if (digit > 9 && (letter != ' ' || found))
            break;
        found = digit > 9 ? 0 : found * 10 + digit;
        FORGET(found, unknown);
    }
    return found;
}

static inline u64 word_at(struct reader *reader, u32 offset)
{
    return *(u64 *)(reader->text + AT(offset));
}

/* A whole line that is not the last: is it a header that matters? */
static inline void note_header(struct reader *reader, u32 line)
{
    u64 first = word_at(reader, line) | SMALL;
    u64 second = *(u64 *)(reader->text + AT(line) + 8) | SMALL;
    if ((first & FIRST(5)) == (LETTERS('h', 'o', 's', 't', ':', 0, 0, 0)))
        reader->host_at = line + 5;
    else if (first == LETTERS('c', 'o', 'n', 't', 'e', 'n', 't', '-')) {
        if ((second & FIRST(7)) == LETTERS('l', 'e', 'n', 'g', 't', 'h', ':', 0))
            reader->length_at = line + 15;
    } else if (first == LETTERS('t', 'r', 'a', 'n', 's', 'f', 'e', 'r')) {
        if (second == LETTERS('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n'))
            reader->chunked = 1;
    } else if (first == LETTERS('t', 'r', 'a', 'c', 'e', 'p', 'a', 'r')) {
        if ((second & FIRST(4)) == LETTERS('e', 'n', 't', ':', 0, 0, 0, 0))
            reader->trace_at = line + 12;
    }
}

static inline u32 status_at(struct reader *reader, u32 base)
{
    u8 *text = reader->text + AT(base);
    return ((text[9] - '0') * 100 + (text[10] - '0') * 10 + (text[11] - '0')) & 1023;
}

/* An empty line: the end of the head, unless nothing came before it or the final response is yet to come. */
static inline int ends_head(struct reader *reader, u32 end)
{
    int final = reader->line != reader->base;
    if (final && !reader->is_client) {
        u32 status = status_at(reader, reader->base);
        final = status >= 200 || status == 101;
    }
    if (final)
        return 1;
    reader->base = end;
    reader->length_at = reader->chunked = 0;
    return 0;
}

/* Read on, line by line, up to the end of the head: gives where that is, 0 if it is not there yet. */
static inline u32 head_end(struct reader *reader)
{
    u64 at = reader->line;
    for (u32 step = 0; step < STEPS; step++) {
        u64 filled = *(volatile u16 *)&reader->filled;
        FORGET(at, filled);
        if (at >= filled || at >= HEAD_BYTES)
            return 0;
        u64 word = *(u64 *)(reader->text + at) ^ EACH_BYTE * '\n';
        u64 hit = (word - EACH_BYTE) & ~word & EACH_BYTE * 0x80;
        if (!hit) {
            at += 8;
            continue;
        }
        u64 end = at + (((((hit & -hit) - 1) & EACH_BYTE) * EACH_BYTE) >> 56);
        if (end > filled)
            return 0;
        u32 line = *(volatile u16 *)&reader->line;
        u64 size = end - line;
        if (size == 1 || (size == 2 && reader->text[AT(line)] == '\r')) {
            if (ends_head(reader, end))
                return end;
        } else
            note_header(reader, line);
        reader->line = end;
        at = end;
    }
    return 0;
}

/* Add this packet's bytes to the head, as far as there is room. */
static inline void take(struct __sk_buff *skb, struct reader *reader)
{
    u64 filled = reader->filled, room = filled ? PART_BYTES : HEAD_BYTES, offset = reader->offset;
    u64 size = reader->length < room ? reader->length : room;
    reader->before = filled;
    if (filled >= HEAD_BYTES)
        return;
    PLAIN(size);
    PLAIN(filled);
    if (size < 1 || size > HEAD_BYTES)
        return;
    if (!filled) {
        if (!bpf_skb_load_bytes(skb, offset, reader->text, size))
            reader->filled = size;
    } else if (size <= PART_BYTES && !bpf_skb_load_bytes(skb, offset, reader->text + AT(filled), size))
        reader->filled = filled + size;
}

/* Does a body in chunks end with this packet, of which `length` bytes are the body's? */
static inline int last_chunk(struct __sk_buff *skb, struct reader *reader, u32 length)
{
    u64 last = 0, end = (u64)reader->offset + reader->length;
    if (length >= 8) {
        bpf_skb_load_bytes(skb, end - 8, &last, 8);
    } else {
        for (u32 i = 0; i < 7; i++) {
            u8 letter = 0;
            if (i < length)
                bpf_skb_load_bytes(skb, end - length + i, &letter, 1);
            if (i < length)
                last = last >> 8 | (u64)letter << 56;
        }
        last |= length ? reader->tail >> (8 * (length & 7)) : reader->tail;
    }
    reader->tail = last;
    return last >> 8 == LAST_CHUNK;
}

/* The method by its first four letters; `skip` is where the path begins. 0: none. */
static inline u8 method_of(u32 word, u32 *skip)
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

static inline void keep_path(struct exchange *http, struct reader *reader, u32 start, u64 unknown)
{
    u64 hash = 2166136261, i;    /* FNV-1a */
    FORGET(hash, unknown);
    u8 *path = reader->text + AT(start);
    __builtin_memset(http->path, 0, sizeof(http->path));
    for (i = 0; i < PATH_BYTES; i++) {
        u8 letter = path[i];
        if (letter <= ' ' || letter == '?')
            break;
        http->path[i] = letter;
        hash = (u32)((hash ^ letter) * 16777619);
        FORGET(hash, unknown);
    }
    FORGET(i, unknown);
    if (i == PATH_BYTES && path[PATH_BYTES] > ' ' && path[PATH_BYTES] != '?')
        count(COUNT_HTTP_CUT);
    http->path_hash = hash ? (u32)hash : 1;
}

static inline void keep_authority(struct exchange *http, struct reader *reader, u64 unknown)
{
    u64 i;
    u32 start = reader->host_at;
    __builtin_memset(http->authority, 0, sizeof(http->authority));
    if (!start)
        return;
    if (reader->text[AT(start)] == ' ')
        start++;
    u8 *text = reader->text + AT(start);
    for (i = 0; i < AUTHORITY_BYTES; i++) {
        u8 letter = text[i];
        if (letter <= ' ')
            break;
        http->authority[i] = letter;
    }
    FORGET(i, unknown);
    if (i == AUTHORITY_BYTES && text[AUTHORITY_BYTES] > ' ')
        count(COUNT_HTTP_CUT);
}

static inline u32 nibble(u32 letter)
{
    if (letter - '0' <= 9)
        return letter - '0';
    letter = (letter | 0x20) - 'a';
    return letter <= 5 ? letter + 10 : 16;
}

/* traceparent: 00-<32 hex digits>-<16>-<2> */
static inline void keep_trace(struct exchange *http, struct reader *reader, u64 unknown)
{
    u32 start = reader->trace_at, wrong = 0;
    __builtin_memset(http->trace_id, 0, sizeof(http->trace_id));
    if (!start)
        return;
    if (reader->text[AT(start)] == ' ')
        start++;
    u8 *text = reader->text + AT(start);
    if (text[2] != '-' || text[35] != '-')
        return;
    for (u32 i = 0; i < TRACE_BYTES; i++) {
        u32 high = nibble(text[3 + 2 * i]), low = nibble(text[4 + 2 * i]);
        http->trace_id[i] = (u8)(high << 4 | low);
        wrong |= high | low;
        FORGET(wrong, unknown);
    }
    if (wrong & 16)
        __builtin_memset(http->trace_id, 0, sizeof(http->trace_id));
}

static inline void report_request(struct flow *flow, struct tuple *key, u64 latency_ns)
{
    struct exchange *http = &flow->http;
    struct event *event = event_of(flow, key, EVENT_REQUEST, OUTCOME_ALLOWED, (u8)flow->reason);
    if (!event)
        return;
    event->duration_ns = latency_ns;
    event->request_bytes = http->request_bytes;
    event->response_bytes = http->response_bytes;
    event->status = http->status;
    event->method = http->method;
    __builtin_memcpy(event->path, http->path, PATH_BYTES);
    __builtin_memcpy(event->authority, http->authority, AUTHORITY_BYTES);
    __builtin_memcpy(event->trace_id, http->trace_id, TRACE_BYTES);
    events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

static inline void add_to_edge(struct flow *flow, u64 latency_us)
{
    struct exchange *http = &flow->http;
    if (flow->end == END_DESTINATION)    /* counted where it came from */
        return;
    struct edge_key key = {flow->source_pod, flow->destination_pod, flow->service, http->path_hash, http->status,
                           http->method};
    struct edge *edge = edge_of(&key, http);
    if (!edge)
        return;
    __sync_fetch_and_add(&edge->count, 1);    /* atomic: see counters.h */
    __sync_fetch_and_add(&edge->request_bytes, http->request_bytes);
    __sync_fetch_and_add(&edge->response_bytes, http->response_bytes);
    __sync_fetch_and_add(&edge->latency_us, latency_us);
    __sync_fetch_and_add(&edge->latency[latency_bucket(latency_us) & (LATENCY_BUCKETS - 1)], 1);
}

/* The response is there: tell of the exchange, once. */
static inline void finish(struct flow *flow, struct tuple *key)
{
    struct exchange *http = &flow->http;
    struct generation *now = generation_now();
    u64 latency_ns = bpf_ktime_get_ns() - http->began_ns;
    if (__sync_lock_test_and_set(&http->open, 0) == 0)
        return;
    count(COUNT_HTTP_RESPONSES);
    add_to_edge(flow, latency_ns / 1000);
    if (now && now->flags & REQUEST_EVENTS)
        report_request(flow, key, latency_ns);
}

/* The head of a request is whole; `rest` is what its packet holds behind it. */
static inline void begin_request(struct reader *reader, struct flow *flow, u32 rest, u64 body)
{
    struct exchange *http = &flow->http;
    u64 unknown = http->began_ns;
    u32 skip = 0, base = reader->base;
    u8 method = method_of(*(u32 *)(reader->text + AT(base)), &skip);
    if (!method)
        return lose(reader, flow, COUNT_HTTP_UNPARSED);
    if (rest > body && !reader->chunked)
        return lose(reader, flow, COUNT_HTTP_PIPELINED);
    http->method = method;
    keep_path(http, reader, base + skip, unknown);
    keep_authority(http, reader, unknown);
    keep_trace(http, reader, unknown);
    http->status = 0;
    http->request_bytes = reader->chunked ? rest : body;
    http->response_bytes = 0;
    http->requests++;
    barrier();
    http->open = 1;
    count(COUNT_HTTP_REQUESTS);
    u32 chunked = reader->chunked;
    expect_head(reader);
    reader->left = body - rest;
    if (chunked)
        reader->phase = READ_CHUNKS;
    else if (reader->left)
        reader->phase = READ_BODY;
}

/* The head of a response is whole. */
static inline void begin_response(struct reader *reader, struct flow *flow, u32 rest, u64 body)
{
    struct exchange *http = &flow->http;
    u32 status = status_at(reader, reader->base), chunked = reader->chunked, length_at = reader->length_at;
    if ((word_at(reader, reader->base) & FIRST(7)) != LETTERS('H', 'T', 'T', 'P', '/', '1', '.', 0) || status < 100)
        return lose(reader, flow, COUNT_HTTP_UNPARSED);
    http->status = status;
    http->response_bytes = 0;
    expect_head(reader);
    if (status == 101) {
        http->state = HTTP_UPGRADED;
        reader->phase = READ_NOTHING;
        reader->whole = 1;
        return count(COUNT_HTTP_UPGRADED);
    }
    if (http->method == METHOD_HEAD || status == 204 || status == 304)
        body = chunked = 0;
    else if (!chunked && !length_at) {
        http->response_bytes = rest;
        reader->phase = READ_TO_END;
        return;
    }
    http->response_bytes = chunked ? rest : body;
    reader->left = body - rest;
    if (chunked)
        reader->phase = READ_CHUNKS;
    else if (rest < body)
        reader->phase = READ_BODY;
    else {
        reader->whole = 1;
        if (rest > body)
            lose(reader, flow, COUNT_HTTP_UNPARSED);
    }
}

/* May a head begin here? */
static inline int may_begin(struct reader *reader, struct flow *flow)
{
    struct exchange *http = &flow->http;
    if (!reader->is_client) {
        if (http->open)
            return 1;
        lose(reader, flow, COUNT_HTTP_UNPARSED);    /* a server that was not asked */
        return 0;
    }
    if (reader->filled)
        return 1;
    if (http->open) {
        lose(reader, flow, COUNT_HTTP_PIPELINED);
        return 0;
    }
    http->began_ns = bpf_ktime_get_ns();
    return 1;
}

/* The head does not end here: can it still become one? */
static inline void await_more(struct reader *reader, struct flow *flow)
{
    u32 skip, filled = reader->filled;
    u32 none = filled >= HEAD_BYTES || filled - reader->before < reader->length;
    if (!none && reader->is_client && filled >= 8)
        none = !method_of(*(u32 *)(reader->text + AT(reader->base)), &skip);
    if (none)
        lose(reader, flow, COUNT_HTTP_UNPARSED);
}

static inline void follow_head(struct __sk_buff *skb, struct reader *reader, struct flow *flow)
{
    if (!may_begin(reader, flow))
        return;
    take(skb, reader);
    barrier();
    u32 end = head_end(reader);
    barrier();
    if (!end)
        return await_more(reader, flow);
    u32 rest = reader->length - (end - reader->before);
    u64 body = reader->length_at && !reader->chunked ? digits(reader, reader->length_at, flow->http.began_ns) : 0;
    reader->tail = LINE_END;
    if (reader->is_client)
        begin_request(reader, flow, rest, body);
    else
        begin_response(reader, flow, rest, body);
    barrier();
    if (reader->phase == READ_CHUNKS && last_chunk(skb, reader, rest)) {
        reader->phase = READ_HEAD;
        reader->whole = 1;
    }
}

/* Bytes of a body whose length is known. Gives whether there are more in this packet, or the body ends. */
static inline int pass_body(struct reader *reader)
{
    u64 left = reader->left;
    if (left > reader->length) {
        reader->left = left - reader->length;
        return 0;
    }
    reader->offset += left;
    reader->length -= left;
    expect_head(reader);
    reader->whole = 1;
    return 1;
}

/* New bytes of a stream. */
static inline void follow(struct __sk_buff *skb, struct reader *reader, struct flow *flow)
{
    if (flow->http.state != HTTP_FOLLOWED) {
        reader->phase = READ_NOTHING;
        return;
    }
    if (reader->phase == READ_HEAD) {
        if (reader->length && reader->whole && !reader->is_client)    /* more than it had announced */
            lose(reader, flow, COUNT_HTTP_UNPARSED);
        else if (reader->length)
            follow_head(skb, reader, flow);
        return;
    }
    if (reader->is_client)
        flow->http.request_bytes += reader->length;
    else
        flow->http.response_bytes += reader->length;
    if (reader->phase == READ_CHUNKS && last_chunk(skb, reader, reader->length)) {
        expect_head(reader);
        reader->whole = 1;
    }
}
#endif
