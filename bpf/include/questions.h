/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* DNS over UDP: which pod a socket asks for, and when a question that has no answer yet was asked. */
#ifndef MESHLAB_QUESTIONS_H
#define MESHLAB_QUESTIONS_H
#include "types.h"
#define PORT_DNS 53
#define DNS_HEADER_BYTES 12
#define DNS_IS_ANSWER 0x80    /* of the third byte */
#define DNS_RCODE 0x0f        /* of the fourth */

/* The pods' UDP sockets.
 * inserted in: connect.c (sock_create); deleted in: the kernel, with the socket; read in: egress.c, ingress.c.
 * Size: 12 bytes a socket. */
struct asker { u32 pod, identity, ip; };
BPF_F_TABLE(PINNED("sk_storage", "askers"), int, struct asker, askers, 0, BPF_F_NO_PREALLOC);

/* inserted in: egress.c; deleted in: ingress.c, and the oldest by the kernel when it is full (an answer is then none);
 * read in: ingress.c. Size: 4096 x 16 bytes. */
struct question_key { u32 pod; u16 port, id; };
struct question { u64 asked_ns; };
BPF_F_TABLE(PINNED("lru_hash", "questions"), struct question_key, struct question, questions, 4096, 0);

/* The packet as far as it matters. 0: it is none of DNS over IPv4. */
struct dns { u32 offset, length; u16 source_port, destination_port; u8 header[DNS_HEADER_BYTES]; };

static inline int dns_in(struct __sk_buff *skb, struct dns *found)
{
    u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    u16 ports[2];
    if (data + 20 > end || *data >> 4 != 4)
        return 0;
    u32 udp = (*data & 15) * 4, size = skb->len;
    if (bpf_skb_load_bytes(skb, udp, ports, sizeof(ports)))
        return 0;
    found->source_port = bpf_ntohs(ports[0]);
    found->destination_port = bpf_ntohs(ports[1]);
    if (found->source_port != PORT_DNS && found->destination_port != PORT_DNS)
        return 0;
    found->offset = udp + 8 + DNS_HEADER_BYTES;
    if (size <= found->offset || bpf_skb_load_bytes(skb, udp + 8, found->header, DNS_HEADER_BYTES))
        return 0;
    found->length = size - found->offset;
    return 1;
}
#endif
