/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP resets made by the engine, for connections that it ends and listeners that are not there (RFC 9293 3.5.2). Workers only. */
#pragma once

#include "fwd/decide.h"

struct tcp_reset {
	struct tuple t; /* as it will be sent */
	uint32_t seq, ack;
	uint8_t flags;
};

/* The reset that a host without such a connection sends for the TCP packet 'p' (RFC 9293 3.10.7.1). False: none may be sent, to a
 * fragment, another reset, or an IPv6 packet with IPv4-mapped addresses. */
bool tcp_reset_answer(const struct pkt *p, struct tcp_reset *x);
/* Writes the IP packet at 'h', at most IP6_HLEN + TCP_HLEN bytes; returns its length. */
uint32_t tcp_reset_write(uint8_t *h, const struct tcp_reset *x);

/* Tells both ends of the connection of 'd' (with its record, stored tuples in d->out) that it is over, as far as this packet
 * tells the sequence numbers that they take. The packet stays the caller's. */
void reset_connection(const struct decision *d);
