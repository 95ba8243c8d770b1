/* SPDX-License-Identifier: BSD-2-Clause */
/* Pools of outside addresses: the control thread adds and removes them, workers choose one (their ports: nat_port.c).
 *
 * A removed pool drains: its slot, bits and owners stay until the last mapping is gone and every worker has passed a
 * quiescent state, because connections keep their outside port to the end. */
#include "tables/nat_pool.h"

#include <errno.h>
#include <stdlib.h>

#include "fwd/base/rcu.h"

enum { PORTS = 65536, DEFAULT_LO = 1024 };
enum slot_state { SLOT_UNUSED, SLOT_ACTIVE, SLOT_DRAINING };

struct nat_pool nat_pools[NAT_POOLS_MAX];

/* What outlives nat_pools[].addr, which is zero as soon as the pool is removed. */
static struct slot {
	uint32_t state;      /* written by the control thread; workers look after they read the address */
	struct ipaddr addr;  /* control thread only */
	uint8_t prefix;      /* the same */
	uint64_t removed_at; /* rcu_epoch() */
} slots[NAT_POOLS_MAX];
static int n_slots;         /* slots ever used: nobody looks further */
static uint32_t n_prefixes; /* pools that have some: at 0 nobody looks for them */
static uint64_t *(*bits_provider)(unsigned pool, enum steer_proto which);

void nat_set_bits_provider(uint64_t *(*fn)(unsigned pool, enum steer_proto which))
{
	bits_provider = fn;
}

/* ---- slots: control thread ---- */

static uint32_t ports_in_use(const struct nat_pool *p)
{
	uint32_t n = 0;
	for (unsigned w = 0; w < STEER_PROTOS; w++)
		n += LOAD_ACQUIRE(&p->in_use[w]);
	return n;
}

static void free_plain_bits(struct nat_pool *p)
{
	for (unsigned w = 0; w < STEER_PROTOS; w++) {
		if (!bits_provider)
			free(p->bits[w]);
		free(p->owner[w]);
		free(p->sharers[w]);
		free(p->freed[w]);
		p->bits[w] = NULL;
		p->owner[w] = p->sharers[w] = p->freed[w] = NULL;
	}
	nat_block_free(p);
}

static int give_memory(struct nat_pool *p, unsigned slot)
{
	for (unsigned w = 0; w < STEER_PROTOS; w++) {
		if (!p->bits[w])
			p->bits[w] = bits_provider ? bits_provider(slot, (enum steer_proto)w)
						   : aligned_alloc(CACHE_LINE, STEER_BITMAP_SIZE);
		if (!p->owner[w])
			p->owner[w] = calloc(PORTS, sizeof(*p->owner[w]));
		if (!p->sharers[w])
			p->sharers[w] = calloc(PORTS, sizeof(*p->sharers[w]));
		free(p->freed[w]); /* what another address' ports were */
		p->freed[w] = calloc(PORTS, sizeof(*p->freed[w]));
		if (!p->bits[w] || !p->owner[w] || !p->sharers[w] || !p->freed[w])
			return -ENOMEM;
		if (!bits_provider || !nat_bits_kept)
			memset(p->bits[w], 0, STEER_BITMAP_SIZE);
	}
	return 0;
}

/* The draining slot of the same address, else an unused one, else one that has drained. */
static int choose_slot(const struct ipaddr *addr, uint8_t prefix)
{
	int unused = -1, drained = -1;

	for (int i = NAT_POOLS_MAX - 1; i >= 0; i--) {
		const struct slot *s = &slots[i];
		if (s->state == SLOT_DRAINING && ip_eq(&s->addr, addr) && s->prefix == prefix)
			return i;
		if (s->state == SLOT_UNUSED)
			unused = i;
		else if (s->state == SLOT_DRAINING && !ports_in_use(&nat_pools[i]) && rcu_epoch() >= s->removed_at + 2)
			drained = i;
	}
	return unused >= 0 ? unused : drained;
}

static struct ipnet outside_of(const struct nat_pool *p)
{
	return (struct ipnet){ p->addr, p->prefix ? p->prefix : 128 };
}

static struct ipnet inside_of(const struct nat_pool *p)
{
	return (struct ipnet){ p->inside, p->prefix ? p->prefix : 128 };
}

