/* SPDX-License-Identifier: BSD-2-Clause */
/* The proxy table: connections that a policy rule hands to a listener of the box ('redirect PORT'), by what that listener sees,
 * and what it cannot see: where the client meant to go before a NAT mapping led here, and who the client is.
 *
 * A row lives as long as its connection: whoever makes a connection with CONN_PROXY makes the row first, ct_on_delete takes it
 * away. Workers write; anyone may read (RCU online). */
#pragma once

#include "tables/ct.h"

/* getpeername() and getsockname() of the listener's side; ports as on the wire. */
struct proxy_key {
	struct ipaddr src, dst;
	be16 sport, dport;
	uint32_t proto;
};
struct proxy_value {
	struct ipaddr dst; /* as the client sent it */
	be16 dport;
	uint16_t port;     /* of the listener, host order; 0: taken over from a crash, no packet decided since */
	uint32_t identity; /* of the client */
};
_Static_assert(sizeof(struct proxy_key) == 40 && sizeof(struct proxy_value) == 24, "as tables.def says");

int proxy_init(struct err *e);
void proxy_fini(void);
/* The row of connection 'conn', whose keys and identity are filled in; called before it is published. 0, -EEXIST (a connection of
 * the same tuple is being made or going away: try again), -ENOSPC. */
int proxy_add(unsigned slot, bool v6, uint32_t conn, uint16_t port);
/* The connection was decided again: its identity and the listener's port of now. */
void proxy_update(bool v6, uint32_t conn, uint16_t port);
uint16_t proxy_port(bool v6, uint32_t conn); /* 0: no row */
void proxy_del(unsigned slot, bool v6, uint32_t conn);
uint32_t proxy_find(const struct proxy_key *k); /* row or 0 */
uint32_t proxy_next(uint32_t after);
const struct proxy_key *proxy_key_at(uint32_t row);
const struct proxy_value *proxy_at(uint32_t row);
uint32_t proxy_count(void);
