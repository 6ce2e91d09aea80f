/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* What every program shares: units, flags, and the one way to declare a pinned map. Addresses are in network byte
 * order as the kernel holds them; ports are in host byte order unless a name says `_be`. */
#ifndef MESHLAB_TYPES_H
#define MESHLAB_TYPES_H
#define BPF_LICENSE Dual BSD/GPL
#include <uapi/linux/bpf.h>

/* Raise it with every change of a map's key, value, type or size: it is part of the pins' path. */
#define SCHEMA 6

/* PIN_FOLDER is defined by the loader, one line above this file. */
#define PINNED(kind, name) kind ":" PIN_FOLDER "/" name
#define HASH(name, key, leaf, entries) BPF_F_TABLE(PINNED("hash", #name), struct key, struct leaf, name, entries, BPF_F_NO_PREALLOC)

#define FAMILY_IPV4 2
#define FAMILY_IPV6 10
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_MPTCP 262
#define TCP_STATE_ESTABLISHED 1
#define TCP_STATE_FIN_WAIT1 4
#define TCP_STATE_CLOSE 7
#define TCP_STATE_LAST_ACK 9
#define ERROR_REFUSED 111
#define ERROR_PROTOCOL 93
#define LOOPBACK_IP bpf_htonl(0x7f000001)
#define LOOPBACK_INTERFACE 1
#define MAPPED_PREFIX bpf_htonl(0xffff)

/* The node's Envoy, inside each pod's namespace (Istio's numbers). */
#define PORT_OUTBOUND 15001
#define PORT_CARRIED 15002    /* outbound too: what the proxy only carries, and the kernel reads */
#define PORT_INBOUND 15006
#define PORT_HBONE 15008
#define PORT_HEALTH 15021
#define PORT_STATS 15090

/* A connection on this node, the client's end first. `cookie`: of the namespace where both its ends lie, the
 * application's and the proxy's (every pod has its own 127.0.0.1); 0: it leads from one to another. */
struct tuple { u64 cookie; u32 client_ip, server_ip; u16 client_port, server_port; u32 pad; };

static inline struct tuple reversed(struct tuple *given)
{
    struct tuple other = {given->cookie, given->server_ip, given->client_ip, given->server_port, given->client_port};
    return other;
}

/* 127.0.0.0/8, and 0.0.0.0, which connect(2) takes for it. */
static inline int is_loopback(u32 ip) { return !ip || (ip & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000); }
#endif
