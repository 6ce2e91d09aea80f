/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* sk_msg on the pairs: socket to socket, past TCP. */
#include "include/counters.h"
#include "include/flows.h"
#include "include/pairs.h"

int message(struct sk_msg_md *msg)
{
    return SK_PASS;
}
