/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* tcx ingress at the node's end of each meshed pod's link: what a pod sends to another meshed pod of this node goes
 * straight into that pod's namespace (bpf_redirect_peer), past the node's bridge and its softirq queue. It is the same
 * packet on the same TCP: windows push back, order is TCP's, and no socket knows of it. Who is let in was decided when
 * the connection began (connect.c, lookup.c); what is not for such a pod goes the ordinary way. */
#include "include/addresses.h"
#include "include/counters.h"

#define ETHERNET_BYTES 14
#define ETHERNET_IPV4 0x0800
#define NEXT (-1)

int peer(struct __sk_buff *skb)
{
    u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    if (skb->protocol != bpf_htons(ETHERNET_IPV4) || data + ETHERNET_BYTES + 20 > end)
        return NEXT;
    struct address *to = address_of(*(u32 *)(data + ETHERNET_BYTES + 16));
    if (!to || !to->link)
        return NEXT;
    count(COUNT_HANDED_OVER);
    return bpf_redirect_peer(to->link, 0);
}
