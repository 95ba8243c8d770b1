/* SPDX-License-Identifier: BSD-2-Clause */
/* Time-outs, ageing and eviction of connections. Workers call it, each with clock hands of its own.
 *
 * A connection expires when neither direction was used for its state's time-out. Nothing is queued or sorted: ageing
 * walks its share of the pool in slices, and a full quota is relieved by looking at a sample behind a moving hand,
 * which finds approximately the oldest. */
#include "tables/ct.h"

uint32_t ct_timeouts[CT_TIMEOUTS] = {
	[CT_T_TCP_ESTABLISHED] = 8000, /* RFC 5382 REQ-5: at least 7440 */
	[CT_T_TCP_TRANSITORY] = 240,   /* at least 240 */
	[CT_T_TCP_SYN] = 240,
	[CT_T_UDP] = 300,           /* RFC 4787 REQ-5 */
	[CT_T_UDP_UNREPLIED] = 120, /* at least 120 */
	[CT_T_ICMP] = 60,           /* RFC 5508 REQ-2 */
};

/* Half closed and closing ones count as transitory: RFC 7857 section 2.1. */
static const uint8_t tcp_timeout[CT_STATES] = {
	[CT_NEW] = CT_T_TCP_SYN,
	[CT_SYN_SENT] = CT_T_TCP_SYN,
	[CT_SYN_RECV] = CT_T_TCP_SYN,
	[CT_ESTABLISHED] = CT_T_TCP_ESTABLISHED,
	[CT_FIN_WAIT] = CT_T_TCP_TRANSITORY,
	[CT_CLOSING] = CT_T_TCP_TRANSITORY,
	[CT_TIME_WAIT] = CT_T_TCP_TRANSITORY,
	[CT_RST_SEEN] = CT_T_TCP_TRANSITORY,
	[CT_UNREPLIED] = CT_T_TCP_SYN,
	[CT_REPLIED] = CT_T_TCP_SYN,
	[CT_REFUSED] = CT_T_TCP_TRANSITORY,
};

enum { EVICT_SAMPLE = 128, EVICT_ENOUGH = 8, EVICT_LOOKS = 1024, EVICT_TRIES = 4, AHEAD = 8 };

static struct hands {
	uint32_t age, evict[2]; /* entry looked at last; evict: other protocols, TCP */
	uint32_t pad[13];
} hands[2][THREADS]; /* by family; a line each */
_Static_assert(sizeof(struct hands) == 64, "one line");

static uint32_t timeout_of(const struct conn *k)
{
	uint8_t state = LOAD_RELAXED(&k->state);

	if (k->proto == PROTO_TCP)
		return LOAD_RELAXED(&ct_timeouts[tcp_timeout[state]]);
	if (state == CT_REFUSED)
		return LOAD_RELAXED(&ct_timeouts[CT_T_TCP_TRANSITORY]);
	if (k->proto == PROTO_ICMP || k->proto == PROTO_ICMP6)
		return LOAD_RELAXED(&ct_timeouts[CT_T_ICMP]);
	return LOAD_RELAXED(&ct_timeouts[state == CT_REPLIED ? CT_T_UDP : CT_T_UDP_UNREPLIED]);
}

static uint32_t *record_seen(const struct ct *c, uint32_t r)
{
	void *f = c->flows + (uint64_t)r * c->flow_size;
	return c->v6 ? &((struct flow6 *)f)->seen : &((struct flow4 *)f)->seen;
}

static uint32_t idle_for(const struct ct *c, uint32_t conn, uint32_t now_s)
{
	uint32_t last = ct_conn(c, conn)->created;

	for (unsigned d = 0; d < 2; d++) {
		uint32_t seen = LOAD_RELAXED(record_seen(c, 2 * conn + d));
		last = MAX(last, seen);
	}
	/* another worker's clock may be a little ahead */
	return now_s > last ? now_s - last : 0;
}

uint32_t ct_remaining(const struct ct *c, uint32_t conn, uint32_t now_s)
{
	uint32_t timeout = timeout_of(ct_conn(c, conn)), idle = idle_for(c, conn, now_s);
	return idle < timeout ? timeout - idle : 0;
}

static void prefetch_conn(const struct ct *c, uint32_t conn)
{
	if (conn > c->conns.capacity || LOAD_RELAXED(&c->conns.state[conn]) != POOL_LIVE)
		return;
	__builtin_prefetch(ct_conn(c, conn));
	__builtin_prefetch(record_seen(c, 2 * conn));
	__builtin_prefetch(record_seen(c, 2 * conn + 1));
}

