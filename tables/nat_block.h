/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks of ports (RFC 6888 REQ-14, the idea of RFC 7422): an inside address gets 'blocks' ports in a row of a pool, of all
 * protocols, and its mappings take ports of its blocks only; so who had a port when follows from one line when a block is
 * given and one when it goes back.
 *
 * Block n of a pool is ports n * size to n * size + size - 1; those that are not wholly in the range are nobody's. A block goes
 * back when no mapping has been in it for the rest of the pool; sooner, when an address needs one and no other is free:
 * then the one that is empty for the longest. Workers give them, the control thread takes them back. */
#pragma once

#include "tables/nat.h"

enum { NAT_BLOCK_MIN = 16, NAT_BLOCK_MAX = 4096, NAT_BLOCKS_OF_ONE = 16, NAT_BLOCKS_DEFAULT = 8 };

enum nat_block_what {
	NAT_BLOCK_START, /* a pool begins: whatever was given of it before is over; 'inside' is zero, ports the range */
	NAT_BLOCK_KEPT,  /* after a crash: given before, and still */
	NAT_BLOCK_GIVEN,
	NAT_BLOCK_BACK,
	NAT_BLOCK_WHATS
};
struct nat_block_event {
	uint64_t seq;     /* 1, 2, ... in the order of what happened to each block */
	uint64_t time_ns; /* clock_ns() */
	struct ipaddr inside, outside;
	uint16_t first, last; /* ports */
	uint16_t zone;        /* of the inside address */
	uint8_t pool, what;
};
/* Called by whoever gives or takes a block, with the caller's thread slot; NULL: nobody wants to know. Set while no other
 * thread runs. It must not wait. */
extern void (*nat_on_block)(unsigned slot, const struct nat_block_event *e);

/* ---- control thread ---- */
/* Once a second: takes back what has rested. */
void nat_block_tick(uint32_t now_s);
/* Takes back all of every pool: the box stops, workers stand still. */
void nat_block_end(void);

struct nat_block_info {
	struct ipaddr inside, outside;
	uint16_t first, last, zone;
	uint32_t mappings; /* in it now; with mapping apdm, connections */
	uint32_t since;    /* second it was given */
};
/* Walk of blocks that are given: for (at = nat_block_next(0, &b); at; at = nat_block_next(at, &b)). */
uint32_t nat_block_next(uint32_t after, struct nat_block_info *b);
uint32_t nat_block_count(void);
/* Blocks that a pool has; those with mappings, which nobody else can be given; and with those that rest. */
struct nat_block_use {
	uint32_t all, busy, given;
};
struct nat_block_use nat_blocks_of(unsigned pool);
