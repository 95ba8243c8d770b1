/* SPDX-License-Identifier: BSD-2-Clause */
/* ICMP errors that the engine makes (RFC 792, 1812 4.3, 4443): time exceeded, packet too big, unreachable. */
#pragma once

#include "fwd/decide.h"

enum icmp_kind {
	ICMP_TIME_EXCEEDED,
	ICMP_TOO_BIG,
	ICMP_NO_ROUTE,
	ICMP_HOST_UNREACHABLE,
	ICMP_ADMIN_PROHIBITED,
	ICMP_KINDS
};

/* Interface index of sluice_host, whose addresses the engine's answers prefer; 0 = none. main.c sets it. */
extern uint32_t icmp_host_ifindex;

/* Sends an error about packet 'p' (still whole, still the caller's) to its sender, unless a suppression rule or the token
 * bucket forbids. 'mtu' for ICMP_TOO_BIG. The source is an address of the box on the sender's side. */
void icmp_error(struct worker *w, const struct pkt *p, enum icmp_kind kind, uint16_t mtu);
/* Address the box answers with toward packets that came in as 'p'; false if it has none of the family. */
bool icmp_source(const struct pkt *p, struct ipaddr *src);
/* True when RFC 1812 4.3.2.7 / RFC 4443 2.4(e) forbid an error about 'p'. */
bool icmp_forbidden(const struct pkt *p, enum icmp_kind kind);
