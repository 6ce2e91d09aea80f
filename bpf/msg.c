/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* sk_msg on the pairs: what one end of a same-node connection sends goes straight to the other's socket, past TCP.
 *
 * The short cut has no backpressure, and its queue is read before TCP's. So:
 *  - a direction gets a budget; when it is spent, messages go over TCP, whose windows push back on the sender;
 *  - a direction comes back to the short cut only when everything that it ever sent over TCP has been *read* by the other
 *    application: the receiver notes its copied_seq whenever it sends something itself, and the sender compares it with
 *    its own write_seq. Equal means that nothing is queued or on its way, so order is kept; and because TCP's data is
 *    read after the short cut's, what was redirected before is read as well, so the budget is free again.
 *  - each direction begins on TCP with the proof that nothing was sent yet (TCP fast open may have sent).
 * A receiver that waits inside the kernel for a whole buffer (MSG_WAITALL) of TCP data would not see the short cut's; it
 * can do so while it also sends, from another thread. HTTP/1.1 does not: only connections that speak it come back.
 *
 * What the kernel itself does not do well for a socket among the pairs (6.18): recv with MSG_WAITALL may give less, and a
 * recv that blocks gives EAGAIN when something other than data wakes it: the acknowledgement of its own half-close, or
 * room to send for another thread. (To take a socket out of the pairs at its half-close was tried and is worse: what the
 * other end is just redirecting to it would be lost.) So only connections whose rule says `shortcut` come here: ports
 * that are known to speak HTTP. */
#include "include/counters.h"
#include "include/current.h"
#include "include/flows.h"
#include "include/http.h"
#include "include/pairs.h"

#define BUDGET_BYTES 262144
#define MESSAGE_BYTES 768    /* what a message costs the kernel beside its data */

/* May this direction use the short cut for a message now? */
static inline int may_redirect(struct direction *mine, struct bpf_sock *sk, u32 size, int renewable)
{
    if (mine->on_tcp) {
        if ((mine->begun && !renewable) || !mine->drained_known)
            return 0;
        void *tcp = bpf_skc_to_tcp_sock(sk);
        if (!tcp || *(u32 *)(tcp + OFFSET_WRITE_SEQ) != mine->drained)
            return 0;
        if (mine->begun)
            count(COUNT_RENEWED);
        mine->on_tcp = 0;
        mine->spent = 0;
    }
    if (mine->spent + size + MESSAGE_BYTES > BUDGET_BYTES)
        return 0;
    mine->spent += size + MESSAGE_BYTES;
    return 1;
}

/* What we have read of the other direction, for its sender. */
static inline void tell_drained(struct direction *theirs, struct bpf_sock *sk)
{
    void *tcp;
    if (!theirs->on_tcp || !theirs->begun)
        return;
    tcp = bpf_skc_to_tcp_sock(sk);
    if (!tcp)
        return;
    theirs->drained = *(u32 *)(tcp + OFFSET_COPIED_SEQ);
    barrier();
    theirs->drained_known = 1;
}

static inline void send(struct sk_msg_md *msg, struct direction *mine, struct tuple *peer, int renewable)
{
    u32 size = msg->size;
    struct bpf_sock *sk = msg->sk;
    long verdict = SK_DROP;
    if (sk && may_redirect(mine, sk, size, renewable)) {
        verdict = pairs.msg_redirect_hash(msg, peer, BPF_F_INGRESS);
    }
    mine->begun = 1;
    if (verdict == SK_PASS) {
        mine->bytes += size;
        count(COUNT_REDIRECTED);
        return;
    }
    mine->on_tcp = 1;    /* also when the other end is not there: it may be Envoy's, or not yet be established */
    mine->drained_known = 0;
    count(COUNT_PASSED);
}

int message(struct sk_msg_md *msg)
{
    struct tuple own = {msg->local_ip4, msg->remote_ip4, (u16)msg->local_port, (u16)bpf_ntohl(msg->remote_port)};
    struct tuple other = reversed(&own);
    struct bpf_sock *sk = msg->sk;
    struct flow *flow = flows.lookup(&own);
    int is_client = flow != 0;
    if (!sk)
        return SK_PASS;
    if (!flow)
        flow = flows.lookup(&other);
    if (!flow)    /* the client has closed: TCP carries what is left */
        return SK_PASS;
    if (is_client) {
        void *tcp = bpf_skc_to_tcp_sock(sk);
        if (tcp && flow->http.state != HTTP_LOST)
            observe_request(msg, &flow->http, *(u32 *)(tcp + OFFSET_WRITE_SEQ) + (u32)flow->request.bytes);
        tell_drained(&flow->response, sk);
        send(msg, &flow->request, &other, flow->http.state != HTTP_LOST);
        return SK_PASS;
    }
    if (flow->http.state == HTTP_WAITING) {
        struct generation *now = generation_now();
        observe_response(msg, flow, &other, now ? now->flags & REQUEST_EVENTS : 0);
    }
    tell_drained(&flow->request, sk);
    send(msg, &flow->response, &other, flow->http.state != HTTP_LOST);
    return SK_PASS;
}
