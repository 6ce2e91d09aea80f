/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* cgroup/connect4, connect6, getpeername4, getpeername6, sock_create: where a connect of a meshed pod goes.
 *
 *   service address, PROXY flag ------------------------> the node's Envoy (127.0.0.1:15001; 15002 where a rule says
 *                                                         that it only carries), told the service's address
 *   service address -> a backend -> on this node, kernel plane -> rules: allow (direct) | deny (refused) | proxy (Envoy)
 *                                -> on this node, no mesh ------> direct
 *                                -> anywhere else --------------> Envoy, told the backend's address
 *
 * Attached at a common ancestor of the pods' cgroups (a socket made before a move cannot escape); the pod is known by
 * the cookie of its network namespace. UDP is left alone. */
#include "include/addresses.h"
#include "include/backends.h"
#include "include/counters.h"
#include "include/current.h"
#include "include/endpoints.h"
#include "include/events.h"
#include "include/pods.h"
#include "include/questions.h"
#include "include/reasons.h"
#include "include/rules.h"
#include "include/services.h"
#include "include/sockets.h"

#define GO_DIRECT 1
#define GO_PROXY 2
#define GO_REFUSED 3

/* What is known of one connect while it is decided. */
struct decision {
    struct pod *source;
    struct generation *now;
    struct target target;      /* in: what was dialled; out: where it goes */
    u32 service, flags;
    u32 policy;
    u8 reason, http;
};

