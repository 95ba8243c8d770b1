/* SPDX-License-Identifier: BSD-2-Clause */
/* Generations of services: who may take new connections, by which table (contract in service.h). Control thread.
 *
 * All that can fail comes first: the new generations of a commit are made, then swapped one by one, and then the counters of
 * backends that may no longer serve are bumped, so that their connections are decided again. */
#include <stdlib.h>

#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "tables/ipcache.h"
#include "tables/maglev.h"
#include "tables/policy.h"
#include "tables/room.h"
#include "tables/service_priv.h"

enum {
	FULL = 256,   /* of 'share' */
	STEPS = 16,   /* slow start begins with FULL / STEPS and goes on in such steps */
	TURNS = 4096, /* longest order of weighted round robin, unless there are more backends */
};

static uint32_t now_s(void)
{
	return (uint32_t)(clock_ns() / NS_PER_S);
}

/* ---- who may serve ---- */

static bool is_local(const struct master *m, uint32_t b)
{
	return !m->conf.local || endpoint_by_addr(&backend_key_at(b)->addr);
}

static bool can_serve(const struct master *m, uint32_t b, enum backend_state state)
{
	const struct backend *v = backend_at(b);
	return !v->gone && v->state == state && v->health != HEALTH_DOWN && is_local(m, b);
}

/* Draining ones get new connections when nothing else is left. */
static bool only_draining(const struct master *m)
{
	bool draining = false;

	for (uint32_t b = m->first; b; b = backend_at(b)->next) {
		if (can_serve(m, b, BACKEND_ACTIVE) && backend_at(b)->weight)
			return false;
		draining |= can_serve(m, b, BACKEND_DRAINING) && backend_at(b)->weight;
	}
	return draining;
}

/* In maintenance nobody looks whether it is alive, so its connections decide that themselves. */
static enum backend_use use_of(const struct master *m, uint32_t b, bool fallback)
{
	const struct backend *v = backend_at(b);

	if (m->deleted || v->gone || v->state == BACKEND_DOWN)
		return USE_NONE;
	if (v->state == BACKEND_MAINTENANCE)
		return USE_KEEP;
	if (v->health == HEALTH_DOWN)
		return USE_NONE;
	return can_serve(m, b, fallback ? BACKEND_DRAINING : BACKEND_ACTIVE) && v->weight ? USE_NEW : USE_KEEP;
}

static uint16_t share_of(const struct master *m, const struct backend *v, uint32_t now)
{
	const uint32_t age = now - v->since, all = m->conf.slow_start;

	if (!all || !v->since || age >= all)
		return FULL;
	return (uint16_t)(FULL / STEPS * (1 + age * (STEPS - 1) / all));
}

/* ---- building ---- */

static int by_name(const void *a, const void *b)
{
	return memcmp(backend_key_at(*(const uint32_t *)a), backend_key_at(*(const uint32_t *)b),
		      sizeof(struct backend_key));
}

/* The smooth order: each turn goes to who has waited longest for its weight. */
static void fill_turns(struct service *s, const uint32_t *weight)
{
	int64_t *credit = calloc(s->n, sizeof(*credit));

	for (uint32_t t = 0; t < s->n_slots; t++) {
		uint32_t best = 0;
		for (uint32_t i = 0; i < s->n && credit; i++) {
			credit[i] += weight[i];
			if (credit[i] > credit[best])
				best = i;
		}
		s->slot[t] = (uint16_t)(credit ? best : t % s->n);
		if (credit)
			credit[best] -= s->total;
	}
	free(credit);
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
	while (b) {
		const uint32_t t = a % b;
		a = b;
		b = t;
	}
	return a;
}

static uint32_t count_slots(const struct service *s, const uint32_t *weight)
{
	uint32_t divisor = 0;

	if (!s->n)
		return 0;
	if (s->conf.algorithm == LB_MAGLEV || s->conf.algorithm == LB_SOURCE)
		return s->conf.maglev_size;
	if (s->conf.algorithm != LB_WRR)
		return 0;
	for (uint32_t i = 0; i < s->n; i++)
		divisor = common_divisor(divisor, weight[i]);
	return MIN(s->total / divisor, MAX((uint32_t)TURNS, s->n));
}

