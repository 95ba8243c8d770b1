/* SPDX-License-Identifier: BSD-2-Clause */
/* Which connections the kernel replays (contract in export.h). Everything here is the control thread's, ten times a second or
 * oftener; a worker only notes what it saw, calls export_stop() and, through ct_kernel_seen, seen().
 *
 * Promotion. Each worker notes one packet of each burst, or some (struct worker, samples); the connections so seen are looked at, a
 * hundred times a second while there are any. 8 packets within a second, both directions decided, by a path that a program can take:
 * promoted. A hot one is seen often; a million cold ones cost a look a burst, where a walk over them all would take
 * some per cent of the CPU that this thread shares with a worker.
 * When less than a sixteenth of the numbers is left, a connection must move four times the packets of the coolest of a
 * sample behind a moving hand, which then goes. So a million connections of one speed fill the table once and
 * then change nothing, and a hot one finds room at once.
 *
 * Visits, each pair once a second or oftener: counts and last use come back, a record that the engine decided anew is
 * written anew, one without a packet for COOL_S goes (the kernel refuses it at 8 s), so does one whose connection ended, opens or
 * closes. Sooner than a visit: a change of tables (generations, read by the kernel itself) and export_stop(). */
#include "fwd/export_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fwd/base/clock.h"
#include "fwd/settings.h"

enum { VISITS = 128, COOL_S = 5 };

struct export_kernel export_kernel;
struct export_family export_families[2];
struct export_totals export_totals;

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
	export_kernel.n_pairs = flows; /* two records each, two families */
	export_kernel.pairs = calloc((size_t)export_kernel.n_pairs + 1, sizeof(*export_kernel.pairs));
	export_kernel.list = calloc(export_kernel.n_pairs, sizeof(*export_kernel.list));
	for (unsigned v6 = 0; v6 < 2; v6++) {
		const size_t n = (size_t)ct_of(v6)->conns.capacity + 1;
		/* large ones: pages that nobody looks at cost nothing */
		export_families[v6] = (struct export_family){ .look = calloc(n, sizeof(struct export_look)),
							      .counted = calloc(n, sizeof(struct export_count[2])) };
	}
	return export_kernel.pairs && export_kernel.list && export_families[0].look && export_families[0].counted &&
			       export_families[1].look && export_families[1].counted
		       ? 0
		       : -ENOMEM;
}

static void free_all(void)
{
	free(export_kernel.pairs);
	free(export_kernel.list);
	export_kernel.pairs = NULL;
	export_kernel.list = NULL;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		free(export_families[v6].look);
		free(export_families[v6].counted);
		export_families[v6] = (struct export_family){ 0 };
	}
}

int export_init(const struct loader_replay *area, struct err *e)
{
	memset(&export_totals, 0, sizeof(export_totals));
	memset(&export_kernel, 0, sizeof(export_kernel));
	if (!area->conf)
		return 0;
	int err = export_table_open(area);
	if (!err)
		err = alloc_all(area->conf->flows);
	if (err) {
		free_all();
		export_table_close();
		return err_set(e, err, "kernel replay: no memory for %u flows: lower 'set offload flows'",
			       area->conf->flows);
	}
	for (uint32_t i = export_kernel.n_pairs; i; i--) {
		export_kernel.pairs[i].next = export_kernel.free;
		export_kernel.free = i;
	}
	export_kernel.conf = area->conf;
	ct_kernel_seen = seen;
	export_setting_changed();
	return 0;
}

/* ---- one pair ---- */

