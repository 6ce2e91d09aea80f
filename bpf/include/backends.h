/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* Backends of services as an alias table (Vose): one look-up gives an exactly weighted random choice.
 * inserted in: policy.py; deleted in: policy.py; read in: connect.c. Size: 65536 x 24 bytes, allocated as used. */
#ifndef MESHLAB_BACKENDS_H
#define MESHLAB_BACKENDS_H
#include "types.h"
struct backend_key { u32 service; u16 position, slot; };
struct target { u32 ip; u16 port, pad; };
struct backend {
    struct target own, alias;
    u32 threshold;    /* of 2^32: the share of `own` in this position, the rest is `alias`'s */
};
HASH(backends, backend_key, backend, 65536);
#endif
