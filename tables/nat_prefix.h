/* SPDX-License-Identifier: BSD-2-Clause */
/* Prefix translation of IPv6 addresses (NPTv6, RFC 6296 3): one prefix for another of the same length, and one 16-bit word takes
 * up the difference, so that the Internet checksum over the address stays as it is and no transport header is touched. An
 * algorithm without state: what it maps to maps back, by the same function with the prefixes exchanged. Any thread. */
#pragma once

#include "fwd/base/err.h"
#include "fwd/base/net.h"

enum { NAT_PREFIX_MAX = 64 }; /* longest: the rest is the interface identifier */

enum nat_prefix {
	NAT_PREFIX_OK,
	NAT_PREFIX_SUBNET, /* up to /48: subnet ffff, which would come back as 0 */
	NAT_PREFIX_IID, /* /49 and longer: an interface identifier of all zeros, before or behind, or all ones (3.7) */
};

/* May 'n' be translated, or translated to? Any unicast prefix may (RFC 6296 4.1). -EINVAL; 'pool' is for the sentence. */
int nat_prefix_check(const struct ipnet *n, const char *pool, struct err *e);
/* 'a', which is under 'from', to its place under 'to', both of 'len' bits (at most NAT_PREFIX_MAX, the rest zero). '*out' is
 * written when it has one. Up to /48 bits 48-63 take up the difference (3.4), else the first word behind the 64th bit that is not
 * ffff (3.5). */
enum nat_prefix nat_prefix_map(const struct ipaddr *a, const struct ipaddr *from, const struct ipaddr *to, unsigned len,
			       struct ipaddr *out);
