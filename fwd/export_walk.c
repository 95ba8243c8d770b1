/* SPDX-License-Identifier: BSD-2-Clause */
/* The walk that finds hot connections, and who makes room for whom: the policy told in export.c. Control thread. */
#include "fwd/export_priv.h"

#include <string.h>

#include "fwd/base/clock.h"

enum { LOOKS = 4096, AHEAD = 8, WARM = 8, HOTTER = 4, SAMPLE = 16, PROMOTE = 512 };

/* The coolest of a sample of this family, 0 if there is none. */
static uint32_t coolest(bool v6)
{
	uint32_t best = 0;
	for (unsigned looks = 0, n = 0; looks < 8 * SAMPLE && n < SAMPLE && looks < export_kernel.used; looks++) {
		export_kernel.sample = (export_kernel.sample + 1) % export_kernel.used;
		const uint32_t i = export_kernel.list[export_kernel.sample];
		const struct export_pair *p = &export_kernel.pairs[i];
		if (p->v6 != v6)
			continue;
		n++;
		if (!best || p->rate < export_kernel.pairs[best].rate)
			best = i;
	}
	return best;
}

static bool has_room(bool v6, uint64_t now_ns)
{
	return export_kernel.free && export_table_free(v6, now_ns) >= MAX(2u, export_table_capacity(v6) / 16) + 2;
}

/* Nothing can be had now, but soon. */
static bool must_wait(bool v6, uint64_t now_ns)
{
	return (export_table_free(v6, now_ns) < 2 || !export_kernel.free) && export_table_resting(v6);
}

/* What a connection must be faster than to take somebody's place. */
static uint32_t bar_over(uint32_t victim)
{
	return (uint32_t)MIN((uint64_t)export_kernel.pairs[victim].rate * HOTTER + 1, (uint64_t)UINT32_MAX);
}

static uint32_t bar_now(bool v6, uint64_t now_ns)
{
	if (has_room(v6, now_ns))
		return 0;
	uint32_t victim = must_wait(v6, now_ns) ? 0 : coolest(v6);
	return victim ? bar_over(victim) : UINT32_MAX;
}

/* Is there room for a connection of 'rate' packets a second? Near the end it takes somebody's place. */
static bool make_room(bool v6, uint32_t rate, uint64_t now_ns)
{
	if (has_room(v6, now_ns))
		return true;
	uint32_t victim = must_wait(v6, now_ns) ? 0 : coolest(v6);
	if (!victim || rate < bar_over(victim))
		return false;
	bool now = export_table_free(v6, now_ns) >= 2;
	export_demote(victim, now_ns);
	return now;
}

/* Both directions, ready to be written; or why not. */
bool export_is_eligible(const struct ct *c, uint32_t conn, union export_record k[2], const char **why)
{
	const struct conn *cn = ct_conn(c, conn);
	*why = "proto";
	if (cn->proto != PROTO_TCP && cn->proto != PROTO_UDP)
		return false;
	*why = "strict";
	if (ct_is_strict(cn))
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
		uint16_t flags = export_path_of(c->v6, &k[d], why);
		if (!flags)
			return false;
		export_set_flags(c->v6, &k[d], flags);
	}
	return true;
}

static void promote(const struct ct *c, uint32_t conn, uint32_t rate, uint64_t now_ns)
{
	struct export_family *f = &export_families[c->v6];
	union export_record k[2];
	const char *why;
	if (rate < f->bar) {
		export_totals.refused++;
		return;
	}
	if (!export_is_eligible(c, conn, k, &why))
		return;
	if (!make_room(c->v6, rate, now_ns)) {
		export_totals.refused++;
		return;
	}
	uint32_t i = export_kernel.free;
	struct export_pair *p = &export_kernel.pairs[i];
	export_kernel.free = p->next;
	export_kernel.list[export_kernel.used] = i;
	*p = (struct export_pair){ .conn = conn,
				   .at = export_kernel.used++,
				   .v6 = c->v6,
				   .rate = UINT32_MAX,
				   .read_ns = now_ns,
				   .used_s = (uint32_t)(now_ns / NS_PER_S) };
	if (!export_is_offloaded(c, conn)) /* another one than who had this entry before */
		memset(f->counted[conn], 0, sizeof(f->counted[conn]));
	STORE_RELEASE(&f->look[conn].pair, i);
	__atomic_fetch_or(&ct_conn(c, conn)->flags, CONN_OFFLOADED, __ATOMIC_SEQ_CST);
	export_totals.promoted++;
	if (!export_write_record(p, 0, &k[0], now_ns) || !export_write_record(p, 1, &k[1], now_ns)) {
		export_demote(i, now_ns);
		export_totals.promoted--;
		export_totals.demoted--;
		export_totals.refused++;
	}
}

static void prefetch(const struct ct *c, const struct export_family *f, uint32_t i)
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
	struct export_family *f = &export_families[c->v6];
	struct export_look *l = &f->look[conn];
	const uint64_t window_ns = f->round_ns - f->window_ns;
	const uint32_t packets = export_record_packets(c, conn);
	uint32_t since = packets - l->packets;
	if (export_is_offloaded(c, conn) && l->pair)
		return false;
	if (l->pair) /* of a connection that had this entry before */
		export_demote(l->pair, now_ns);
	if (since >> 31) /* so are the packets */
		since = packets;
	const bool warm = since >= MAX((uint64_t)WARM, WARM * window_ns / NS_PER_S);
	if (warm) /* a window cut short would take a burst for a speed */
		promote(c, conn, (uint32_t)(since * NS_PER_S / MAX(window_ns, NS_PER_S)), now_ns);
	if (f->new_window)
		l->packets = packets;
	return l->pair;
}

static void begin_round(struct export_family *f, uint64_t now_ns)
{
	if (f->new_window)
		f->window_ns = f->round_ns;
	f->round_ns = now_ns;
	f->new_window = now_ns - f->window_ns >= NS_PER_S;
}

bool export_walk(const struct ct *c, uint64_t now_ns)
{
	struct export_family *f = &export_families[c->v6];
	unsigned promoted = 0;
	uint32_t i = f->hand;
	if (!c->conns.capacity)
		return false;
	if (!i)
		begin_round(f, now_ns);
	f->bar = bar_now(c->v6, now_ns);
	for (unsigned looks = 0; looks < LOOKS && promoted < PROMOTE; looks++) {
		i = pool_next(&c->conns, i);
		if (!i)
			break;
		prefetch(c, f, i + AHEAD);
		promoted += look_at(c, i, now_ns);
	}
	f->hand = i;
	return i;
}
