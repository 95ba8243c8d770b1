/* SPDX-License-Identifier: BSD-2-Clause */
/* Session affinity: clients that stick to a backend, by client address and service. Workers write. When the table is full the
 * least recently used of a sample goes. */
#pragma once

#include "tables/table.h"

struct affinity_key {
	struct ipaddr client;
	uint32_t service; /* id */
	uint32_t zero;
};
/* Written in place: 'used' and 'live' relaxed, 'backend' never. */
struct affinity {
	uint32_t backend;
	uint32_t used; /* second of the last new connection, or of the last packet of one that ended */
	uint32_t live; /* connections; while there are any it does not run out */
	uint32_t zero;
};

int affinity_init(struct err *e);
void affinity_fini(void);
/* The client's backend, 0 when it has none or did not use it for 'timeout' seconds. The caller looks whether it may still take
 * connections. */
uint32_t affinity_find(const struct ipaddr *client, uint32_t service, uint32_t timeout, uint32_t now_s);
/* A connection of the client to 'backend' begins, or ends with its last packet seen at 'seen'. */
void affinity_take(unsigned slot, const struct ipaddr *client, uint32_t service, uint32_t backend, uint32_t now_s);
void affinity_give(const struct ipaddr *client, uint32_t service, uint32_t backend, uint32_t seen);
/* One that ended goes on after all: it counts if the client still sticks to 'backend'. */
void affinity_again(const struct ipaddr *client, uint32_t service, uint32_t backend);
uint32_t affinity_count(void);
uint32_t affinity_next(uint32_t after, struct affinity_key *k, struct affinity *v); /* walk, any thread */
/* Adoption, before workers run: a row without connections. */
int affinity_put(const struct affinity_key *k, uint32_t backend, uint32_t used);
