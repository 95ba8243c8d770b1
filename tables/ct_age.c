/* SPDX-License-Identifier: BSD-2-Clause */
/* Time-outs, ageing and eviction of connections. Workers call it, each with clock hands of its own.
 *
 * A connection expires when neither direction was used for its state's time-out: ageing walks its share of the pool in
 * slices, each bounded by its work. A full quota is relieved by the oldest embryonic connection (ct_fifo.c); only when
 * there is none a sample behind a moving hand finds approximately the oldest of the others. */
#include "tables/ct.h"

uint32_t ct_timeouts[CT_TIMEOUTS] = {
	[CT_T_TCP_ESTABLISHED] = 8000, /* RFC 5382 REQ-5: at least 7440 */
	[CT_T_TCP_HALF_CLOSED] = 8000, /* the same */
	[CT_T_TCP_TRANSITORY] = 240,   /* at least 240 */
	[CT_T_TCP_SYN] = 240,
	[CT_T_UDP] = 300,           /* RFC 4787 REQ-5 */
	[CT_T_UDP_UNREPLIED] = 120, /* at least 120 */
	[CT_T_ICMP] = 60,           /* RFC 5508 REQ-2 */
};

/* A connection closes once both sides have sent a FIN (RFC 5382 section 5); before, one of them may have much to say still. */
static const uint8_t tcp_timeout[CT_STATES] = {
	[CT_NEW] = CT_T_TCP_SYN,
	[CT_SYN_SENT] = CT_T_TCP_SYN,
	[CT_SYN_RECV] = CT_T_TCP_SYN,
	[CT_ESTABLISHED] = CT_T_TCP_ESTABLISHED,
	[CT_FIN_WAIT] = CT_T_TCP_HALF_CLOSED,
	[CT_CLOSING] = CT_T_TCP_TRANSITORY,
	[CT_TIME_WAIT] = CT_T_TCP_TRANSITORY,
	[CT_RST_SEEN] = CT_T_TCP_TRANSITORY,
	[CT_UNREPLIED] = CT_T_TCP_SYN,
	[CT_REPLIED] = CT_T_TCP_SYN,
	[CT_REFUSED] = CT_T_TCP_TRANSITORY,
};

enum {
	WORK_DELETE = 20,
	GROW_BUCKETS = 8
}; /* a look costs 30 cycles, a deletion 440, with its NAT state 950; what is moved of a bucket up to 3000 */
/* FLOOD_PART: young embryonic connections, as a part of the quota, that mean a flood: nobody else has to go for it.
 * FUTILE_MAX: samples without a victim before the next second is waited for. */
enum { FLOOD_PART = 4, FUTILE_MAX = 8 };
enum { EVICT_SAMPLE = 128, EVICT_ENOUGH = 8, EVICT_LOOKS = 1024, EVICT_TRIES = 4, AHEAD = 8 };

static struct hands {
	uint32_t age, evict[2];          /* entry looked at last; evict: other protocols, TCP */
	uint32_t futile_s[2], futile[2]; /* samples without a victim in this second */
	uint32_t pad[9];
} hands[2][THREADS]; /* by family; a line each */
_Static_assert(sizeof(struct hands) == 64, "one line");

uint32_t (*ct_kernel_seen)(const struct ct *c, uint32_t conn);

static uint32_t timeout_of(const struct conn *k)
{
	uint8_t state = LOAD_RELAXED(&k->state);

	if (state == CT_FIN_WAIT && k->proto == PROTO_SCTP) /* its SHUTDOWN ends both directions: RFC 9260 9 */
		return LOAD_RELAXED(&ct_timeouts[CT_T_TCP_TRANSITORY]);
	if (ct_has_machine(k->proto))
		return LOAD_RELAXED(&ct_timeouts[tcp_timeout[state]]);
	if (state == CT_REFUSED)
		return LOAD_RELAXED(&ct_timeouts[CT_T_TCP_TRANSITORY]);
	if (k->proto == PROTO_ICMP || k->proto == PROTO_ICMP6)
		return LOAD_RELAXED(&ct_timeouts[CT_T_ICMP]);
	return LOAD_RELAXED(&ct_timeouts[state == CT_REPLIED ? CT_T_UDP : CT_T_UDP_UNREPLIED]);
}

uint32_t ct_idle(const struct ct *c, uint32_t conn, uint32_t now_s)
{
	uint32_t last = ct_conn(c, conn)->created;

	for (unsigned d = 0; d < 2; d++) {
		uint32_t seen = LOAD_RELAXED(ct_record_seen(c, 2 * conn + d));
		last = MAX(last, seen);
	}
	/* what the kernel forwards comes into the records a second late */
	if (unlikely(LOAD_RELAXED(&ct_conn(c, conn)->flags) & CONN_OFFLOADED) && now_s - last > 1 && ct_kernel_seen) {
		uint32_t seen = ct_kernel_seen(c, conn);
		last = MAX(last, seen);
	}
	/* another worker's clock may be a little ahead */
	return now_s > last ? now_s - last : 0;
}

uint32_t ct_remaining(const struct ct *c, uint32_t conn, uint32_t now_s)
{
	uint32_t timeout = timeout_of(ct_conn(c, conn)), idle = ct_idle(c, conn, now_s);
	return idle < timeout ? timeout - idle : 0;
}

static void prefetch_conn(const struct ct *c, uint32_t conn)
{
	if (conn > c->conns.capacity || LOAD_RELAXED(&c->conns.state[conn]) != POOL_LIVE)
		return;
	__builtin_prefetch(ct_conn(c, conn));
	__builtin_prefetch(ct_record_seen(c, 2 * conn));
	__builtin_prefetch(ct_record_seen(c, 2 * conn + 1));
}

