/* SPDX-License-Identifier: BSD-2-Clause */
/* Pools and their ports: what the files of masquerade state need of each other and nobody else. */
#pragma once

#include <sched.h>

#include "tables/nat_block.h"

/* Claims a port of pool 'p' (one bit, atomic): the wanted one when it is in the range and free, else a free one from a random
 * place on, through the whole range and as often as ports came free meanwhile. The port and its pool's address, or -ENOSPC:
 * at one moment all were taken, or the pool was removed. */
struct nat_port_wish {
	uint16_t port; /* inside port */
	uint16_t user; /* of the inside address (nat_user): it may have its own port back before others may */
	uint32_t now_s;
	uint64_t random;
	uint32_t source;             /* row of the inside address, for its blocks */
	const struct nat_remote *to; /* whom a shared port is for; NULL: a port of one's own */
};
struct nat_range {
	uint32_t lo, hi; /* lo > hi: empty */
};
int nat_port_claim(unsigned p, enum steer_proto which, const struct nat_port_wish *wish, struct ipaddr *addr);
/* The same in a part of the range. */
int nat_port_claim_in(unsigned p, enum steer_proto which, const struct nat_port_wish *wish, struct nat_range in);
struct nat_range nat_port_range(const struct nat_pool *pool);
/* The port's bit must be set by the caller's claim; its owner is cleared first. */
void nat_port_release(unsigned p, enum steer_proto which, uint16_t port, uint16_t user);
/* nat_share.c: a port of pool 'p' that no other connection to wish->to has, and the permit for it; connections to others may
 * have it, too. A random one, also when the inside port is free: who counts on the same port toward all remotes shall see at
 * once that there is no such promise. Out of up to 1024 ports it finds one whenever there is
 * one; of larger ranges it looks at 1024. The port and its pool's address, or -ENOSPC. */
int nat_port_share(unsigned slot, unsigned p, enum steer_proto which, const struct nat_port_wish *wish,
		   struct ipaddr *addr);
/* The same in a part of the range. -EEXIST: none there, -ENOSPC: no room for the permit. */
int nat_port_share_in(unsigned slot, unsigned p, enum steer_proto which, const struct nat_port_wish *wish,
		      struct nat_range in);
/* The permit is gone already; the last one frees the port. */
void nat_port_leave(unsigned p, enum steer_proto which, uint16_t port, uint16_t user);
/* What it would say. */
bool nat_port_sharable(unsigned p, enum steer_proto which, const struct nat_remote *to, struct nat_range in);
/* One bit of a port, atomic, and the count of ports in use; false when it is taken. */
bool nat_port_take(struct nat_pool *pool, enum steer_proto which, uint16_t port);
INLINE uint16_t nat_user(const struct ipaddr *inside)
{
	return (uint16_t)(((inside->d[0] ^ inside->d[1]) * 0x9e3779b97f4a7c15) >> 48);
}
void nat_pools_fini(void);
/* The address of a slot, also when its pool was removed. Control thread. */
const struct ipaddr *nat_pool_slot_address(unsigned p);
/* The address of pool 'p', never a torn one; false when it is not there or was removed. */
bool nat_pool_address(unsigned p, struct ipaddr *addr);

/* nat_refuse.c: 'k' got no port or connection of its pool, -ENOSPC or -EDQUOT. */
void nat_pool_refused(unsigned slot, const struct nat_key *k, int err);
void nat_refusals_forget(unsigned p); /* control thread: another pool takes the place, that no worker uses now */
bool nat_tables_full(void);           /* one of those that a new connection needs a row of */

/* nat_block.c: a port in the blocks of row wish->source, which gets a further block when they are full. The mapping counts in
 * got->block until nat_block_leave(). The port, -ENOSPC: no block is left, the pool was removed, or no room; -EDQUOT: the row has as
 * many blocks as it may. Of two threads that find no port for one row at once, one gets a block and the other waits for it. */
