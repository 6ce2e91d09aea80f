/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* cgroup/getsockopt in the proxy's cgroup: SO_ORIGINAL_DST without connection tracking. A diverted connection answers
 * with what the application dialled, a steered one with its own local address. One that a stranger dialled to the proxy's port
 * itself has no other destination and gets no answer: with one the proxy would dial itself, again and again. */
#include "include/backends.h"
#include "include/counters.h"
#include "include/originals.h"

#define LEVEL_IP 0
#define OPTION_ORIGINAL_DST 80
#define OPTION_BYTES 16
#define PAGE_BYTES 4096

static inline int answer(struct bpf_sockopt *ctx, struct target *target)
{
    u8 *value = ctx->optval;
    if ((void *)(value + OPTION_BYTES) > ctx->optval_end)
        return 1;
    *(u16 *)value = FAMILY_IPV4;
    *(u16 *)(value + 2) = bpf_htons(target->port);
    *(u32 *)(value + 4) = target->ip;
    *(u32 *)(value + 8) = 0;
    *(u32 *)(value + 12) = 0;
    ctx->optlen = OPTION_BYTES;
    barrier();    /* or clang writes both fields in one store, which the verifier refuses */
    ctx->retval = 0;
    count(COUNT_ORIGINALS_FOUND);
    return 1;
}

int getsockopt(struct bpf_sockopt *ctx)
{
    struct bpf_sock *sk = ctx->sk;
    if (ctx->level != LEVEL_IP || ctx->optname != OPTION_ORIGINAL_DST || !sk) {
        if (ctx->optlen > PAGE_BYTES)    /* or the kernel answers EFAULT for what we did not touch */
            ctx->optlen = 0;
        return 1;
    }
    count(COUNT_ORIGINALS_ASKED);
    struct target own = {.ip = sk->src_ip4, .port = (u16)sk->src_port};
    if (own.port != PORT_OUTBOUND && own.port != PORT_CARRIED && own.port != PORT_INBOUND)
        return answer(ctx, &own);
    struct original_key key = {bpf_get_netns_cookie(ctx), sk->dst_ip4, bpf_ntohs(sk->dst_port)};
    struct target *found = originals.lookup(&key);
    return found ? answer(ctx, found) : 1;
}
