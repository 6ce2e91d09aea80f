/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* Open connections of this node's meshed pods to each backend, for the choice of the less loaded of two.
 * inserted in: policy.py, so that close leaves nothing behind; counted in: sockops.c; deleted in: policy.py;
 * read in: connect.c. Size: 32768 x 16 bytes, allocated as used. */
#ifndef MESHLAB_ENDPOINTS_H
#define MESHLAB_ENDPOINTS_H
#include "backends.h"
struct load { s64 open; };
HASH(endpoints, target, load, 32768);
#endif