/* What a deletion reads; they lie anywhere. */
static void prefetch_buckets(const struct ct *c, uint32_t conn)
{
	for (unsigned d = 0; d < 2; d++)
		hidx_prefetch(&c->idx, ct_record_hash(c, 2 * conn + d));
}

uint32_t ct_age(struct ct *c, unsigned slot, unsigned n, unsigned budget, uint32_t now_s)
{
	const uint32_t part = n ? slot % n : 0, parts = MAX(n, 1u);
	const uint64_t used = LOAD_RELAXED(&c->conns.n_fresh); /* nothing was ever behind it */
	const uint32_t before = (uint32_t)(used * part / parts), last = (uint32_t)(used * (part + 1) / parts);
	const uint32_t work_max = MAX(budget, (unsigned)CT_AGE_WORK);
	uint32_t i = hands[c->v6][slot].age, looks = MIN(budget, last - before), work = 0;

	hidx_grow(&c->idx, GROW_BUCKETS);
	while (looks && work < work_max) {
		uint32_t due[AHEAD];
		unsigned n_due = 0;
		for (unsigned k = 0; k < AHEAD && looks && work < work_max; k++, looks--, work++) {
			/* also when the share moved because the pool or 'n' grew */
			i = i < before || i >= last ? before + 1 : i + 1;
			prefetch_conn(c, i + AHEAD);
			if (!ct_is_live(c, i) || ct_remaining(c, i, now_s))
				continue;
			work += WORK_DELETE;
			due[n_due++] = i;
			prefetch_buckets(c, i);
		}
		for (unsigned k = 0; k < n_due; k++)
			if (ct_delete(c, slot, due[k]))
				__atomic_fetch_add(&c->expired, 1, __ATOMIC_RELAXED);
	}
	hands[c->v6][slot].age = i;
	return looks;
}

bool ct_is_embryonic(const struct ct *c, uint32_t conn)
{
	if (!ct_is_live(c, conn))
		return false;
	switch (LOAD_RELAXED(&ct_conn(c, conn)->state)) {
	case CT_NEW:
	case CT_SYN_SENT:
	case CT_SYN_RECV:
	case CT_UNREPLIED:
		return true;
	case CT_ESTABLISHED:
		/* picked up from one side and never answered: nothing says that it is more than a flood of ACKs */
		return !LOAD_RELAXED(ct_record_seen(c, 2 * conn + 1));
	default:
		return false;
	}
}

/* Who goes first: a class in the upper half, seconds without use below. 0: must stay. */
enum { CLASS_IDLE = 1, CLASS_CLOSING, CLASS_EMBRYONIC };

static uint64_t victim_rank(const struct ct *c, uint32_t conn, uint32_t now_s)
{
	uint32_t idle = ct_idle(c, conn, now_s);
	uint64_t class = CLASS_IDLE;

	if (idle < CT_EVICT_IDLE)
		return 0;
	if (ct_is_embryonic(c, conn))
		return (uint64_t)CLASS_EMBRYONIC << 32 | idle;
	switch (LOAD_RELAXED(&ct_conn(c, conn)->state)) {
	case CT_FIN_WAIT:
	case CT_CLOSING:
	case CT_TIME_WAIT:
	case CT_RST_SEEN:
	case CT_REFUSED:
		class = CLASS_CLOSING;
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
static uint32_t choose_victim(struct ct *c, uint32_t *hand, bool tcp, uint32_t now_s, uint64_t best_rank)
{
	uint32_t best = 0, first = 0;
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
		embryonic += rank >> 32 == CLASS_EMBRYONIC;
		if (rank > best_rank && (rank >> 32 != CLASS_IDLE || !ct_may_evict || ct_may_evict(c->v6, i))) {
			best_rank = rank;
			best = i;
		}
	}
	return best;
}

static bool evict_one(struct ct *c, unsigned slot, uint32_t victim)
{
	if (!ct_delete(c, slot, victim))
		return false;
	__atomic_fetch_add(&c->evicted, 1, __ATOMIC_RELAXED);
	return true;
}

/* Of a class above 'class'. */
static bool evict_sampled(struct ct *c, unsigned slot, bool tcp, uint32_t now_s, uint64_t class)
{
	struct hands *h = &hands[c->v6][slot];

	if (h->futile_s[tcp] == now_s && h->futile[tcp] >= FUTILE_MAX)
		return false;
	if (!h->evict[tcp]) /* threads start apart, or they would all want the same victim */
		h->evict[tcp] = (uint32_t)((uint64_t)LOAD_RELAXED(&c->conns.n_fresh) * slot / THREADS);
	for (unsigned tries = 0; tries < EVICT_TRIES; tries++) {
		uint32_t victim = choose_victim(c, &h->evict[tcp], tcp, now_s, class << 32 | UINT32_MAX);
		if (!victim)
			break;
		if (evict_one(c, slot, victim))
			return true;
	}
	h->futile[tcp] = h->futile_s[tcp] == now_s ? h->futile[tcp] + 1 : 1;
	h->futile_s[tcp] = now_s;
	return false;
}

bool ct_evict(struct ct *c, unsigned slot, bool tcp, uint32_t now_s)
{
	uint32_t n_young = 0;

	for (unsigned tries = 0; tries < EVICT_TRIES; tries++) {
		uint32_t victim = ct_fifo_victim(c, slot, tcp, now_s, &n_young);
		if (!victim)
			break;
		if (evict_one(c, slot, victim))
			return true;
	}
	const bool flood = n_young > (tcp ? c->max_tcp : c->max_other) / FLOOD_PART;
	return evict_sampled(c, slot, tcp, now_s, flood ? 1 : 0);
}