static inline void report_denied(struct decision *made, struct address *destination)
{
    struct event *event = event_begin(EVENT_CONNECTION, OUTCOME_DENIED, made->reason);
    if (!event)
        return;
    event->source_pod = made->source->index;
    event->source_identity = made->source->identity;
    event->source_ip = made->source->ip;
    event->destination_ip = made->target.ip;
    event->destination_port = made->target.port;
    event->service = made->service;
    event->policy = made->policy;
    if (destination) {
        event->destination_pod = destination->pod;
        event->destination_identity = destination->identity;
    }
    events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

static inline int backend_at(u32 service, u32 total, u16 slot, struct target *chosen)
{
    struct backend_key key = {service, (u16)(bpf_get_prandom_u32() % total), slot};
    struct backend *found = backends.lookup(&key);
    if (!found)
        return 0;
    *chosen = bpf_get_prandom_u32() < found->threshold ? found->own : found->alias;
    return 1;
}

static inline s64 open_connections(struct target *target)
{
    struct load *load = endpoints.lookup(target);
    return load ? load->open : 0;
}

/* A weighted random backend; with SERVICE_LEAST the less loaded of two such. */
static inline int balance(struct service *service, u16 slot, struct target *chosen)
{
    struct target second;
    if (!service->count || !backend_at(service->index, service->count, slot, chosen))
        return 0;
    if (!(service->flags & SERVICE_LEAST) || service->count < 2)
        return 1;
    if (backend_at(service->index, service->count, slot, &second) &&
        open_connections(&second) < open_connections(chosen))
        *chosen = second;
    return 1;
}

static inline int judge(struct decision *made)
{
    struct address *destination = address_of(made->target.ip);
    if (!destination)
        return made->now->flags & DIVERT_UNKNOWN ? GO_PROXY : GO_DIRECT;
    if (destination->flags & ADDRESS_BYPASS)
        return GO_DIRECT;
    if (made->target.port == PORT_HEALTH || made->target.port == PORT_STATS)    /* another proxy's own, not ours */
        return GO_DIRECT;
    if (!(destination->flags & ADDRESS_LOCAL) || destination->flags & ADDRESS_SIDECAR)
        return GO_PROXY;
    if (!(destination->flags & ADDRESS_KERNEL))
        return GO_DIRECT;
    struct rule *rule =
        rule_for(SLOT(made->now->number), destination->pod, made->target.port, made->source->identity);
    if (made->target.ip == made->source->ip) {    /* no policy stands between a pod and itself */
        made->http = rule && rule->http;
        return GO_DIRECT;
    }
    made->reason = rule ? rule->reason : REASON_NOT_READY;
    made->policy = rule ? rule->policy : 0;
    made->http = rule && rule->http;
    if (rule && rule->verdict == VERDICT_ALLOW)
        return GO_DIRECT;
    if (rule && rule->verdict == VERDICT_PROXY)
        return GO_PROXY;
    count(rule ? COUNT_DENIED_AT_SOURCE : COUNT_NOT_READY);
    report_denied(made, destination);
    return GO_REFUSED;
}

static inline int route(struct decision *made)
{
    struct service_key key = {made->target.ip, made->target.port, SLOT(made->now->number)};
    struct service *service = services.lookup(&key);
    if (!service)
        return judge(made);
    made->service = service->index;
    if (service->flags & SERVICE_PROXY) {
        struct rule *carried = rule_for(SLOT(made->now->number), service->index, 0, made->source->identity);
        made->http = carried && carried->http;
        return GO_PROXY;
    }
    if (!balance(service, SLOT(made->now->number), &made->target)) {
        made->reason = REASON_NO_HEALTHY_UPSTREAM;
        count(COUNT_NO_BACKEND);
        report_denied(made, 0);
        return GO_REFUSED;
    }
    made->flags |= DIAL_BALANCED;
    return judge(made);
}

/* Decide, and note on the socket what sockops.c and getpeername need. Gives GO_*; `target` is where to connect. */
static inline int decide(struct bpf_sock_addr *ctx, struct pod *source, struct target *target)
{
    struct decision made = {.source = source, .target = *target};
    struct dial note = {.started_ns = bpf_ktime_get_ns(), .dialled = *target};
    count(COUNT_CONNECTS);
    made.now = generation_now();
    if (!made.now || !made.now->number) {
        made.reason = REASON_NOT_READY;
        count(COUNT_NOT_READY);
        report_denied(&made, 0);
        return GO_REFUSED;
    }
    int way = route(&made);
    if (way == GO_REFUSED)
        return way;
    note.generation = made.now->number;
    note.original = made.target;
    note.service = made.service;
    note.policy = made.policy;
    note.reason = made.reason;
    note.http = made.http;
    note.flags = made.flags | (way == GO_PROXY ? DIAL_DIVERTED : 0);
    struct dial *kept = sockets.sk_storage_get(ctx->sk, &note, BPF_SK_STORAGE_GET_F_CREATE);
    if (!kept) {    /* without it the proxy would not know where to: refuse */
        count(COUNT_STORAGE_LOST);
        return GO_REFUSED;
    }
    *kept = note;    /* a second connect on the same socket */
    if (made.flags & DIAL_BALANCED)
        count(COUNT_BALANCED);
    *target = made.target;
    if (way == GO_PROXY) {
        count(COUNT_DIVERTED);
        target->ip = LOOPBACK_IP;
        target->port = made.http ? PORT_CARRIED : PORT_OUTBOUND;
    }
    return way;
}

static inline int refuse(void)
{
    bpf_set_retval(-ERROR_REFUSED);
    return 0;
}

static inline struct pod *meshed_pod(struct bpf_sock_addr *ctx)
{
    struct pod *source;
    if (ctx->protocol != PROTOCOL_TCP)
        return 0;
    source = pod_of(bpf_get_netns_cookie(ctx));
    return source && source->flags & POD_MESHED ? source : 0;
}

int connect4(struct bpf_sock_addr *ctx)
{
    struct pod *source = meshed_pod(ctx);
    struct target target = {.ip = ctx->user_ip4, .port = bpf_ntohs((u16)ctx->user_port)};
    if (!source || is_loopback(target.ip))
        return 1;
    if (decide(ctx, source, &target) == GO_REFUSED)
        return refuse();
    ctx->user_ip4 = target.ip;
    ctx->user_port = bpf_htons(target.port);
    return 1;
}

int connect6(struct bpf_sock_addr *ctx)
{
    struct pod *source = meshed_pod(ctx);
    u32 first = ctx->user_ip6[0], second = ctx->user_ip6[1], third = ctx->user_ip6[2], last = ctx->user_ip6[3];
    if (!source)
        return 1;
    if (first || second || third != MAPPED_PREFIX) {
        if (!first && !second && !third && (!last || last == bpf_htonl(1)))    /* ::1, and :: for it, stay in the pod */
            return 1;
        count(COUNT_FAMILY_REFUSED);
        return refuse();
    }
    struct target target = {.ip = last, .port = bpf_ntohs((u16)ctx->user_port)};
    if (is_loopback(target.ip))
        return 1;
    if (decide(ctx, source, &target) == GO_REFUSED)
        return refuse();
    ctx->user_ip6[3] = target.ip;
    ctx->user_port = bpf_htons(target.port);
    return 1;
}

int getpeername4(struct bpf_sock_addr *ctx)
{
    struct dial *note = sockets.sk_storage_get(ctx->sk, 0, 0);
    if (note && note->flags & (DIAL_BALANCED | DIAL_DIVERTED)) {
        ctx->user_ip4 = note->dialled.ip;
        ctx->user_port = bpf_htons(note->dialled.port);
    }
    return 1;
}

int getpeername6(struct bpf_sock_addr *ctx)
{
    struct dial *note = sockets.sk_storage_get(ctx->sk, 0, 0);
    if (note && note->flags & (DIAL_BALANCED | DIAL_DIVERTED)) {
        ctx->user_ip6[3] = note->dialled.ip;
        ctx->user_port = bpf_htons(note->dialled.port);
    }
    return 1;
}

/* Whose questions come from this socket is known as it is made: when packets leave it no namespace is told any more. */
static inline void note_asker(struct bpf_sock *sk, struct pod *source)
{
    struct asker asker = {source->index, source->identity, source->ip};
    if (!askers.sk_storage_get(sk, &asker, BPF_SK_STORAGE_GET_F_CREATE))
        count(COUNT_STORAGE_LOST);
}

/* MPTCP makes its connections below the connect hook: a meshed pod gets none, and falls back to TCP. */
int sock_create(struct bpf_sock *ctx)
{
    struct pod *source;
    u32 protocol = ctx->protocol;
    if (protocol != PROTOCOL_MPTCP && protocol != PROTOCOL_UDP)
        return 1;
    source = pod_of(bpf_get_netns_cookie(ctx));
    if (!source || !(source->flags & POD_MESHED))
        return 1;
    if (protocol == PROTOCOL_UDP) {
        note_asker(ctx, source);
        return 1;
    }
    count(COUNT_SOCKETS_REFUSED);
    bpf_set_retval(-ERROR_PROTOCOL);
    return 0;
}