struct nat_block_got {
	struct ipaddr addr;
	uint16_t block; /* number + 1 */
};
int nat_block_port(unsigned slot, unsigned p, enum steer_proto which, const struct nat_port_wish *wish,
		   struct nat_block_got *got);
void nat_block_leave(unsigned p, uint16_t block, uint32_t now_s);
int nat_block_try(const struct nat_key *k, const struct nat_remote *to); /* what it would say; 0 */
/* Control thread. A pool gets or loses its blocks, while no worker takes ports of it: -EBUSY, or -ENOMEM. */
int nat_block_setup(unsigned p, uint16_t size, struct err *e);
void nat_block_free(struct nat_pool *p);
void nat_block_started(unsigned p);                                        /* says so */
struct nat_range nat_block_numbers(struct nat_range ports, uint16_t size); /* of the blocks that are whole */
/* Adoption: 'port' counts in its block, which becomes the row's. Number + 1, 0: the block is another's, a port of it is in use
 * without, or there is none. */
uint16_t nat_block_adopt(unsigned p, uint32_t source, uint16_t port, uint32_t since);
bool nat_block_held(unsigned p, uint16_t port); /* the block that the port is in */
void nat_block_adopted(void); /* blocks that nobody is in any more are free; the others are said to be kept */

/* nat_source.c: rows of inside addresses, for pools with a quota or blocks. A port more: 0 and the row, -EDQUOT: it has 'max'
 * (0: no limit), -ENOSPC. The row of a port is given back with it; row 0 is nobody's. */
int nat_source_open(struct err *e);
void nat_source_close(void);
bool nat_source_full(void);
int nat_source_take(unsigned slot, const struct nat_key *k, uint32_t max, uint32_t *source);
void nat_source_give(unsigned slot, uint32_t source);
/* A connection more and less, of who holds a port of that row. 0, -EDQUOT. */
int nat_session_begin(uint32_t source, uint32_t max);
void nat_session_end(uint32_t source);
/* Who has a block keeps his row by it, too. */
void nat_source_hold(uint32_t source);
void nat_source_unhold(unsigned slot, uint32_t source);
uint16_t *nat_source_blocks(uint32_t source); /* NAT_BLOCKS_OF_ONE places, nat_block.c's */
const struct ipaddr *nat_source_inside(uint32_t source);
uint16_t nat_source_zone(uint32_t source);
uint32_t nat_source_find(const struct nat_key *k);
/* What a connection of 'k' would meet, with a new port or an old one: 0, -EDQUOT. */
int nat_source_try(const struct nat_key *k, bool port, uint32_t max_ports, uint32_t max_sessions);

/* nat_permit.c */
int nat_permit_open(struct err *e);
void nat_permit_close(void);
bool nat_permit_full(void);
void nat_permit_prefetch(uint32_t mapping, const struct ipaddr *remote, uint16_t port);
int nat_permit_shared(unsigned slot, unsigned p, enum steer_proto which, uint16_t port,
		      const struct nat_remote *to); /* 0, -EEXIST, -ENOSPC */
bool nat_permit_is_shared(unsigned p, enum steer_proto which, uint16_t port, const struct nat_remote *to);

/* References of which 0 is final. */
INLINE bool nat_ref_take(uint32_t *refs)
{
	uint32_t n = LOAD_RELAXED(refs);

	while (n)
		if (__atomic_compare_exchange_n(refs, &n, n + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	return false;
}
/* True for the thread that dropped the last one. */
INLINE bool nat_ref_drop(uint32_t *refs)
{
	return __atomic_sub_fetch(refs, 1, __ATOMIC_ACQ_REL) == 0;
}

/* While another thread finishes something short; it may share this core. */
INLINE void nat_breathe(unsigned *spins)
{
	if (++*spins % 256 == 0)
		sched_yield();
	else
		__builtin_ia32_pause();
}
struct table *nat_mapping_table(void);
/* A guess of nat_pool_choose() for a packet that is not routed yet: this thread's last answer while it fits, -1 = none. */
int nat_pool_likely(const struct ipaddr *src);
