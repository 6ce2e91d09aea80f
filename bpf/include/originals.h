/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* Where a diverted connection was going, for the proxy's SO_ORIGINAL_DST. Keyed with the namespace: every pod has its own
 * 127.0.0.1.
 * inserted in: sockops.c (TCP_CONNECT_CB); deleted in: sockops.c (close of the client's socket); read in: getsockopt.c.
 * Size: 65536 x 24 bytes, allocated as used. */
#ifndef MESHLAB_ORIGINALS_H
#define MESHLAB_ORIGINALS_H
#include "backends.h"
struct original_key { u64 cookie; u32 ip, port; };
HASH(originals, original_key, target, 65536);
#endif
