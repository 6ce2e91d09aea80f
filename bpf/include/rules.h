/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* Layer-4 verdicts, once per slot (see current.h). Looked up from the most to the least specific: port and source,
 * port and any source (0), any port (0) and source, any port and any source; a pod without the last is not ready.
 * inserted in: policy.py; deleted in: policy.py; read in: connect.c, lookup.c.
 * Size: 262144 x 24 bytes, allocated as used. */
#ifndef MESHLAB_RULES_H
#define MESHLAB_RULES_H
#include "types.h"
struct rule_key { u32 destination, source; u16 port, slot; };
struct rule { u32 policy; u8 verdict, reason, http, pad; };    /* http: egress.c reads its connections as HTTP/1.1 */
/* One whose destination is the number of a service, at port 0: the proxy balances, and only carries. */
#define VERDICT_DENY 0
#define VERDICT_ALLOW 1
#define VERDICT_PROXY 2
HASH(rules, rule_key, rule, 262144);

static inline struct rule *rule_for(u16 slot, u32 destination, u16 port, u32 source)
{
    struct rule_key key = {destination, source, port, slot};
    struct rule *found = rules.lookup(&key);
    if (found)
        return found;
    key.source = 0;
    found = rules.lookup(&key);
    if (found)
        return found;
    key.port = 0;
    key.source = source;
    found = rules.lookup(&key);
    if (found)
        return found;
    key.source = 0;
    return rules.lookup(&key);
}
#endif
