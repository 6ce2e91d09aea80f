/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* cgroup_skb ingress: answers of DNS over UDP, as they reach the socket that asked. The answer repeats the question: its
 * bytes, as they are on the wire, go into the event's path. Nothing is changed or held up. */
#include "include/counters.h"
#include "include/events.h"
#include "include/questions.h"

static inline void report_answer(struct __sk_buff *skb, struct dns *dns, struct asker *asker, u64 asked_ns)
{
    u64 size = dns->length < PATH_BYTES ? dns->length : PATH_BYTES;
    struct event *event = event_begin(EVENT_DNS, OUTCOME_ALLOWED, REASON_OK);
    if (!event)
        return;
    asm volatile("" : "+r"(size));    /* the compiler must not know what the verifier is to see compared */
    if (size >= 1 && size <= PATH_BYTES)
        bpf_skb_load_bytes(skb, dns->offset, event->path, size);
    event->duration_ns = event->time_ns - asked_ns;
    event->source_pod = asker->pod;
    event->source_identity = asker->identity;
    event->source_ip = asker->ip;
    event->source_port = dns->destination_port;
    event->destination_port = PORT_DNS;
    event->response_bytes = dns->length + DNS_HEADER_BYTES;
    event->status = dns->header[3] & DNS_RCODE;
    bpf_skb_load_bytes(skb, 12, &event->destination_ip, 4);    /* the packet's source */
    events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

int ingress(struct __sk_buff *skb)
{
    struct bpf_sock *sk = skb->sk;
    struct asker *asker = sk ? askers.sk_storage_get(sk, 0, 0) : 0;
    struct dns dns;
    if (!asker || !dns_in(skb, &dns) || dns.source_port != PORT_DNS || !(dns.header[2] & DNS_IS_ANSWER))
        return 1;
    struct question_key key = {asker->pod, dns.destination_port, *(u16 *)dns.header};
    struct question *question = questions.lookup(&key);
    if (!question)
        return 1;
    u64 asked_ns = question->asked_ns;
    questions.delete(&key);
    count(COUNT_DNS_ANSWERED);
    report_answer(skb, &dns, asker, asked_ns);
    return 1;
}
