/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports that connections to different remote addresses and ports share (mapping apdm). Workers call all of it.
 *
 * A port is free, or an endpoint-independent mapping's alone, or shared: then its bit is held by all who are counted in
 * 'sharers', of which 0 is final until the bit is free again. Who may have which port toward whom is decided by inserting the
 * permit of port and remote: one wins. */
#include <errno.h>

#include "tables/nat_pool.h"

/* SPINS: of one connection, whatever the number of ports it looks at: bits that a former process left set are nobody's until they are
 * settled, and to wait for each would take some 30 ms. Who takes or releases a port is done after a few. */
enum { LOOKS = 1024, SPINS = 1000 };

static bool join(struct nat_pool *pool, enum steer_proto which, uint16_t port, unsigned *spins)
{
	uint32_t *n = &pool->sharers[which][port];

	do {
		if (nat_ref_take(n))
			return true;
		if (nat_port_take(pool, which, port)) {
			STORE_RELEASE(n, 1);
			return true;
		}
		if (LOAD_ACQUIRE(&pool->owner[which][port]))
			return false;
		nat_breathe(spins); /* taken or released at this moment */
	} while (*spins < SPINS);
	return false;
}

void nat_port_leave(unsigned p, enum steer_proto which, uint16_t port, uint16_t user)
{
	if (nat_ref_drop(&nat_pools[p].sharers[which][port]))
		nat_port_release(p, which, port, user);
	else
		__atomic_add_fetch(&nat_pools[p].released[which], 1, __ATOMIC_RELEASE);
}

/* The port, -EEXIST: taken for this remote or somebody's own, -ENOSPC. */
static int try_port(unsigned slot, unsigned p, enum steer_proto which, const struct nat_port_wish *wish, uint16_t port,
		    unsigned *spins)
{
	if (nat_permit_is_shared(p, which, port, wish->to) || !join(&nat_pools[p], which, port, spins))
		return -EEXIST;
	int err = nat_permit_shared(slot, p, which, port, wish->to);
	if (err)
		nat_port_leave(p, which, port, wish->user);
	return err ? err : port;
}

/* In strides: what was given lies scattered, so a look does not learn from its neighbour. -EEXIST: none that was looked at. */
static int look(unsigned slot, unsigned p, enum steer_proto which, const struct nat_port_wish *wish,
		struct nat_range in, unsigned *spins)
{
	const uint32_t n = in.lo > in.hi ? 0 : in.hi - in.lo + 1;
	const uint32_t step = n > LOOKS ? 1 + (uint32_t)(wish->random >> 32) % (n - 1) : 1;
	uint32_t at = n ? (uint32_t)wish->random % n : 0;
	int port = -EEXIST;

	for (unsigned i = 0; i < MIN(n, (uint32_t)LOOKS) && port == -EEXIST; i++, at = (at + step) % n)
		port = try_port(slot, p, which, wish, (uint16_t)(in.lo + at), spins);
	return port;
}

int nat_port_share_in(unsigned slot, unsigned p, enum steer_proto which, const struct nat_port_wish *wish,
		      struct nat_range in)
{
	unsigned spins = 0;
	uint32_t released;
	int port;

	do {
		released = LOAD_ACQUIRE(&nat_pools[p].released[which]);
		port = look(slot, p, which, wish, in, &spins);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		/* as with a port of one's own: all were looked at, and none came free meanwhile */
	} while (port == -EEXIST && in.hi - in.lo < LOOKS && LOAD_RELAXED(&nat_pools[p].released[which]) != released);
	return port;
}

int nat_port_share(unsigned slot, unsigned p, enum steer_proto which, const struct nat_port_wish *wish,
		   struct ipaddr *addr)
{
	if (!nat_pool_address(p, addr))
		return -ENOSPC;
	const int port = nat_port_share_in(slot, p, which, wish, nat_port_range(&nat_pools[p]));
	return port == -EEXIST ? -ENOSPC : port;
}

bool nat_port_sharable(unsigned p, enum steer_proto which, const struct nat_remote *to, struct nat_range in)
{
	const struct nat_pool *pool = &nat_pools[p];

	for (uint32_t port = in.lo; port <= in.hi; port++)
		if (!LOAD_RELAXED(&pool->owner[which][port]) && !nat_permit_is_shared(p, which, (uint16_t)port, to))
			return true;
	return false;
}

bool nat_is_shared(const struct ipaddr *addr, uint8_t proto, uint16_t port)
{
	const int p = nat_pool_by_addr(addr);
	return p >= 0 && nat_proto_supported(proto) && LOAD_RELAXED(&nat_pools[p].sharers[nat_which(proto)][port]);
}
