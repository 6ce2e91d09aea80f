/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only OR Apache-2.0 */
/* Why a connection was let through, refused or sent to the proxy: the words of meshlab/model/outcomes.py, numbered once.
 * Numbers are never used again; tests/dataplanes/sidecarless/test_reasons.py holds both files together. */
#ifndef MESHLAB_REASONS_H
#define MESHLAB_REASONS_H
#define REASON_OK 0
#define REASON_POLICY_ALLOW 1
#define REASON_POLICY_DENY 2
#define REASON_NO_ALLOW_MATCH 3
#define REASON_MTLS_REQUIRED 4
#define REASON_IDENTITY_REFUSED 5
#define REASON_NO_ROUTE 6
#define REASON_NO_HEALTHY_UPSTREAM 7
#define REASON_UPSTREAM_CONNECT_FAILED 8
#define REASON_UPSTREAM_RESET 9
#define REASON_CLIENT_DISCONNECT 10
#define REASON_NOT_READY 11
#define REASON_FAMILY_REFUSED 12
#define REASON_UNKNOWN 13
#endif