/* The pool of exactly that address or prefix, -1. */
static int find(const struct ipnet *n)
{
	if (ip_is_zero(&n->addr))
		return -1;
	for (int i = 0, end = LOAD_ACQUIRE(&n_slots); i < end; i++)
		if (ip_eq(&nat_pools[i].addr, &n->addr) && outside_of(&nat_pools[i]).len == n->len &&
		    LOAD_ACQUIRE(&slots[i].state) == SLOT_ACTIVE)
			return i;
	return -1;
}

/* Two prefixes, of a pool that has some. */
static int check_prefixes(const struct nat_pool *conf, const char *a, struct err *e)
{
	const struct ipnet out = outside_of(conf), in = inside_of(conf);
	const struct ipaddr m = ip_mask(&out.addr, out.len), n = ip_mask(&in.addr, in.len);

	if (!ip_eq(&m, &out.addr) || !ip_eq(&n, &in.addr) || ip_eq(&m, &n))
		return err_set(e, -EINVAL, "nat pool %s: bits behind the prefix, or the same prefix inside", a);
	const int r = nat_prefix_check(&out, a, e);
	return r ? r : nat_prefix_check(&in, a, e);
}

static int check_conf(const struct nat_pool *conf, struct err *e)
{
	char b[IP_STRLEN];
	const char *a = ip_print(&conf->addr, b);
	const struct ipnet out = outside_of(conf);

	if (ip_is_zero(&conf->addr) || ip_is_multicast(&conf->addr) || ip_is_bcast4(&conf->addr))
		return err_set(e, -EINVAL, "nat pool %s: not an address that a packet may come from", a);
	if (conf->port_lo > conf->port_hi || (conf->port_hi && !conf->port_lo))
		return err_set(e, -EINVAL, "nat pool %s: ports %u-%u: give A-B with 1 <= A <= B", a, conf->port_lo,
			       conf->port_hi);
	if (conf->has_source && ip_is4(&conf->source.addr) != ip_is4(&conf->addr))
		return err_set(e, -EINVAL, "nat pool %s: its source prefix is of the other family", a);
	if (nat_is_static(conf) && ip_is4(&conf->inside) != ip_is4(&conf->addr))
		return err_set(e, -EINVAL, "nat pool %s: its inside address is of the other family", a);
	if (conf->mapping > NAT_APDM || conf->filter > NAT_APDF)
		return err_set(e, -EINVAL, "nat pool %s: unknown mapping or filter mode", a);
	if (conf->blocks &&
	    (conf->blocks < NAT_BLOCK_MIN || conf->blocks > NAT_BLOCK_MAX || conf->blocks & (conf->blocks - 1)))
		return err_set(e, -EINVAL, "nat pool %s: blocks %u: give a power of two from %d to %d", a, conf->blocks,
			       NAT_BLOCK_MIN, NAT_BLOCK_MAX);
	const struct nat_range ports = { conf->port_hi ? conf->port_lo : DEFAULT_LO,
					 conf->port_hi ? conf->port_hi : PORTS - 1 };
	const struct nat_range numbers = nat_block_numbers(ports, conf->blocks);
	if (conf->blocks && numbers.lo > numbers.hi)
		return err_set(e, -EINVAL, "nat pool %s: no block of %u ports, from a multiple of %u on, is in %u-%u",
			       a, conf->blocks, conf->blocks, ports.lo, ports.hi);
	if (find(&out) >= 0)
		return err_set(e, -EEXIST, "nat pool %s exists already: delete it first to change it", a);
	return conf->prefix ? check_prefixes(conf, a, e) : 0;
}