static int fill_slots(struct service *s, const uint32_t *weight)
{
	struct maglev_node *node;
	int r;

	if (!s->n_slots)
		return 0;
	if (s->conf.algorithm == LB_WRR) {
		fill_turns(s, weight);
		return 0;
	}
	if (!(node = calloc(s->n, sizeof(*node))))
		return -ENOMEM;
	for (uint32_t i = 0; i < s->n; i++) {
		const struct backend_key *k = backend_key_at(s->backend[i]);
		node[i] = (struct maglev_node){ maglev_name(&k->addr, k->port), weight[i] };
	}
	r = maglev_fill(s->slot, s->n_slots, node, s->n);
	free(node);
	return r;
}

/* One allocation: the struct, indices, sums of weights, slots. */
static struct service *allocate(const struct master *m, uint32_t id, const uint32_t *chosen, const uint32_t *weight,
				uint32_t n)
{
	struct service head = { .conf = m->conf, .id = id, .n = n }, *s;

	for (uint32_t i = 0; i < n; i++)
		head.total += weight[i];
	head.n_slots = count_slots(&head, weight);
	s = malloc(sizeof(*s) + n * 2 * sizeof(uint32_t) + head.n_slots * sizeof(uint16_t));
	if (!s)
		return NULL;
	*s = head;
	s->backend = (uint32_t *)(s + 1);
	s->weight = s->backend + n;
	s->slot = (uint16_t *)(s->weight + n);
	for (uint32_t i = 0; i < n; i++) {
		s->backend[i] = chosen[i];
		s->weight[i] = weight[i] + (i ? s->weight[i - 1] : 0);
	}
	if (fill_slots(s, weight)) {
		free(s);
		return NULL;
	}
	return s;
}

static struct service *build(const struct master *m, uint32_t id)
{
	const bool fallback = only_draining(m);
	const uint32_t now = now_s();
	uint32_t n = 0, *chosen, *weight;
	bool ramp = false;
	struct service *s = NULL;

	for (uint32_t b = m->first; b; b = backend_at(b)->next)
		n++;
	chosen = calloc(n + 1, 2 * sizeof(*chosen));
	if (!chosen)
		return NULL;
	weight = chosen + n + 1;
	n = 0;
	for (uint32_t b = m->first; b; b = backend_at(b)->next) {
		if (use_of(m, b, fallback) != USE_NEW)
			continue;
		chosen[n++] = b;
		if (backend_at(b)->use != USE_NEW) /* of a new service all start alike: nobody slowly */
			backend_at(b)->since = service_at(id) ? now : 0;
	}
	/* the order of the configuration must not count: gateways that choose alike */
	qsort(chosen, n, sizeof(*chosen), by_name);
	for (uint32_t i = 0; i < n; i++)
		ramp |= share_of(m, backend_at(chosen[i]), now) != FULL;
	for (uint32_t i = 0; i < n; i++) {
		const struct backend *v = backend_at(chosen[i]);
		weight[i] = ramp ? (uint32_t)v->weight * share_of(m, v, now) : v->weight;
	}
	s = allocate(m, id, chosen, weight, n);
	free(chosen);
	if (s) {
		s->fallback = fallback;
		s->range_set = m->range_set;
		for (uint32_t i = 0; i < m->n_rules; i++)
			s->ranges_allow |= m->rules[i].allow;
	}
	return s;
}

/* ---- source ranges ---- */

static uint64_t former_hits(const struct master *m, const struct ipnet *n)
{
	const uint32_t i = m->range_set ? lpm_exact(&service_ranges, m->range_set, n) : 0;
	return i ? ((const struct source_range *)lpm_value(&service_ranges, i))->hits : 0;
}

