/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* sk_lookup in each meshed pod's network namespace: who may come in, and to whom.
 *
 *   over the loopback ------------------------> the pod's own business, and Envoy handing over what it has judged (inward.c)
 *   a flow the kernel knows -> rules: allow ---> the application;  deny -> refused;  proxy -> Envoy
 *   anything else (other nodes, unmeshed pods, forged addresses, raw packets) -> Envoy's listener in this namespace,
 *                                                which sees the original destination as its local address
 *   and no Envoy there -----------------------> refused
 */
#include "include/addresses.h"
#include "include/counters.h"
#include "include/current.h"
#include "include/events.h"
#include "include/flows.h"
#include "include/listeners.h"
#include "include/rules.h"

static inline int steer(struct bpf_sk_lookup *ctx, u64 cookie, u32 port)
{
    struct listener_key key = {.cookie = cookie, .port = PORT_INBOUND};
    if (port == PORT_HBONE || port == PORT_HEALTH || port == PORT_STATS)
        key.port = port;
    struct bpf_sock *sk = listeners.lookup(&key);
    if (!sk) {
        count(COUNT_NO_PROXY);
        return SK_DROP;
    }
    long failed = bpf_sk_assign(ctx, sk, 0);
    bpf_sk_release(sk);
    count(failed ? COUNT_NO_PROXY : COUNT_STEERED);
    return failed ? SK_DROP : SK_PASS;
}

static inline void report_denied_arrival(struct tuple *key, struct flow *flow, struct rule *rule)
{
    flow->told = 1;
    flow->policy = rule ? rule->policy : 0;
    struct event *event =
        event_of(flow, key, EVENT_CONNECTION, OUTCOME_DENIED, rule ? rule->reason : REASON_NOT_READY);
    if (!event)
        return;
    events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

/* A pod that calls its own address comes over the loopback, and yet the interface is given as that of the address; the
 * kernel drops packets from outside that carry one of the namespace's own addresses as their source (martians). */
static inline int from_itself(struct bpf_sk_lookup *ctx)
{
    return ctx->ingress_ifindex == LOOPBACK_INTERFACE ||
           (ctx->family == FAMILY_IPV4 && ctx->remote_ip4 == ctx->local_ip4);
}

int lookup(struct bpf_sk_lookup *ctx)
{
    if (ctx->protocol != PROTOCOL_TCP || from_itself(ctx))
        return SK_PASS;
    if (ctx->family != FAMILY_IPV4) {
        count(COUNT_FAMILY_REFUSED);
        return SK_DROP;
    }
    struct tuple key = {0, ctx->remote_ip4, ctx->local_ip4, bpf_ntohs((u16)ctx->remote_port), (u16)ctx->local_port};
    struct address *own = address_of(key.server_ip);
    if (!own || !(own->flags & ADDRESS_LOCAL)) {
        count(COUNT_UNKNOWN_ADDRESS);
        return SK_DROP;
    }
    struct flow *flow = flows.lookup(&key);
    struct generation *now = generation_now();
    if (!flow || flow->destination_pod != own->pod || !now)
        return steer(ctx, own->cookie, key.server_port);
    struct rule *rule =
        rule_for(slot_for(now, flow->generation), own->pod, key.server_port, flow->source_identity);
    if (rule && rule->verdict == VERDICT_PROXY) {
        flow->told = 1;    /* by the proxy */
        return steer(ctx, own->cookie, key.server_port);
    }
    if (rule && rule->verdict == VERDICT_ALLOW) {
        flow->policy = rule->policy;
        flow->reason = rule->reason;
        flow->http.state = rule->http ? HTTP_FOLLOWED : HTTP_OFF;
        count(COUNT_INBOUND_ALLOWED);
        return SK_PASS;
    }
    count(COUNT_DENIED_AT_DESTINATION);
    report_denied_arrival(&key, flow, rule);
    return SK_DROP;
}
