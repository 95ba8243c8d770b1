/* SPDX-License-Identifier: BSD-2-Clause */
/* Which connections the kernel replays (contract in export.h). Everything here is the control thread's, ten times a second;
 * the packet path does nothing for it. A worker only calls export_stop() and, through ct_kernel_seen, seen().
 *
 * Promotion. A walk over the connections compares the packets of both records with what they were at the last look. 8 packets
 * within a second, both directions decided, by a path that a program can take: promoted. A walk of LOOKS entries a tick takes
 * a millisecond; with more connections than that the window is as long as a round. At most PROMOTE a tick.
 * When less than a sixteenth of the numbers is left, a connection must move four times the packets of the coolest of a
 * sample behind a moving hand, which then goes. So a million connections of one speed fill the table once and
 * then change nothing, and a hot one finds room at once.
 *
 * Visits, each pair once a second or oftener: counts and last use come back, a record that the engine decided anew is
 * written anew, one without a packet for COOL_S goes (the kernel refuses it at 8 s), so does one whose connection ended, opens or
 * closes. Sooner than a visit: a change of tables (generations, read by the kernel itself) and export_stop(). */
#include "fwd/export.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fwd/base/clock.h"
#include "fwd/export_record.h"
#include "fwd/settings.h"

enum {
	LOOKS = 32768,
	AHEAD = 8,
	WARM = 8,
	HOTTER = 4,
	SAMPLE = 16,
	PROMOTE = 1024,
	VISITS = 1024,
	COOL_S = 5,
};

/* A connection in the kernel's table. */
struct pair {
	uint32_t conn; /* 0: free */
	uint32_t next; /* free list */
	bool v6;
	uint32_t number[2];
	uint64_t packets[2], bytes[2]; /* of the kernel's counters: what was taken over already */
	uint64_t since, read_ns;       /* packets when 'rate' was found last, and when that was */
	uint32_t rate;                 /* packets a second */
	uint32_t used_s;               /* second of its last packet */
};

/* Beside each connection; 'pair' counts only with CONN_OFFLOADED in its flags. */
struct look {
	uint32_t packets; /* of both records when the window began */
	uint32_t pair;
};

static struct {
	struct replay_conf *conf; /* NULL: no kernel side */
	struct pair *pairs;       /* 1..n_pairs */
	uint32_t n_pairs, free, used, visit, sample;
	uint32_t allowed; /* REPLAY_BY_* by the setting */
} x;
static struct family {
	struct look *look;
	struct export_count (*counted)[2];
	uint32_t hand;
	uint64_t round_ns, window_ns; /* when this round began, and the one that all windows began with */
	bool new_window;              /* this round begins them anew */
} families[2];
static struct export_totals totals;

static uint32_t record_packets(const struct ct *c, uint32_t conn)
{
	if (c->v6)
		return LOAD_RELAXED(&ct_flow6(2 * conn)->packets) + LOAD_RELAXED(&ct_flow6(2 * conn + 1)->packets);
	return LOAD_RELAXED(&ct_flow4(2 * conn)->packets) + LOAD_RELAXED(&ct_flow4(2 * conn + 1)->packets);
}

static bool is_offloaded(const struct ct *c, uint32_t conn)
{
	return LOAD_ACQUIRE(&ct_conn(c, conn)->flags) & CONN_OFFLOADED;
}

/* ---- life ---- */

static uint32_t allowed_by_setting(void)
{
	static const uint8_t by[] = { [OFFLOAD_OFF] = 0,
				      [OFFLOAD_ON] = REPLAY_BY_TC | REPLAY_BY_XDP,
				      [OFFLOAD_TC] = REPLAY_BY_TC,
				      [OFFLOAD_XDP] = REPLAY_BY_XDP };
	return by[settings.offload];
}

static uint32_t seen(const struct ct *c, uint32_t conn);

static int alloc_all(uint32_t flows)
{
	x.n_pairs = flows; /* two records each, two families */
	x.pairs = calloc((size_t)x.n_pairs + 1, sizeof(*x.pairs));
	for (unsigned v6 = 0; v6 < 2; v6++) {
		const size_t n = (size_t)ct_of(v6)->conns.capacity + 1;
		/* large ones: pages that nobody looks at cost nothing */
		families[v6] = (struct family){ .look = calloc(n, sizeof(struct look)),
						.counted = calloc(n, 2 * sizeof(struct export_count)) };
	}
	return x.pairs && families[0].look && families[0].counted && families[1].look && families[1].counted ? 0
													       : -ENOMEM;
}

