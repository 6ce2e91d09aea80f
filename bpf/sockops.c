/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* sockops: the life of TCP connections.
 *
 *   life   (the pods' ancestor cgroup)  connect -> flows or originals; established -> readers; close -> all removed
 *   listen (the proxy's cgroup)         listen on the mesh's ports -> listeners; a pod's call to itself -> originals;
 *                                       its end of what it only carries -> readers, flows
 *
 * What an event finds may run in softirq, where the current cgroup is anybody's: only the cookie of the network
 * namespace is used. */
#include "include/addresses.h"
#include "include/counters.h"
#include "include/endpoints.h"
#include "include/events.h"
#include "include/flows.h"
#include "include/http.h"
#include "include/listeners.h"
#include "include/originals.h"
#include "include/pods.h"
#include "include/readers.h"
#include "include/sockets.h"

static inline int is_ipv4(struct bpf_sock_ops *ctx)
{
    return ctx->family == FAMILY_IPV4 || (ctx->family == FAMILY_IPV6 && ctx->remote_ip6[2] == MAPPED_PREFIX);
}

static inline struct tuple own_first(struct bpf_sock_ops *ctx)
{
    u32 own = ctx->local_ip4;
    barrier();    /* or clang reads both addresses at once, which the verifier refuses */
    struct tuple key = {0, own, ctx->remote_ip4, (u16)ctx->local_port, (u16)bpf_ntohl(ctx->remote_port)};
    return key;
}

static inline void remember_original(struct bpf_sock_ops *ctx, u64 cookie, struct dial *note)
{
    struct original_key key = {cookie, ctx->local_ip4, ctx->local_port};
    if (originals.update(&key, &note->original))
        count(COUNT_ORIGINALS_LOST);
}

static inline void forget_original(struct bpf_sock_ops *ctx, u64 cookie)
{
    struct original_key key = {cookie, ctx->local_ip4, ctx->local_port};
    originals.delete(&key);
}

static inline void remember(struct tuple *key, struct flow *flow)
{
    if (flows.update(key, flow))
        count(COUNT_FLOWS_LOST);
    else
        count(COUNT_FLOWS);
}

/* A connection within the node, or with `cookie` the client's end of one that the proxy carries on. */
static inline void remember_flow(struct bpf_sock_ops *ctx, struct pod *source, struct dial *note, u64 cookie)
{
    struct tuple key = own_first(ctx);
    struct address *destination = cookie ? 0 : address_of(key.server_ip);
    if (!cookie && (!destination || !(destination->flags & ADDRESS_LOCAL)))
        return;
    key.cookie = cookie;
    struct flow flow = {
        .generation = note->generation,
        .started_ns = note->started_ns,
        .source_pod = source->index,
        .source_identity = source->identity,
        .destination_pod = destination ? destination->pod : 0,
        .destination_identity = destination ? destination->identity : 0,
        .service = note->service,
        .source_ip = source->ip,
        .destination_ip = note->original.ip,
        .destination_port = note->original.port,
        .end = cookie ? END_SOURCE : END_BOTH,
        .policy = note->policy,
        .reason = note->reason,
        .http.state = note->http ? HTTP_FOLLOWED : HTTP_OFF,
    };
    remember(&key, &flow);
}

/* The application's end of a connection that the proxy carries to it. Its address says which pod the client is, but not
 * who: the client's certificate does, which the proxy has seen. */
static inline void remember_inward(struct bpf_sock_ops *ctx, struct pod *own, struct dial *note, u64 cookie)
{
    struct tuple key = own_first(ctx);
    struct address *source = address_of(key.client_ip);
    key.cookie = cookie;
    struct flow flow = {
        .started_ns = note->started_ns,
        .source_pod = source ? source->pod : 0,
        .destination_pod = own->index,
        .destination_identity = own->identity,
        .source_ip = key.client_ip,
        .destination_ip = own->ip,
        .destination_port = key.server_port,
        .end = END_DESTINATION,
        .http.state = HTTP_FOLLOWED,
    };
    remember(&key, &flow);
}

static inline void load_add(struct dial *note, s64 change)
{
    struct load *load = endpoints.lookup(&note->original);
    if (load)
        __sync_fetch_and_add(&load->open, change);
}

/* Before the SYN, the source port known. */
static inline void connecting(struct bpf_sock_ops *ctx)
{
    u64 cookie = bpf_get_netns_cookie(ctx);
    struct pod *source = pod_of(cookie);
    struct bpf_sock *sk = ctx->sk;
    if (!source || !(source->flags & POD_MESHED) || !sk)
        return;
    struct dial *note = sockets.sk_storage_get(sk, 0, 0);
    if (!note)    /* loopback: not judged */
        return;
    bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
    if (note->flags & DIAL_DIVERTED) {
        remember_original(ctx, cookie, note);
        if (note->http)
            remember_flow(ctx, source, note, cookie);
        return;
    }
    remember_flow(ctx, source, note, 0);
    if (note->flags & DIAL_BALANCED) {
        load_add(note, 1);
        note->flags |= DIAL_COUNTED;
    }
}

/* What this end sends from now on is read as HTTP. */
static inline void read_from(struct bpf_sock_ops *ctx, struct tuple *key, struct flow *flow, int active)
{
    struct bpf_sock *sk = ctx->sk;
    struct reader *reader = sk ? readers.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE) : 0;
    if (!reader) {
        count(COUNT_STORAGE_LOST);
        flow->http.state = HTTP_LOST;
        return;
    }
    reader->key = *key;
    reader->next = ctx->snd_nxt;
    reader->is_client = active;
    expect_head(reader);
    count(COUNT_READERS);
}

/* `proxy`: this end is the proxy's. */
static inline void established(struct bpf_sock_ops *ctx, int active, int proxy)
{
    struct tuple own = own_first(ctx), client = active ? own : reversed(&own);
    struct flow *flow = proxy ? 0 : flows.lookup(&client);
    if (!flow) {
        client.cookie = bpf_get_netns_cookie(ctx);
        flow = flows.lookup(&client);
    }
    if (!flow)
        return;
    if (active) {
        u64 took_us = (bpf_ktime_get_ns() - flow->started_ns) / 1000;
        flow->setup_us = took_us ? (u32)took_us : 1;    /* 0: not established */
        flow->acked = ctx->bytes_acked;
        flow->received = ctx->bytes_received;
    }
    if (flow->http.state == HTTP_FOLLOWED)
        read_from(ctx, &client, flow, active);
}

/* Is the connection told by its requests? */
static inline int told(struct flow *flow)
{
    struct exchange *http = &flow->http;
    return http->requests && !http->open && (http->state == HTTP_FOLLOWED || http->state == HTTP_UPGRADED);
}

/* Has the other end said that it sends no more? (SOCK_DONE of the kernel's own flags: no state tells it for sure.) */
static inline u64 fin_received(struct bpf_sock_ops *ctx)
{
    struct bpf_sock *sk = ctx->sk;
    void *tcp = sk ? bpf_skc_to_tcp_sock(sk) : 0;
    return tcp ? *(u64 *)(tcp + OFFSET_SKC_FLAGS) >> 1 & 1 : 0;
}

/* 0: it did not. A request to which no response came is one that failed. */
static inline u8 how_failed(struct flow *flow)
{
    if (!flow->setup_us)
        return REASON_UPSTREAM_CONNECT_FAILED;
    if (flow->http.state != HTTP_FOLLOWED || !flow->http.open)
        return 0;
    return flow->closed_by == CLOSED_BY_SOURCE ? REASON_CLIENT_DISCONNECT : REASON_UPSTREAM_RESET;
}

static inline void report_end(struct bpf_sock_ops *ctx, struct tuple *key, struct flow *flow)
{
    u8 why = how_failed(flow);
    int failed = flow->setup_us == 0;
    u64 end_acked = flow->fin_sent && ctx->snd_una == ctx->snd_nxt, end_received = fin_received(ctx);
    struct event *event = event_of(flow, key, EVENT_CONNECTION, why ? OUTCOME_FAILED : OUTCOME_ALLOWED,
                                   why ? why : (u8)flow->reason);
    if (!event)
        return;
    event->duration_ns = event->time_ns - flow->started_ns;
    if (!failed) {
        event->request_bytes = ctx->bytes_acked - flow->acked - end_acked;    /* a FIN is counted as a byte */
        event->response_bytes = ctx->bytes_received - flow->received - end_received;
    }
    event->setup_us = flow->setup_us;
    event->rtt_us = ctx->srtt_us >> 3;
    event->retransmits = ctx->total_retrans;
    event->closed_by = flow->closed_by;
    events.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

/* Every change of state of a client's socket: who closed first, and at the end nothing is left. */
static inline void changed(struct bpf_sock_ops *ctx, u32 from, u32 to)
{
    struct tuple key = own_first(ctx);
    struct bpf_sock *sk = ctx->sk;
    struct dial *note = sk ? sockets.sk_storage_get(sk, 0, 0) : 0;
    u64 cookie = bpf_get_netns_cookie(ctx);
    if (note && note->flags & (DIAL_DIVERTED | DIAL_INWARD))
        key.cookie = cookie;
    struct flow *flow = flows.lookup(&key);
    if (flow && from == TCP_STATE_ESTABLISHED && !flow->closed_by)
        flow->closed_by = to == TCP_STATE_FIN_WAIT1 ? CLOSED_BY_SOURCE : CLOSED_BY_DESTINATION;
    if (flow && (to == TCP_STATE_FIN_WAIT1 || to == TCP_STATE_LAST_ACK))
        flow->fin_sent = 1;
    if (to != TCP_STATE_CLOSE)
        return;
    if (note && note->flags & DIAL_COUNTED) {
        load_add(note, -1);
        note->flags &= ~DIAL_COUNTED;
    }
    if (note && note->flags & DIAL_DIVERTED)
        forget_original(ctx, cookie);
    if (flow) {
        if (flow->http.status && flow->http.state == HTTP_FOLLOWED)    /* it leaves before the response is whole */
            finish(flow, &key);
        /* Of a dial of its own that came to nothing the proxy tells, which alone knows for whom it was. */
        int failed_inward = flow->end == END_DESTINATION && !flow->setup_us;
        if (!flow->told && !failed_inward && !told(flow))
            report_end(ctx, &key, flow);
        flows.delete(&key);
        count(COUNT_FLOWS_ENDED);
    }
}

int life(struct bpf_sock_ops *ctx)
{
    u32 op = ctx->op;
    if (!is_ipv4(ctx))
        return 1;
    if (op == BPF_SOCK_OPS_TCP_CONNECT_CB)
        connecting(ctx);
    else if (op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
        established(ctx, 1, 0);
    else if (op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
        established(ctx, 0, 0);
    else if (op == BPF_SOCK_OPS_STATE_CB)
        changed(ctx, ctx->args[0], ctx->args[1]);
    return 1;
}

/* The proxy's own dials: only those that inward.c has noted are of interest. */
static inline void dialling(struct bpf_sock_ops *ctx)
{
    struct bpf_sock *sk = ctx->sk;
    struct dial *note = sk ? sockets.sk_storage_get(sk, 0, 0) : 0;
    u64 cookie = bpf_get_netns_cookie(ctx);
    struct pod *own = pod_of(cookie);
    if (!note || !own)
        return;
    bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
    if (note->flags & DIAL_DIVERTED)
        remember_original(ctx, cookie, note);
    else
        remember_inward(ctx, own, note, cookie);
}

int listen(struct bpf_sock_ops *ctx)
{
    u32 port = ctx->local_port, op = ctx->op;
    if (op == BPF_SOCK_OPS_TCP_CONNECT_CB)
        dialling(ctx);
    else if (op == BPF_SOCK_OPS_STATE_CB)
        changed(ctx, ctx->args[0], ctx->args[1]);
    else if (op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
        established(ctx, 1, 1);
    else if (op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB && port == PORT_CARRIED)
        established(ctx, 0, 1);
    if (op != BPF_SOCK_OPS_TCP_LISTEN_CB)
        return 1;
    if (port != PORT_INBOUND && port != PORT_HBONE && port != PORT_HEALTH && port != PORT_STATS)
        return 1;
    struct listener_key key = {.cookie = bpf_get_netns_cookie(ctx), .port = port};
    listeners.sock_hash_update(ctx, &key, BPF_ANY);
    return 1;
}
