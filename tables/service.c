/* SPDX-License-Identifier: BSD-2-Clause */
/* Services: the tables, and what workers ask of them (contract in service.h). */
#include "tables/service.h"

#include <stdlib.h>

#include "fwd/base/rcu.h"
#include "tables/maglev.h"
#include "tables/service_priv.h"

/* Least connections looks at all backends up to so many, else at a sample of this size: each look is a cache line. */
enum { LEASTCONN_LOOKS = 32 };

const char *const service_algorithms[] = { "maglev", "random", "wrr", "leastconn", "source" };
const char *const backend_states[] = { "active", "draining", "down", "maintenance" };
const char *const probe_kinds[] = { "none", "tcp", "http", "icmp" };

struct service_value {
	uint32_t id;
	uint32_t reserved[9];
};
/* One for each address that has a service. */
struct vip_value {
	uint32_t services, any_port; /* how many of them take every port */
};
_Static_assert(sizeof(struct service_key) == 24 && sizeof(struct service_value) == 40, "as in tables.def");
_Static_assert(sizeof(struct backend_key) == 24 && sizeof(struct backend) == 40, "one line");

struct table service_table, service_backends;
struct lpm service_ranges;
struct master *service_masters[SERVICE_IDS + 1];
uint32_t service_highest, service_hash_seed, service_changes;
static struct table vips;
static struct service *present[SERVICE_IDS + 1]; /* RCU */
static uint32_t turns[SERVICE_IDS + 1];          /* weighted round robin; atomic */
static uint32_t n_services;                      /* workers read it */

int service_init(struct err *e)
{
	int r = table_open(&service_table, "lb", 0, sizeof(struct service_key), sizeof(struct service_value), e);
	if (!r)
		r = table_open(&service_backends, "lb_backends", table_defs[TABLE_LB_BACKENDS].capacity,
			       sizeof(struct backend_key), sizeof(struct backend), e);
	if (!r)
		r = table_open(&vips, "lb_vips", table_defs[TABLE_LB].capacity, sizeof(struct ipaddr),
			       sizeof(struct vip_value), e);
	if (!r)
		r = lpm_open(&service_ranges, "source_range", 0, sizeof(struct source_range), GEN_POLICY, e);
	if (r)
		service_fini();
	return r;
}

void service_free_master(struct master *m)
{
	if (!m)
		return;
	free(m->rules);
	free(m->live_rules);
	free(m->old_rules);
	free(m);
}

void service_fini(void)
{
	for (uint32_t id = 1; id <= service_highest; id++) {
		service_free_master(service_masters[id]);
		free(present[id]);
		service_masters[id] = NULL;
		present[id] = NULL;
		turns[id] = 0;
	}
	service_highest = n_services = 0;
	service_changes++;
	lpm_close(&service_ranges);
	table_close(&vips);
	table_close(&service_backends);
	table_close(&service_table);
}

/* ---- finding ---- */

static const struct service *find_exactly(const struct service_key *k)
{
	const uint32_t i = table_find(&service_table, k);
	return i ? LOAD_ACQUIRE(&present[((const struct service_value *)table_value(&service_table, i))->id]) : NULL;
}

static const struct vip_value *vip_find(const struct ipaddr *a)
{
	const uint32_t i = LOAD_RELAXED(&n_services) ? table_find(&vips, a) : 0;
	return i ? table_value(&vips, i) : NULL;
}

bool service_is_vip(const struct ipaddr *a)
{
	return vip_find(a) != NULL;
}

const struct service *service_find(const struct ipaddr *dst, uint16_t port, uint8_t proto, bool *vip)
{
	const struct vip_value *v = vip_find(dst);
	struct service_key k = { .vip = *dst, .port = port, .proto = proto };

	*vip = v != NULL;
	if (!v)
		return NULL;
	const struct service *s = find_exactly(&k);
	if (s || !LOAD_RELAXED(&v->any_port))
		return s;
	k.port = 0;
	return find_exactly(&k);
}

bool service_source_ok(const struct service *s, const struct ipaddr *src, bool dry, struct ipnet *row)
{
	if (row)
		row->len = 255;
	if (!s->range_set)
		return true;
	const uint32_t i = lpm_lookup(&service_ranges, s->range_set, src, NULL);
	if (!i)
		return !s->ranges_allow;
	struct source_range *r = lpm_value(&service_ranges, i);
	if (!dry)
		__atomic_fetch_add(&r->hits, 1, __ATOMIC_RELAXED);
	if (row)
		*row = (struct ipnet){ lpm_key(&service_ranges, i)->addr, (uint8_t)lpm_key(&service_ranges, i)->len };
	return r->allow;
}

/* ---- choosing ---- */