static void free_all(void)
{
	free(x.pairs);
	x.pairs = NULL;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		free(families[v6].look);
		free(families[v6].counted);
		families[v6] = (struct family){ 0 };
	}
}

int export_init(const struct loader_replay *area, struct err *e)
{
	memset(&totals, 0, sizeof(totals));
	memset(&x, 0, sizeof(x));
	if (!area->conf)
		return 0;
	int err = export_table_open(area);
	if (!err)
		err = alloc_all(area->conf->flows);
	if (err) {
		free_all();
		export_table_close();
		return err_set(e, err, "kernel replay: no memory for %u flows: lower 'set offload flows'", area->conf->flows);
	}
	for (uint32_t i = x.n_pairs; i; i--) {
		x.pairs[i].next = x.free;
		x.free = i;
	}
	x.conf = area->conf;
	ct_kernel_seen = seen;
	export_setting_changed();
	return 0;
}

/* ---- one pair ---- */

void export_stop(const struct ct *c, uint32_t conn)
{
	if (likely(!is_offloaded(c, conn)) || !x.conf)
		return;
	/* write_record() publishes, then looks at the connection; who stops changed the connection, then looks here. One that is
	 * promoted for the first time at this very moment may slip through: the next visit finds it. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	uint32_t i = LOAD_ACQUIRE(&families[c->v6].look[conn].pair);
	for (unsigned d = 0; d < 2 && i; d++) {
		uint32_t n = LOAD_RELAXED(&x.pairs[i].number[d]);
		if (n)
			export_table_stop(c->v6, n);
	}
}

/* ct_kernel_seen: second of the last packet that the kernel forwarded. Any thread. */
static uint32_t seen(const struct ct *c, uint32_t conn)
{
	uint32_t i = LOAD_ACQUIRE(&families[c->v6].look[conn].pair), last = 0;
	for (unsigned d = 0; d < 2 && i; d++) {
		uint32_t n = LOAD_RELAXED(&x.pairs[i].number[d]);
		uint32_t s = n ? REPLAY_SEEN_S(LOAD_RELAXED(&export_table_use(c->v6, n)->seen)) : 0;
		last = MAX(last, s);
	}
	return last;
}

static void set_record_seen(const struct ct *c, uint32_t r, uint32_t now_s)
{
	uint32_t *s = c->v6 ? &ct_flow6(r)->seen : &ct_flow4(r)->seen;
	if (LOAD_RELAXED(s) < now_s)
		STORE_RELAXED(s, now_s);
}

/* The kernel's counts since the last time; true when there were any. 'same': the connection is still the one it was. */
static bool fold(struct pair *p, unsigned d, bool same)
{
	const struct replay_use *u = export_table_use(p->v6, p->number[d]);
	const uint64_t packets = LOAD_RELAXED(&u->packets) - p->packets[d], bytes = LOAD_RELAXED(&u->bytes) - p->bytes[d];
	if (!packets)
		return false;
	p->packets[d] += packets;
	p->bytes[d] += bytes;
	totals.packets += packets;
	totals.bytes += bytes;
	if (same) {
		const struct ct *c = ct_of(p->v6);
		struct export_count *n = &families[p->v6].counted[p->conn][d];
		n->packets += packets;
		n->bytes += bytes;
		set_record_seen(c, 2 * p->conn + d, REPLAY_SEEN_S(LOAD_RELAXED(&u->seen)));
	}
	return true;
}

static bool is_same(const struct pair *p, uint32_t i)
{
	const struct ct *c = ct_of(p->v6);
	return families[p->v6].look[p->conn].pair == i && ct_is_live(c, p->conn) && is_offloaded(c, p->conn);
}

static void drop_record(struct pair *p, unsigned d, bool same, uint64_t now_ns)
{
	uint32_t n = p->number[d];
	if (!n)
		return;
	export_table_remove(p->v6, n, now_ns);
	fold(p, d, same);
	STORE_RELAXED(&p->number[d], 0);
	p->packets[d] = p->bytes[d] = 0;
	totals.records[p->v6]--;
}

static void demote(uint32_t i, uint64_t now_ns)
{
	struct pair *p = &x.pairs[i];
	const bool same = is_same(p, i);
	struct look *l = &families[p->v6].look[p->conn];
	for (unsigned d = 0; d < 2; d++)
		drop_record(p, d, same, now_ns);
	if (l->pair == i) {
		STORE_RELEASE(&l->pair, 0);
		l->packets = record_packets(ct_of(p->v6), p->conn); /* what it does from here on counts */
	}
	p->conn = 0;
	p->next = x.free;
	x.free = i;
	x.used--;
	totals.demoted++;
}

/* Writes direction 'd' of a pair. The number in the pair first: export_stop() must find it before a program does. */
static bool write_record(struct pair *p, unsigned d, const union export_record *k, uint64_t now_ns)
{
	const struct ct *c = ct_of(p->v6);
	const uint32_t r = 2 * p->conn + d;
	uint32_t n = export_table_insert(p->v6, k, r, now_ns);
	if (!n)
		return false;
	p->packets[d] = p->bytes[d] = 0;
	STORE_RELEASE(&p->number[d], n);
	totals.records[p->v6]++;
	/* a worker that stopped it before it could see the number, see export_stop() */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	const uint32_t sum = LOAD_RELAXED(c->v6 ? &ct_flow6(r)->gensum : &ct_flow4(r)->gensum);
	if (!ct_is_live(c, p->conn) || LOAD_RELAXED(&ct_conn(c, p->conn)->flags) & CONN_DEAD ||
	    sum != export_record_gensum(p->v6, k))
		export_table_stop(p->v6, n);
	return true;
}

static uint16_t path_of(bool v6, const union export_record *k, const char **why)
{
	return export_record_path(x.conf, (uint16_t)x.allowed, v6 ? k->v6.in : k->v4.in, v6 ? k->v6.adj : k->v4.adj, why);
}

static void set_flags(bool v6, union export_record *k, uint16_t flags)
{
	if (v6)
		k->v6.flags = flags;
	else
		k->v4.flags = flags;
}

/* ---- visits ---- */

/* Direction 'd' as the engine sees it now. false: it cannot be replayed any more. */
static bool renew(struct pair *p, unsigned d, uint64_t now_ns)
{
	union export_record k;
	const char *why;
	if (!export_record_copy(ct_of(p->v6), 2 * p->conn + d, &k))
		return true; /* being written: next time */
	uint16_t flags = path_of(p->v6, &k, &why);
	if (!flags)
		return false;
	const void *have = p->number[d] ? export_table_at(p->v6, p->number[d]) : NULL;
	if (have && export_record_equal(p->v6, have, &k)) {
		if (export_record_flags(p->v6, have) != flags)
			export_table_set_flags(p->v6, p->number[d], flags);
		return true;
	}
	/* what the engine would decide anew is refused by the kernel as it stands: it waits for the next decision */
	if (export_record_gensum(p->v6, &k) != gen_sum(p->v6 ? k.v6.dep : k.v4.dep))
		return true;
	drop_record(p, d, true, now_ns);
	set_flags(p->v6, &k, flags);
	if (!write_record(p, d, &k, now_ns))
		return false;
	totals.renewed++;
	return true;
}

static void visit(uint32_t i, uint64_t now_ns)
{
	struct pair *p = &x.pairs[i];
	const uint32_t now_s = (uint32_t)(now_ns / NS_PER_S);
	const struct ct *c = ct_of(p->v6);
	bool moved[2] = { false, false };
	if (!is_same(p, i) || !ct_replayable(ct_conn(c, p->conn))) {
		demote(i, now_ns);
		return;
	}
	for (unsigned d = 0; d < 2; d++)
		moved[d] = p->number[d] && fold(p, d, true);
	if (moved[0] || moved[1])
		p->used_s = now_s;
	for (unsigned d = 0; d < 2; d++) /* one that is quiet while the other one talks is not idle for the kernel */
		if (p->number[d] && !moved[d] && p->used_s == now_s)
			STORE_RELAXED(&export_table_use(p->v6, p->number[d])->seen, REPLAY_SEEN_NOW(now_ns));
	if (now_ns - p->read_ns >= NS_PER_S) {
		uint64_t sum = p->packets[0] + p->packets[1];
		/* less: a record was written anew and counts from zero */
		p->rate = sum < p->since ? p->rate : (uint32_t)((sum - p->since) * NS_PER_S / (now_ns - p->read_ns));
		p->since = sum;
		p->read_ns = now_ns;
	}
	if (now_s - p->used_s > COOL_S || !renew(p, 0, now_ns) || !renew(p, 1, now_ns))
		demote(i, now_ns);
}

static void visit_some(uint64_t now_ns)
{
	const uint32_t used = x.used, budget = MIN(used, MAX((uint32_t)VISITS, used / 8));
	for (uint32_t looks = 0, n = 0; n < budget && looks < x.n_pairs; looks++) {
		x.visit = x.visit % x.n_pairs + 1;
		if (!x.pairs[x.visit].conn)
			continue;
		visit(x.visit, now_ns);
		n++;
	}
}

/* ---- promotion ---- */

/* The coolest of a sample of this family, 0 if there is none. */
static uint32_t coolest(bool v6)
{
	uint32_t best = 0;
	for (unsigned looks = 0, n = 0; looks < 8 * SAMPLE && n < SAMPLE && looks < x.n_pairs; looks++) {
		x.sample = x.sample % x.n_pairs + 1;
		const struct pair *p = &x.pairs[x.sample];
		if (!p->conn || p->v6 != v6)
			continue;
		n++;
		if (!best || p->rate < x.pairs[best].rate)
			best = x.sample;
	}
	return best;
}

/* Is there room for a connection of 'rate' packets a second? Near the end it takes somebody's place. */
static bool make_room(bool v6, uint32_t rate, uint64_t now_ns)
{
	const uint32_t capacity = export_table_capacity(v6), left = export_table_free(v6, now_ns);
	if (left < 2 || !x.free) {
		/* numbers that rest come soon; else somebody has to go for the next one */
		if (export_table_resting(v6))
			return false;
	} else if (left >= MAX(2u, capacity / 16) + 2) {
		return true;
	}
	uint32_t victim = coolest(v6);
	if (!victim || rate / HOTTER <= x.pairs[victim].rate)
		return false;
	demote(victim, now_ns);
	return left >= 2;
}

/* Both directions, ready to be written; or why not. */
static bool is_eligible(const struct ct *c, uint32_t conn, union export_record k[2], const char **why)
{
	const struct conn *cn = ct_conn(c, conn);
	*why = "proto";
	if (cn->proto != PROTO_TCP && cn->proto != PROTO_UDP)
		return false;
	*why = "state";
	if (!ct_replayable(cn) || LOAD_RELAXED(&cn->state) == CT_REFUSED)
		return false;
	for (unsigned d = 0; d < 2; d++) {
		*why = "one-way";
		if (!export_record_copy(c, 2 * conn + d, &k[d]))
			return false;
		*why = "zone";
		if ((c->v6 ? k[d].v6.key.zp : k[d].v4.key.zp) >> 8)
			return false;
		uint16_t flags = path_of(c->v6, &k[d], why);
		if (!flags)
			return false;
		set_flags(c->v6, &k[d], flags);
	}
	return true;
}

static void promote(const struct ct *c, uint32_t conn, uint32_t rate, uint64_t now_ns)
{
	struct family *f = &families[c->v6];
	union export_record k[2];
	const char *why;
	if (!is_eligible(c, conn, k, &why))
		return;
	if (!make_room(c->v6, rate, now_ns)) {
		totals.refused++;
		return;
	}
	uint32_t i = x.free;
	struct pair *p = &x.pairs[i];
	x.free = p->next;
	x.used++;
	*p = (struct pair){ .conn = conn,
			    .v6 = c->v6,
			    .rate = rate,
			    .read_ns = now_ns,
			    .used_s = (uint32_t)(now_ns / NS_PER_S) };
	if (!is_offloaded(c, conn)) /* another one than who had this entry before */
		memset(f->counted[conn], 0, sizeof(f->counted[conn]));
	STORE_RELEASE(&f->look[conn].pair, i);
	__atomic_fetch_or(&ct_conn(c, conn)->flags, CONN_OFFLOADED, __ATOMIC_SEQ_CST);
	totals.promoted++;
	if (!write_record(p, 0, &k[0], now_ns) || !write_record(p, 1, &k[1], now_ns)) {
		demote(i, now_ns);
		totals.promoted--;
		totals.demoted--;
		totals.refused++;
	}
}

static void prefetch(const struct ct *c, const struct family *f, uint32_t i)
{
	if (i > c->conns.capacity || LOAD_RELAXED(&c->conns.state[i]) != POOL_LIVE)
		return;
	__builtin_prefetch(&f->look[i]);
	__builtin_prefetch(ct_conn(c, i));
	__builtin_prefetch(c->v6 ? (void *)&ct_flow6(2 * i)->packets : (void *)ct_flow4(2 * i));
	__builtin_prefetch(c->v6 ? (void *)&ct_flow6(2 * i + 1)->packets : (void *)ct_flow4(2 * i + 1));
}

/* One connection of the walk; true when it was promoted. */
static bool look_at(const struct ct *c, uint32_t conn, uint64_t now_ns)
{
	struct family *f = &families[c->v6];
	struct look *l = &f->look[conn];
	const uint64_t window_ns = MAX(f->round_ns - f->window_ns, NS_PER_S / 10);
	const uint32_t packets = record_packets(c, conn);
	uint32_t since = packets - l->packets;
	if (is_offloaded(c, conn) && l->pair)
		return false;
	if (l->pair) /* of a connection that had this entry before */
		demote(l->pair, now_ns);
	if (since >> 31) /* so are the packets */
		since = packets;
	const bool warm = since >= MAX((uint64_t)WARM, WARM * window_ns / NS_PER_S);
	if (warm)
		promote(c, conn, (uint32_t)(since * NS_PER_S / window_ns), now_ns);
	if (f->new_window)
		l->packets = packets;
	return l->pair;
}

static void begin_round(struct family *f, uint64_t now_ns)
{
	if (f->new_window)
		f->window_ns = f->round_ns;
	f->round_ns = now_ns;
	f->new_window = now_ns - f->window_ns >= NS_PER_S;
}

static void walk(const struct ct *c, uint64_t now_ns)
{
	struct family *f = &families[c->v6];
	unsigned promoted = 0;
	uint32_t i = f->hand;
	if (!c->conns.capacity)
		return;
	if (!i)
		begin_round(f, now_ns);
	for (unsigned looks = 0; looks < LOOKS && promoted < PROMOTE; looks++) {
		i = pool_next(&c->conns, i);
		if (!i)
			break;
		prefetch(c, f, i + AHEAD);
		promoted += look_at(c, i, now_ns);
	}
	f->hand = i;
}

static void flush(uint64_t now_ns)
{
	for (uint32_t i = 1; i <= x.n_pairs && x.used; i++)
		if (x.pairs[i].conn)
			demote(i, now_ns);
}

void export_tick(uint64_t now_ns)
{
	if (!x.conf || !x.allowed)
		return;
	visit_some(now_ns);
	walk(&ct4, now_ns);
	walk(&ct6, now_ns);
}

void export_setting_changed(void)
{
	if (!x.conf)
		return;
	x.allowed = allowed_by_setting();
	/* off: at once for all packets; then the counts come home */
	export_table_switch(x.allowed);
	flush(clock_ns());
	for (unsigned v6 = 0; v6 < 2; v6++) {
		families[v6].hand = 0;
		families[v6].round_ns = families[v6].window_ns = clock_ns();
	}
}

void export_fini(void)
{
	if (!x.conf)
		return;
	export_table_switch(false);
	flush(clock_ns());
	ct_kernel_seen = NULL;
	x.conf = NULL;
	free_all();
	export_table_close();
}

/* ---- show ---- */

struct export_count export_counted(const struct ct *c, uint32_t conn, unsigned reply)
{
	struct export_count n = { 0 };
	if (!x.conf || !is_offloaded(c, conn))
		return n;
	uint32_t i = families[c->v6].look[conn].pair;
	if (i && x.pairs[i].conn == conn && x.pairs[i].number[reply])
		fold(&x.pairs[i], reply, true);
	return families[c->v6].counted[conn][reply];
}

const char *export_state(const struct ct *c, uint32_t conn)
{
	union export_record k[2];
	const char *why;
	if (!x.conf || !x.allowed)
		return "off";
	uint32_t i = is_offloaded(c, conn) ? families[c->v6].look[conn].pair : 0;
	if (i && x.pairs[i].conn == conn && x.pairs[i].number[0]) {
		uint16_t flags = export_record_flags(c->v6, export_table_at(c->v6, x.pairs[i].number[0]));
		return flags & REPLAY_BY_XDP ? "xdp" : "tc";
	}
	if (!is_eligible(c, conn, k, &why))
		return why;
	return export_table_free(c->v6, clock_ns()) < MAX(4u, export_table_capacity(c->v6) / 16) ? "full" : "cold";
}

void export_read_totals(struct export_totals *t)
{
	*t = totals;
	t->connections = x.used;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		t->capacity[v6] = export_table_capacity(v6);
		t->resting[v6] = export_table_resting(v6);
	}
}
