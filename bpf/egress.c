/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* cgroup_skb egress: reads HTTP/1.1 in what the applications' own sockets send, the requests at the client's socket, the
 * responses at the server's, as large packets before they are cut. Nothing is changed or held up, and no socket is put
 * into a map: what an application sees of its socket is what it sees without the mesh.
 *
 * Beside that it notes when pods ask something by DNS over UDP.
 *
 * A packet is sent in order the first time; what is sent again (its sequence lies behind) is skipped. */
#include "include/http.h"
#include "include/questions.h"
#include "include/readers.h"

#define TCP_FIN 1
#define TCP_RST 4

/* Where the TCP header of an IPv4 packet lies; 0: elsewhere, or no IPv4. */
static inline u32 tcp_at(struct __sk_buff *skb)
{
    u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    if (data + 20 > end || *data >> 4 != 4)
        return 0;
    return (*data & 15) * 4;
}

/* The new bytes of this packet into the reader: 0 if there are none. */
static inline int advance(struct reader *reader, u32 sequence, u32 offset, u32 length)
{
    u32 behind = reader->next - sequence;
    if (behind >= length)    /* all were sent before; or, far ahead of us, there is a gap */
        return 0;
    reader->next = sequence + length;
    reader->offset = offset + behind;
    reader->length = length - behind;
    return 1;
}

/* A pod asks by DNS: remember when (ingress.c tells of the answer). */
static inline void note_question(struct __sk_buff *skb, struct asker *asker)
{
    struct dns dns;
    if (!dns_in(skb, &dns) || dns.destination_port != PORT_DNS || dns.header[2] & DNS_IS_ANSWER)
        return;
    struct question_key key = {asker->pod, dns.source_port, *(u16 *)dns.header};
    struct question question = {bpf_ktime_get_ns()};
    count(COUNT_DNS_ASKED);
    questions.update(&key, &question);
}

int egress(struct __sk_buff *skb)
{
    struct bpf_sock *sk = skb->sk;
    u8 header[16];
    if (!sk)
        return 1;
    struct reader *reader = readers.sk_storage_get(sk, 0, 0);
    if (!reader) {
        struct asker *asker = askers.sk_storage_get(sk, 0, 0);
        if (asker)
            note_question(skb, asker);
        return 1;
    }
    if (reader->phase == READ_NOTHING)
        return 1;
    u32 offset = tcp_at(skb), size = skb->len;
    if (!offset || bpf_skb_load_bytes(skb, offset, header, sizeof(header)))
        return 1;
    offset += (header[12] >> 4) * 4;
    u32 sequence = bpf_ntohl(*(u32 *)(header + 4)), length = size > offset ? size - offset : 0;
    int gap = length && (reader->next - sequence) >> 31;
    int fresh = advance(reader, sequence, offset, length);
    int end = header[13] & (TCP_FIN | TCP_RST) && !reader->is_client;
    if (fresh && reader->phase == READ_BODY)
        fresh = pass_body(reader);
    if (!gap && !end && !fresh)
        return 1;
    struct flow *flow = flows.lookup(&reader->key);
    if (!flow)    /* the client has closed */
        return 1;
    barrier();
    if (gap)
        lose(reader, flow, COUNT_HTTP_GAPS);
    else if (fresh)
        follow(skb, reader, flow);
    barrier();
    if (end && reader->phase != READ_HEAD && reader->phase != READ_NOTHING)    /* nothing more comes of its answer */
        reader->whole = 1;
    if (!reader->is_client && reader->whole)
        finish(flow, &reader->key);
    reader->whole = 0;
    return 1;
}
