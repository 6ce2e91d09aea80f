/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* cgroup/connect4 in the proxy's cgroup: the proxy dials an application inside its pod from the address of the client
 * (bound before, IP_TRANSPARENT). Such a socket is bound to the loopback interface: its packets go over it anyway, but
 * the kernel would say that they came in by the pod's own interface, and the pod's gate (lookup.c) would take them for a
 * stranger's and steer them to the proxy again.
 *
 * Why not a list of such connections that the gate lets pass: while the proxy's SYN is on its way the client that owns
 * the address could send one with the same ports by hand, and would be let in past the proxy. What comes in over the
 * loopback interface was sent inside this namespace; no packet from outside can say so.
 *
 * A dial to the pod's own address without the proxy's mark is a call of the pod to itself that the proxy carries (its own
 * service, with layer 7): it goes to the proxy's inbound listener, like a call of any other pod.
 *
 * Its port is none that a client takes: the client's own connection has the same two addresses and the same server's port
 * in this namespace, so that with one client's port both would be the same connection. The kernel gives clients ports below
 * (ip_local_port_range of the pods); where all above are taken, as it did before, any.
 *
 * The namespace needs the way over the loopback and back that addresses of others need anyway: a rule for the proxy's
 * mark, a local route, and tcp_fwmark_accept (`_local` in meshlab/runtimes/local/network.py). */
#include "include/counters.h"
#include "include/pods.h"
#include "include/sockets.h"

#define LEVEL_SOCKET 1
#define OPTION_BIND_TO_INTERFACE 62
#define INBOUND_MARK 1337    /* as in meshlab/model/wire.py */
#define READ_PRIORITY 5      /* as in meshlab/model/wire.py */
#define PORT_TRIES 16
#define INWARD_PORT(number) ((u16)(0xc000 | ((number) & 0x3fff)))    /* INWARD_PORTS of meshlab/model/wire.py */

static inline int to_itself(struct bpf_sock_addr *ctx)
{
    struct dial note = {.dialled = {ctx->user_ip4, bpf_ntohs((u16)ctx->user_port)}, .flags = DIAL_DIVERTED};
    note.original = note.dialled;
    struct dial *kept = sockets.sk_storage_get(ctx->sk, &note, BPF_SK_STORAGE_GET_F_CREATE);
    if (!kept) {
        count(COUNT_STORAGE_LOST);
        return 0;
    }
    *kept = note;
    ctx->user_port = bpf_htons(PORT_INBOUND);
    return 1;
}

/* The proxy only carries it: the kernel reads its HTTP (sockops.c, egress.c). */
static inline void to_be_read(struct bpf_sock_addr *ctx)
{
    struct dial note = {.started_ns = bpf_ktime_get_ns(), .flags = DIAL_INWARD};
    if (!sockets.sk_storage_get(ctx->sk, &note, BPF_SK_STORAGE_GET_F_CREATE))
        count(COUNT_STORAGE_LOST);
}

static inline void take_port(struct bpf_sock_addr *ctx, u32 source)
{
    struct { u16 family, port_be; u32 ip; u64 rest; } address = {.family = FAMILY_IPV4, .ip = source};    /* sockaddr_in */
    for (u32 i = 0; i < PORT_TRIES; i++) {
        address.port_be = bpf_htons(INWARD_PORT(bpf_get_prandom_u32()));
        if (!bpf_bind(ctx, (struct sockaddr *)&address, sizeof(address)))
            return;
    }
    count(COUNT_INWARD_PORTS_SHORT);
    address.port_be = 0;    /* a bind that failed has taken the address from the socket: this gives it back, and no port */
    bpf_bind(ctx, (struct sockaddr *)&address, sizeof(address));
}

int inward(struct bpf_sock_addr *ctx)
{
    struct pod *pod = pod_of(bpf_get_netns_cookie(ctx));
    struct bpf_sock *sk = ctx->sk;
    int loopback = LOOPBACK_INTERFACE;
    if (!pod || !sk || ctx->protocol != PROTOCOL_TCP || ctx->user_ip4 != pod->ip)
        return 1;
    if (sk->mark != INBOUND_MARK)
        return to_itself(ctx);
    if (sk->priority == READ_PRIORITY)
        to_be_read(ctx);
    u32 source = sk->src_ip4;
    if (is_loopback(source) || source == pod->ip)
        return 1;
    if (!bpf_setsockopt(ctx, LEVEL_SOCKET, OPTION_BIND_TO_INTERFACE, &loopback, sizeof(loopback)))
        count(COUNT_INWARDS);
    if (!sk->src_port)
        take_port(ctx, source);
    return 1;
}
