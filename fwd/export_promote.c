/* SPDX-License-Identifier: BSD-2-Clause */
/* Which connections are hot, and who makes room for whom: the policy told in export.c. Control thread. */
#include "fwd/export_priv.h"

#include <string.h>

#include "fwd/base/clock.h"
#include "fwd/settings.h"
#include "fwd/worker.h"

enum { WARM = 8, HOTTER = 4, SAMPLE = 16, MS_PER_S = 1000 };

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

/* A connection that a packet was seen of. false: the first look, which says nothing, for it may have taken hours to move so much. */
static bool look_at(const struct ct *c, uint32_t conn, uint64_t now_ns)
{
	struct export_look *l = &export_families[c->v6].look[conn];
	const uint32_t packets = export_record_packets(c, conn), window_ms = (uint32_t)(now_ns / 1000000) - l->at_ms;
	const bool again = l->at_ms;
	uint32_t since = again ? packets - l->packets : 0;
	if (export_is_offloaded(c, conn) && l->pair)
		return false;
	if (l->pair) /* of a connection that had this entry before */
		export_demote(l->pair, now_ns);
	if (since >> 31) /* so are the packets */
		since = packets;
	/* a window cut short would take a burst for a speed */
	if (since >= MAX((uint64_t)WARM, (uint64_t)WARM * window_ms / MS_PER_S))
		promote(c, conn, (uint32_t)MIN((uint64_t)since * MS_PER_S / MAX(window_ms, MS_PER_S), UINT32_MAX),
			now_ns);
	if (!again || window_ms >= MS_PER_S)
		export_look_begin(l, packets, now_ns);
	return again;
}

/* The kernel leaves them to the engine, which gives each another identification: a place in the table would stay unused. */
static bool gets_new_id(uint32_t sample)
{
	const struct flow4 *f = ct_flow4(sample & SAMPLE_RECORD);
	return sample & SAMPLE_NO_DF && settings.nat_unique_ids && LOAD_RELAXED(&f->src) != f->key.src;
}

static void look_at_samples(const struct worker *w, uint32_t from, uint32_t to, uint64_t now_ns)
{
	const uint64_t promoted = export_totals.promoted;
	uint32_t looks = 0;
	for (uint32_t at = to - from > SAMPLES ? to - SAMPLES : from; at != to; at++) {
		const uint32_t s = LOAD_RELAXED(&w->samples[at % SAMPLES]), conn = (s & SAMPLE_RECORD) >> 1;
		const struct ct *c = ct_of(s & SAMPLE_V6);
		if (conn && conn <= c->conns.capacity && ct_is_live(c, conn) && !gets_new_id(s))
			looks += look_at(c, conn, now_ns);
	}
	/* many hot ones: the sooner all are found, the better */
	if (looks)
		STORE_RELAXED(&samples_wanted, (export_totals.promoted - promoted) * 4 > looks ? SAMPLES_MAX : 1);
}

bool export_look(uint64_t now_ns)
{
	static uint32_t taken[WORKERS_MAX];
	bool any = false;
	for (unsigned v6 = 0; v6 < 2; v6++)
		export_families[v6].bar = bar_now(v6, now_ns);
	for (unsigned i = 0; i < n_workers; i++) {
		const uint32_t n = LOAD_ACQUIRE(&workers[i]->n_samples);
		any |= taken[i] != n;
		look_at_samples(workers[i], taken[i], n, now_ns);
		taken[i] = n;
	}
	return any;
}
