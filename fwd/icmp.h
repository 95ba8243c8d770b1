/* SPDX-License-Identifier: BSD-2-Clause */
/* ICMP errors that the engine makes (RFC 792, 1812 4.3, 4443): time exceeded, packet too big, unreachable. */
#pragma once

#include "fwd/decide.h"

enum icmp_kind {
	ICMP_TIME_EXCEEDED,
	ICMP_TOO_BIG,
	ICMP_NO_ROUTE,
	ICMP_UNREACHABLE_ROUTE, /* a route of that kind: answered as the kernel does */
	ICMP_HOST_UNREACHABLE,
	ICMP_PORT_UNREACHABLE,
	ICMP_ADMIN_PROHIBITED,
	ICMP_BAD_FIELD, /* parameter problem */
	ICMP_KINDS
};

/* Interface index of sluice_host, 0 = none. main.c sets it. */
extern uint32_t icmp_host_ifindex;

/* Sends an error about packet 'p' (still whole, still the caller's) to its sender, unless a suppression rule or the worker's
 * token bucket of that class forbids ('set icmp rate'). 'mtu' for ICMP_TOO_BIG; of ICMP_BAD_FIELD it is
 * the offset of the field. */
void icmp_error(struct worker *w, const struct pkt *p, enum icmp_kind kind, uint16_t mtu);
/* The same by way of 'r', for a sender that does not live where its source address does. */
void icmp_error_by(struct worker *w, const struct pkt *p, enum icmp_kind kind, uint16_t mtu, const struct route *r);
/* Address the box answers with by way of 'r': toward the network one of the port (RFC 1812 4.3.2.4), toward containers and tunnels
 * one of sluice_host, the gateway they know; without that the other of the two, else that of any port, as a router's id. False:
 * none of the family. */
bool icmp_source(bool v6, const struct route *r, struct ipaddr *src);
/* True when RFC 1812 4.3.2.7 / RFC 4443 2.4(e) forbid an error about 'p'. */
bool icmp_forbidden(const struct pkt *p, enum icmp_kind kind);