int nat_pool_add(const struct nat_pool *conf, struct err *e)
{
	char b[IP_STRLEN];
	int i, r = check_conf(conf, e);

	if (r)
		return r;
	i = choose_slot(&conf->addr, conf->prefix);
	if (i < 0)
		return err_set(e, -ENOSPC,
			       "nat pool %s: all %d places are taken, some maybe by removed pools with connections",
			       ip_print(&conf->addr, b), NAT_POOLS_MAX);
	struct nat_pool *p = &nat_pools[i];
	const bool back = slots[i].state == SLOT_DRAINING && ip_eq(&slots[i].addr, &conf->addr) &&
			  slots[i].prefix == conf->prefix;
	if (!back && !conf->prefix && give_memory(p, (unsigned)i)) {
		/* a drained slot stays one: what it has is kept for the next try */
		return err_set(e, -ENOMEM, "nat pool %s: no memory for its ports", ip_print(&conf->addr, b));
	}
	if (p->blocks != conf->blocks || !back) {
		if (back)
			rcu_wait(); /* a worker may still be giving a port or a block as it was before */
		r = nat_block_setup((unsigned)i, conf->blocks, e);
		if (r)
			return r;
	}
	p->port_lo = conf->port_hi ? conf->port_lo : DEFAULT_LO;
	p->port_hi = conf->port_hi ? conf->port_hi : PORTS - 1;
	p->port = conf->port;
	p->inside = conf->inside;
	p->prefix = slots[i].prefix = conf->prefix;
	p->source = conf->source;
	p->has_source = conf->has_source;
	p->mapping = conf->mapping;
	p->filter = conf->filter;
	STORE_RELAXED(&p->rest, conf->rest);
	STORE_RELAXED(&p->max_ports, conf->max_ports);
	STORE_RELAXED(&p->max_sessions, conf->max_sessions);
	STORE_RELAXED(&p->block_limit, conf->block_limit);
	if (!back)
		nat_refusals_forget((unsigned)i);
	p->addr = slots[i].addr = conf->addr;
	STORE_RELAXED(&n_prefixes, n_prefixes + (p->prefix != 0));
	STORE_RELEASE(&slots[i].state, SLOT_ACTIVE);
	STORE_RELEASE(&n_slots, MAX(n_slots, i + 1));
	gen_bump_extra();
	if (p->blocks && !back)
		nat_block_started((unsigned)i);
	return i;
}

int nat_pool_del(const struct ipaddr *addr, struct err *e)
{
	return nat_pool_del_prefix(&(struct ipnet){ *addr, 128 }, e);
}

