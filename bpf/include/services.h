/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* Service addresses, once per slot (see current.h).
 * inserted in: policy.py; deleted in: policy.py; read in: connect.c. Size: 16384 x 20 bytes, allocated as used. */
#ifndef MESHLAB_SERVICES_H
#define MESHLAB_SERVICES_H
#include "types.h"
struct service_key { u32 ip; u16 port, slot; };
struct service { u32 index, count, flags; };
#define SERVICE_PROXY 1    /* a layer-7 policy applies: the node's Envoy balances */
#define SERVICE_LEAST 2    /* the less loaded of two random backends */
HASH(services, service_key, service, 16384);
#endif