void ct_age(struct ct *c, unsigned slot, unsigned n, unsigned budget, uint32_t now_s)
{
	const uint32_t part = n ? slot % n : 0, parts = MAX(n, 1u);
	const uint64_t used = LOAD_RELAXED(&c->conns.n_fresh); /* nothing was ever behind it */
	const uint32_t before = (uint32_t)(used * part / parts), last = (uint32_t)(used * (part + 1) / parts);
	uint32_t i = hands[c->v6][slot].age;

	for (unsigned looks = MIN(budget, last - before); looks; looks--) {
		/* also when the share moved because the pool or 'n' grew */
		i = i < before || i >= last ? before + 1 : i + 1;
		prefetch_conn(c, i + AHEAD);
		if (!ct_is_live(c, i) || ct_remaining(c, i, now_s))
			continue;
		if (ct_delete(c, slot, i))
			__atomic_fetch_add(&c->expired, 1, __ATOMIC_RELAXED);
	}
	hands[c->v6][slot].age = i;
}

/* Who goes first: a class in the upper half, seconds without use below. 0: must stay. */
static uint64_t victim_rank(const struct ct *c, uint32_t conn, uint32_t now_s)
{
	/* Seconds are cut off: 1 may mean a microsecond. */
	uint32_t idle = idle_for(c, conn, now_s);
	uint64_t class = 1;

	if (idle < 2)
		return 0;
	switch (LOAD_RELAXED(&ct_conn(c, conn)->state)) {
	case CT_NEW:
	case CT_SYN_SENT:
	case CT_SYN_RECV:
	case CT_UNREPLIED:
		class = 3;
		break;
	case CT_FIN_WAIT:
	case CT_CLOSING:
	case CT_TIME_WAIT:
	case CT_RST_SEEN:
	case CT_REFUSED:
		class = 2;
		break;
	case CT_ESTABLISHED:
		/* picked up from one side and never answered: nothing says that it is more than a flood of ACKs */
		if (!LOAD_RELAXED(record_seen(c, 2 * conn + 1)))
			class = 3;
		break;
	default:
		break;
	}
	return class << 32 | idle;
}

/* Next LIVE entry after 'i', wrapping; 0 when there is none. */
static uint32_t next_live(const struct ct *c, uint32_t i)
{
	i = pool_next(&c->conns, i);
	return i ? i : pool_next(&c->conns, 0);
}

/* The best victim of a sample of one quota, 0 if none. The walk ends early once enough embryonic ones were seen: under
 * a flood that is after a handful. */
static uint32_t choose_victim(struct ct *c, uint32_t *hand, bool tcp, uint32_t now_s)
{
	uint32_t best = 0, first = 0;
	uint64_t best_rank = 0;
	unsigned sampled = 0, embryonic = 0;

	for (unsigned looks = 0; looks < EVICT_LOOKS && sampled < EVICT_SAMPLE && embryonic < EVICT_ENOUGH; looks++) {
		uint32_t i = next_live(c, *hand);
		if (!i || i == first)
			break;
		if (!first)
			first = i;
		*hand = i;
		prefetch_conn(c, i + AHEAD);
		if ((ct_conn(c, i)->proto == PROTO_TCP) != tcp || !ct_is_live(c, i))
			continue;
		sampled++;
		uint64_t rank = victim_rank(c, i, now_s);
		embryonic += rank >> 32 == 3;
		if (rank > best_rank) {
			best_rank = rank;
			best = i;
		}
	}
	return best;
}

bool ct_evict(struct ct *c, unsigned slot, bool tcp, uint32_t now_s)
{
	uint32_t *hand = &hands[c->v6][slot].evict[tcp];

	if (!*hand) /* threads start apart, or they would all want the same victim */
		*hand = (uint32_t)((uint64_t)LOAD_RELAXED(&c->conns.n_fresh) * slot / THREADS);
	for (unsigned tries = 0; tries < EVICT_TRIES; tries++) {
		uint32_t victim = choose_victim(c, hand, tcp, now_s);
		if (!victim)
			return false;
		if (ct_delete(c, slot, victim)) {
			__atomic_fetch_add(&c->evicted, 1, __ATOMIC_RELAXED);
			return true;
		}
	}
	return false;
}