int nat_pool_del_prefix(const struct ipnet *outside, struct err *e)
{
	char b[IP_STRLEN];
	const int i = find(outside);

	if (i < 0)
		return err_set(e, -ENOENT, "nat pool %s does not exist", ipnet_print(outside, b));
	STORE_RELAXED(&n_prefixes, n_prefixes - (nat_pools[i].prefix != 0));
	STORE_RELAXED(&slots[i].state, SLOT_DRAINING);
	/* Pairs with nat_pool_address: who copied a torn address sees the new state. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	nat_pools[i].addr = (struct ipaddr){ .d = { 0, 0 } };
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	slots[i].removed_at = rcu_epoch();
	gen_bump_extra();
	return 0;
}

void nat_pools_fini(void)
{
	for (unsigned i = 0; i < NAT_POOLS_MAX; i++) {
		free_plain_bits(&nat_pools[i]);
		nat_pools[i] = (struct nat_pool){ .port = 0 };
		slots[i] = (struct slot){ .state = SLOT_UNUSED };
	}
	n_slots = 0;
	n_prefixes = 0;
}

/* ---- choice ---- */

int nat_pool_by_addr(const struct ipaddr *addr)
{
	return find(&(struct ipnet){ *addr, 128 });
}

int nat_pool_by_prefix(const struct ipnet *outside)
{
	return find(outside);
}

int nat_pool_by_outside(const struct ipaddr *addr)
{
	const int own = nat_pool_by_addr(addr);

	for (int i = 0, n = own < 0 && LOAD_RELAXED(&n_prefixes) ? LOAD_ACQUIRE(&n_slots) : 0; i < n; i++) {
		const struct ipnet out = outside_of(&nat_pools[i]);
		if (nat_pools[i].prefix && LOAD_ACQUIRE(&slots[i].state) == SLOT_ACTIVE && ipnet_contains(&out, addr))
			return i;
	}
	return own;
}

bool nat_is_inside(unsigned p, const struct ipaddr *a)
{
	const struct ipnet in = inside_of(&nat_pools[p]);
	return ipnet_contains(&in, a);
}

bool nat_under_prefix(const struct ipaddr *a)
{
	for (int i = 0, n = LOAD_RELAXED(&n_prefixes) ? LOAD_ACQUIRE(&n_slots) : 0; i < n; i++)
		if (nat_pools[i].prefix && LOAD_ACQUIRE(&slots[i].state) == SLOT_ACTIVE &&
		    nat_is_inside((unsigned)i, a))
			return true;
	return false;
}

static enum nat_prefix translate(const struct ipaddr *a, const struct ipaddr *from, const struct ipaddr *to,
				 unsigned prefix, struct ipaddr *out)
{
	if (prefix)
		return nat_prefix_map(a, from, to, prefix, out);
	*out = *to;
	return NAT_PREFIX_OK;
}

enum nat_prefix nat_to_outside(unsigned p, const struct ipaddr *inside, struct ipaddr *outside)
{
	return translate(inside, &nat_pools[p].inside, &nat_pools[p].addr, nat_pools[p].prefix, outside);
}

enum nat_prefix nat_to_inside(unsigned p, const struct ipaddr *outside, struct ipaddr *inside)
{
	return translate(outside, &nat_pools[p].addr, &nat_pools[p].inside, nat_pools[p].prefix, inside);
}

uint32_t nat_static(const struct ipaddr *inside, const struct ipaddr *outside)
{
	const int i = nat_pool_by_outside(outside);
	struct ipaddr is;

	if (i < 0 || !nat_is_static(&nat_pools[i]) || nat_to_inside((unsigned)i, outside, &is) != NAT_PREFIX_OK)
		return 0;
	return ip_eq(&is, inside) ? NAT_STATIC | (uint32_t)i : 0;
}

/* The weight of a pool for a source: the highest takes it, so that adding a pool moves only the sources it wins. Not
 * keyed: after a restart the same source gets the same address. */
static uint32_t weight(const struct ipaddr *src, const struct ipaddr *pool)
{
	uint64_t h = (src->d[0] ^ pool->d[1]) * 0x9e3779b97f4a7c15;
	h = (h ^ (h >> 29) ^ src->d[1]) * 0xbf58476d1ce4e5b9;
	h = (h ^ (h >> 32) ^ pool->d[0]) * 0x94d049bb133111eb;
	return (uint32_t)(h >> 32);
}

static __thread uint32_t last_out; /* engine port of this thread's last choice */

int nat_pool_likely(const struct ipaddr *src)
{
	static __thread struct {
		struct ipaddr src;
		uint32_t changes;
		int pool;
	} memo; /* neighbours in a burst often have one source */
	const uint32_t changes = gen_begin();

	if (!LOAD_RELAXED(&n_slots))
		return -1;
	if (memo.changes != changes || !ip_eq(&memo.src, src)) {
		memo.src = *src;
		memo.changes = changes;
		memo.pool = nat_pool_choose(src, last_out);
	}
	return memo.pool;
}

int nat_pool_choose(const struct ipaddr *src, uint32_t out)
{
	uint64_t best_score = 0;
	int best = -1;

	last_out = out;
	for (int i = 0, n = LOAD_ACQUIRE(&n_slots); i < n; i++) {
		const struct nat_pool *p = &nat_pools[i];
		if (LOAD_ACQUIRE(&slots[i].state) != SLOT_ACTIVE || ip_is4(&p->addr) != ip_is4(src))
			continue;
		if (nat_is_static(p) && !nat_is_inside((unsigned)i, src))
			continue;
		if ((p->port >= 0 && (uint32_t)p->port != out) || (p->has_source && !ipnet_contains(&p->source, src)))
			continue;
		const unsigned len = p->has_source ? p->source.len : p->prefix;
		uint64_t score = (nat_is_static(p) ? 1ull << (p->prefix ? 42 : 43) : 0) |
				 (uint64_t)(p->port >= 0) << 41 | (uint64_t)p->has_source << 40 | (uint64_t)len << 32 |
				 weight(src, &p->addr);
		if (best < 0 || score > best_score) {
			best_score = score;
			best = i;
		}
	}
	return best;
}

/* ---- for the other files ---- */

const struct ipaddr *nat_pool_slot_address(unsigned p)
{
	return &slots[p].addr;
}

bool nat_pool_address(unsigned p, struct ipaddr *addr)
{
	if (LOAD_ACQUIRE(&slots[p].state) != SLOT_ACTIVE)
		return false;
	for (unsigned i = 0; i < 2; i++)
		addr->d[i] = LOAD_RELAXED(&nat_pools[p].addr.d[i]);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return LOAD_RELAXED(&slots[p].state) == SLOT_ACTIVE;
}