void export_stop(const struct ct *c, uint32_t conn)
{
	if (likely(!export_is_offloaded(c, conn)) || !export_kernel.conf)
		return;
	/* export_write_record() publishes, then looks at the connection; who stops changed the connection, then looks here. One that is
	 * promoted for the first time at this very moment may slip through: the next visit finds it. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	uint32_t i = LOAD_ACQUIRE(&export_families[c->v6].look[conn].pair);
	for (unsigned d = 0; d < 2 && i; d++) {
		uint32_t n = LOAD_RELAXED(&export_kernel.pairs[i].number[d]);
		if (n)
			export_table_stop(c->v6, n);
	}
}

/* ct_kernel_seen: second of the last packet that the kernel forwarded. Any thread. */
static uint32_t seen(const struct ct *c, uint32_t conn)
{
	uint32_t i = LOAD_ACQUIRE(&export_families[c->v6].look[conn].pair), last = 0;
	for (unsigned d = 0; d < 2 && i; d++) {
		uint32_t n = LOAD_RELAXED(&export_kernel.pairs[i].number[d]);
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
static bool fold(struct export_pair *p, unsigned d, bool same)
{
	const struct replay_use *u = export_table_use(p->v6, p->number[d]);
	const uint64_t packets = LOAD_RELAXED(&u->packets) - p->packets[d],
		       bytes = LOAD_RELAXED(&u->bytes) - p->bytes[d];
	if (!packets)
		return false;
	p->packets[d] += packets;
	p->bytes[d] += bytes;
	export_totals.packets += packets;
	export_totals.bytes += bytes;
	if (same) {
		const struct ct *c = ct_of(p->v6);
		struct export_count *n = &export_families[p->v6].counted[p->conn][d];
		n->packets += packets;
		n->bytes += bytes;
		set_record_seen(c, 2 * p->conn + d, REPLAY_SEEN_S(LOAD_RELAXED(&u->seen)));
	}
	return true;
}

static bool is_same(const struct export_pair *p, uint32_t i)
{
	const struct ct *c = ct_of(p->v6);
	return export_families[p->v6].look[p->conn].pair == i && ct_is_live(c, p->conn) &&
	       export_is_offloaded(c, p->conn);
}

static void drop_record(struct export_pair *p, unsigned d, bool same, uint64_t now_ns)
{
	uint32_t n = p->number[d];
	if (!n)
		return;
	export_table_remove(p->v6, n, now_ns);
	fold(p, d, same);
	STORE_RELAXED(&p->number[d], 0);
	p->packets[d] = p->bytes[d] = 0;
	export_totals.records[p->v6]--;
}

void export_demote(uint32_t i, uint64_t now_ns)
{
	struct export_pair *p = &export_kernel.pairs[i];
	const bool same = is_same(p, i);
	struct export_look *l = &export_families[p->v6].look[p->conn];
	for (unsigned d = 0; d < 2; d++)
		drop_record(p, d, same, now_ns);
	if (l->pair == i) {
		STORE_RELEASE(&l->pair, 0);
		export_look_begin(l, export_record_packets(ct_of(p->v6), p->conn), now_ns);
	}
	p->conn = 0;
	p->next = export_kernel.free;
	export_kernel.free = i;
	const uint32_t last = export_kernel.list[--export_kernel.used];
	export_kernel.list[p->at] = last;
	export_kernel.pairs[last].at = p->at;
	export_totals.demoted++;
}

/* Writes direction 'd' of a pair. The number in the pair first: export_stop() must find it before a program does. */
bool export_write_record(struct export_pair *p, unsigned d, const union export_record *k, uint64_t now_ns)
{
	const struct ct *c = ct_of(p->v6);
	const uint32_t r = 2 * p->conn + d;
	uint32_t n = export_table_insert(p->v6, k, r, now_ns);
	if (!n)
		return false;
	p->packets[d] = p->bytes[d] = 0;
	STORE_RELEASE(&p->number[d], n);
	export_totals.records[p->v6]++;
	/* a worker that stopped it before it could see the number, see export_stop() */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	const uint32_t sum = LOAD_RELAXED(c->v6 ? &ct_flow6(r)->gensum : &ct_flow4(r)->gensum);
	if (!ct_is_live(c, p->conn) || LOAD_RELAXED(&ct_conn(c, p->conn)->flags) & CONN_DEAD ||
	    sum != export_record_gensum(p->v6, k))
		export_table_stop(p->v6, n);
	return true;
}

uint16_t export_path_of(bool v6, const union export_record *k, const char **why)
{
	return export_record_path(export_kernel.conf, (uint16_t)export_kernel.allowed, v6 ? k->v6.in : k->v4.in,
				  v6 ? k->v6.adj : k->v4.adj, why);
}

void export_set_flags(bool v6, union export_record *k, uint16_t flags)
{
	if (v6)
		k->v6.flags = flags;
	else
		k->v4.flags = flags;
}

/* ---- visits ---- */

/* Direction 'd' as the engine sees it now. false: it cannot be replayed any more. */
static bool renew(struct export_pair *p, unsigned d, uint64_t now_ns)
{
	union export_record k;
	const char *why;
	if (!export_record_copy(ct_of(p->v6), 2 * p->conn + d, &k))
		return true; /* being written: next time */
	uint16_t flags = export_path_of(p->v6, &k, &why);
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
	export_set_flags(p->v6, &k, flags);
	if (!export_write_record(p, d, &k, now_ns))
		return false;
	export_totals.renewed++;
	return true;
}

static void visit(uint32_t i, uint64_t now_ns)
{
	struct export_pair *p = &export_kernel.pairs[i];
	const uint32_t now_s = (uint32_t)(now_ns / NS_PER_S);
	const struct ct *c = ct_of(p->v6);
	bool moved[2] = { false, false };
	if (!is_same(p, i) || !ct_replayable(ct_conn(c, p->conn))) {
		export_demote(i, now_ns);
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
		export_demote(i, now_ns);
}

/* True when ten slices a second are too few to see each once a second. */
static bool visit_some(uint64_t now_ns)
{
	const uint32_t used = export_kernel.used, budget = MIN(used, MAX((uint32_t)VISITS, used / 64));
	for (uint32_t n = 0; n < budget && export_kernel.used; n++) {
		if (export_kernel.visit >= export_kernel.used)
			export_kernel.visit = 0;
		const uint32_t i = export_kernel.list[export_kernel.visit];
		visit(i, now_ns);
		if (export_kernel.pairs[i].conn) /* else another one is in its place */
			export_kernel.visit++;
	}
	return used > 10 * VISITS;
}

static void flush(uint64_t now_ns)
{
	while (export_kernel.used)
		export_demote(export_kernel.list[export_kernel.used - 1], now_ns);
}

bool export_tick(uint64_t now_ns)
{
	if (!export_kernel.conf || !export_kernel.allowed)
		return false;
	bool more = visit_some(now_ns);
	more |= export_look(now_ns);
	return more;
}

void export_setting_changed(void)
{
	if (!export_kernel.conf)
		return;
	export_kernel.allowed = allowed_by_setting();
	/* off: at once for all packets; then the counts come home */
	export_table_switch(export_kernel.allowed);
	flush(clock_ns());
}

void export_fini(void)
{
	if (!export_kernel.conf)
		return;
	export_table_switch(false);
	flush(clock_ns());
	ct_kernel_seen = NULL;
	export_kernel.conf = NULL;
	free_all();
	export_table_close();
}

/* ---- show ---- */

struct export_count export_counted(const struct ct *c, uint32_t conn, unsigned reply)
{
	struct export_count n = { 0 };
	if (!export_kernel.conf || !export_is_offloaded(c, conn))
		return n;
	uint32_t i = export_families[c->v6].look[conn].pair;
	if (i && export_kernel.pairs[i].conn == conn && export_kernel.pairs[i].number[reply])
		fold(&export_kernel.pairs[i], reply, true);
	return export_families[c->v6].counted[conn][reply];
}

const char *export_state(const struct ct *c, uint32_t conn)
{
	union export_record k[2];
	const char *why;
	if (!export_kernel.conf || !export_kernel.allowed)
		return "off";
	uint32_t i = export_is_offloaded(c, conn) ? export_families[c->v6].look[conn].pair : 0;
	if (i && export_kernel.pairs[i].conn == conn && export_kernel.pairs[i].number[0]) {
		uint16_t flags = export_record_flags(c->v6, export_table_at(c->v6, export_kernel.pairs[i].number[0]));
		return flags & REPLAY_BY_XDP ? "xdp" : "tc";
	}
	if (!export_is_eligible(c, conn, k, &why))
		return why;
	return export_table_free(c->v6, clock_ns()) < MAX(4u, export_table_capacity(c->v6) / 16) ? "full" : "cold";
}

void export_read_totals(struct export_totals *t)
{
	*t = export_totals;
	t->connections = export_kernel.used;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		t->capacity[v6] = export_table_capacity(v6);
		t->resting[v6] = export_table_resting(v6);
	}
}
