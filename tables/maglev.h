/* SPDX-License-Identifier: BSD-2-Clause */
/* Maglev's look-up table (Eisenbud et al., NSDI 2016, section 3.4), with weights: which of the nodes slot i belongs to.
 *
 * A pure function of the nodes' names and weights: neither their order nor what was there before counts, and nothing is drawn
 * at random, so that gateways with one configuration choose alike. Shares follow the weights to less than two slots a node, and
 * at the default size a node that goes or comes moves at most 1 % of the table beyond its own share. Any thread. */
#pragma once

#include "fwd/base/net.h"

enum { MAGLEV_DEFAULT = 16381, MAGLEV_NODES = 0xffff };

struct maglev_node {
	uint64_t name;   /* maglev_name(); distinct */
	uint32_t weight; /* 0: gets no slot */
};

/* The table sizes that can be chosen: primes from 251 to 131071. */
bool maglev_size_ok(uint32_t size);
/* Equal on every machine: no key that is drawn at start. */
uint64_t maglev_name(const struct ipaddr *addr, uint16_t port);
/* Of a client (and its port and protocol); the slot is maglev_slot() of it. */
uint64_t maglev_hash(const struct ipaddr *addr, uint16_t port, uint8_t proto, uint32_t seed);
INLINE uint32_t maglev_slot(uint64_t hash, uint32_t size)
{
	return (uint32_t)(((hash >> 32) * size) >> 32);
}
/* Fills slot[0..size-1] with indices into 'node'. 0; -EINVAL: no node has a weight, more than MAGLEV_NODES, or no such size;
 * -ENOMEM. */
int maglev_fill(uint16_t *slot, uint32_t size, const struct maglev_node *node, uint32_t n);