static uint32_t by_weight(const struct service *s, uint32_t random)
{
	const uint32_t want = (uint32_t)((uint64_t)random * s->total >> 32);
	uint32_t lo = 0, hi = s->n - 1;

	while (lo < hi) { /* the first whose sum is above it */
		const uint32_t mid = (lo + hi) / 2;
		if (s->weight[mid] > want)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static uint32_t own_weight(const struct service *s, uint32_t i)
{
	return s->weight[i] - (i ? s->weight[i - 1] : 0);
}

/* The fewest connections for its weight. From a random place on, so that equals take turns. */
static uint32_t least(const struct service *s, uint32_t random)
{
	const uint32_t looks = MIN(s->n, (uint32_t)LEASTCONN_LOOKS);
	uint32_t best = 0, best_weight = 0;
	uint64_t fewest = 0;

	for (uint32_t k = 0, i = (uint32_t)((uint64_t)random * s->n >> 32); k < looks;
	     k++, i = i + 1 < s->n ? i + 1 : 0) {
		const uint64_t have = LOAD_RELAXED(&backend_at(s->backend[i])->connections) + 1ull;
		const uint32_t w = own_weight(s, i);
		if (!k || have * best_weight < fewest * w) {
			best = i;
			best_weight = w;
			fewest = have;
		}
	}
	return best;
}

uint32_t service_choose(const struct service *s, const struct ipaddr *src, uint16_t sport, uint32_t random, bool dry)
{
	const uint32_t seed = LOAD_RELAXED(&service_hash_seed);
	uint32_t i = 0, turn;

	if (!s->n)
		return 0;
	switch (s->conf.algorithm) {
	case LB_MAGLEV: /* all gateways give a client that is to stick the same one */
	case LB_SOURCE: {
		const bool port = s->conf.algorithm == LB_MAGLEV && !s->conf.affinity;
		const uint64_t h = maglev_hash(src, port ? sport : 0, s->conf.key.proto, seed);
		i = s->slot[maglev_slot(h, s->n_slots)];
		break;
	}
	case LB_WRR:
		turn = dry ? LOAD_RELAXED(&turns[s->id]) : __atomic_fetch_add(&turns[s->id], 1, __ATOMIC_RELAXED);
		i = s->slot[turn % s->n_slots];
		break;
	case LB_LEASTCONN:
		i = least(s, random);
		break;
	default:
		i = by_weight(s, random);
		break;
	}
	return s->backend[i];
}

/* ---- backends ---- */

struct backend *backend_at(uint32_t b)
{
	return table_value(&service_backends, b);
}

const struct backend_key *backend_key_at(uint32_t b)
{
	return table_key(&service_backends, b);
}

const struct service *backend_service(uint32_t b)
{
	return LOAD_ACQUIRE(&present[backend_key_at(b)->service]);
}

void backend_take(uint32_t b)
{
	__atomic_fetch_add(&backend_at(b)->connections, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&backend_at(b)->chosen, 1, __ATOMIC_RELAXED);
}

void backend_give(uint32_t b)
{
	__atomic_fetch_sub(&backend_at(b)->connections, 1, __ATOMIC_RELAXED);
}

/* ---- generations come and go ---- */

/* Its address gets its first service, or loses its last. Others look at addresses alone: all decide again. */
static void count_vip(const struct service_key *k, bool more)
{
	const uint32_t i = table_find(&vips, &k->vip);
	struct vip_value v = i ? *(struct vip_value *)table_value(&vips, i) : (struct vip_value){ 0 };

	v.services += more ? 1 : -1u;
	v.any_port += k->port ? 0 : more ? 1 : -1u;
	if (v.services)
		table_set(&vips, SLOT_CONTROL, &k->vip, &v, NULL);
	else
		table_delete(&vips, SLOT_CONTROL, &k->vip);
	STORE_RELAXED(&n_services, n_services + (more ? 1 : -1u));
	if (!i || !v.services)
		gen_bump_extra();
}

void service_publish(uint32_t id, struct service *s)
{
	struct service *old = present[id];

	STORE_RELEASE(&present[id], s);
	if (!old != !s)
		count_vip(s ? &s->conf.key : &old->conf.key, s != NULL);
	if (old)
		rcu_defer(free, old);
}

bool service_epoch_passed(uint32_t epoch)
{
	return (int32_t)((uint32_t)rcu_epoch() - epoch) >= 2;
}

/* ---- walks ---- */

const struct service *service_at(uint32_t id)
{
	return id <= SERVICE_IDS ? present[id] : NULL;
}

uint32_t service_next(uint32_t after_id)
{
	for (uint32_t id = after_id + 1; id <= service_highest; id++)
		if (present[id])
			return id;
	return 0;
}

uint32_t service_by_key(const struct service_key *k)
{
	const uint32_t i = table_find(&service_table, k);
	return i ? ((const struct service_value *)table_value(&service_table, i))->id : 0;
}

const struct probe_conf *service_probe(uint32_t id)
{
	return &service_masters[id]->probe;
}

uint32_t service_version(void)
{
	return service_changes;
}

uint32_t backend_first(uint32_t service_id)
{
	return service_masters[service_id] ? service_masters[service_id]->first : 0;
}

uint32_t backend_find(uint32_t service_id, const struct ipaddr *addr, uint16_t port)
{
	const struct backend_key k = { .addr = *addr, .service = service_id, .port = port };
	const uint32_t b = table_find(&service_backends, &k);
	return b && !backend_at(b)->gone ? b : 0;
}

uint32_t service_count(void)
{
	return n_services;
}

uint32_t backend_count(void)
{
	return table_count(&service_backends);
}

uint32_t backend_index_max(void)
{
	return service_backends.pool.capacity;
}

uint32_t service_range_next(uint32_t after, uint32_t *service_id, struct ipnet *n, struct source_range *r)
{
	const uint32_t i = lpm_next(&service_ranges, after);

	if (!i)
		return 0;
	const struct lpm_key *k = lpm_key(&service_ranges, i);
	*service_id = k->set & SERVICE_IDS;
	*n = (struct ipnet){ k->addr, (uint8_t)k->len };
	*r = *(const struct source_range *)lpm_value(&service_ranges, i);
	return i;
}

uint32_t service_range_count(void)
{
	return table_count(&service_ranges.t);
}