/* The new rules get a set of their own: a reader has all of the old ones or all of the new. */
static int build_ranges(struct master *m, uint32_t id, struct err *e)
{
	const uint32_t set = id | (uint32_t)++m->range_version << 16, n = m->deleted ? 0 : m->n_rules;
	uint32_t i;
	int r = 0;

	for (i = 0; i < n && !r; i++) {
		const struct source_rule *q = &m->rules[i];
		const struct source_range v = { .allow = q->allow, .hits = former_hits(m, &q->net) };
		r = lpm_set(&service_ranges, set, &q->net, &v);
		if (room_after_wait(&service_ranges.t, r, true))
			r = lpm_set(&service_ranges, set, &q->net, &v);
	}
	if (r) {
		while (i-- > 0)
			lpm_delete(&service_ranges, set, &m->rules[i].net);
		return err_set(e, r, "no room for more source ranges: %u are there: delete some",
			       service_range_count());
	}
	if (m->old_set) { /* changed twice within a moment */
		for (i = 0; i < m->n_old_rules; i++)
			lpm_delete(&service_ranges, m->old_set, &m->old_rules[i].net);
		free(m->old_rules);
	}
	m->old_set = m->range_set;
	m->old_epoch = (uint32_t)rcu_epoch();
	m->range_set = n ? set : 0;
	m->old_rules = m->live_rules;
	m->n_old_rules = m->n_live_rules;
	m->live_rules = NULL;
	m->n_live_rules = 0;
	if (n && (m->live_rules = malloc(n * sizeof(*m->rules)))) {
		memcpy(m->live_rules, m->rules, n * sizeof(*m->rules));
		m->n_live_rules = n;
	}
	m->rules_changed = false;
	return 0;
}

/* ---- commit ---- */

/* What records of connections to it depend on: step_route() and find_routes() of the decision path. */
static void bump_backend(uint32_t b)
{
	const struct ipaddr *a = &backend_key_at(b)->addr;
	const struct endpoint *ep = endpoint_by_addr(a);
	uint16_t dep;

	if (ep)
		gen_bump(ep->gen);
	ipcache_lookup(a, &dep);
	gen_bump(dep);
	gen_bump(policy_host_gen()); /* it may be an address of the box */
}

static void swap(struct master *m, uint32_t id, struct service *s)
{
	const bool bump = m->bump;

	for (uint32_t b = m->first; b; b = backend_at(b)->next)
		STORE_RELAXED(&backend_at(b)->use, (uint8_t)use_of(m, b, s && s->fallback));
	service_publish(id, s);
	for (uint32_t b = m->first; b; b = backend_at(b)->next)
		if (bump || backend_at(b)->use != backend_at(b)->bumped_use) {
			if (bump || backend_at(b)->use == USE_NONE)
				bump_backend(b);
			backend_at(b)->bumped_use = backend_at(b)->use;
		}
	m->dirty = m->bump = false;
}

int service_commit(struct err *e)
{
	int r = 0;

	for (uint32_t id = 1; id <= service_highest && !r; id++) {
		struct master *m = service_masters[id];
		if (!m || !m->dirty)
			continue;
		if ((m->rules_changed || (m->deleted && m->range_set)) && (r = build_ranges(m, id, e)))
			break;
		m->next = m->deleted ? NULL : build(m, id);
		if (!m->next && !m->deleted)
			r = err_set(e, -ENOMEM, "services: out of memory");
	}
	for (uint32_t id = 1; id <= service_highest; id++) {
		struct master *m = service_masters[id];
		if (!m || !m->dirty)
			continue;
		if (r) {
			free(m->next);
		} else {
			if (m->deleted)
				table_delete(&service_table, SLOT_CONTROL, &m->conf.key);
			swap(m, id, m->next);
		}
		m->next = NULL;
	}
	return r;
}

static void slow_start(uint32_t now)
{
	for (uint32_t id = 1; id <= service_highest; id++) {
		struct master *m = service_masters[id];
		if (!m || !m->conf.slow_start)
			continue;
		for (uint32_t b = m->first; b; b = backend_at(b)->next) {
			struct backend *v = backend_at(b);
			const uint16_t share = share_of(m, v, now);
			m->dirty |= v->use == USE_NEW && v->share != share;
			v->share = share;
		}
	}
}

void service_tick(uint32_t now)
{
	struct err e = { "" };

	slow_start(now);
	service_commit(&e); /* out of memory: again in a second */
	service_reap();
}
