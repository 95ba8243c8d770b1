/* SPDX-License-Identifier: BSD-2-Clause */
/* Services and backends as configured: what the next generations are built from (contract in service.h). Control thread.
 *
 * A change is noted here and built by service_commit() at the end of its transaction; noted changes are taken back by their
 * opposites. What is deleted lives on until no connection holds it, and service_tick() makes its room free. */
#include <stdlib.h>

#include "fwd/base/rcu.h"
#include "tables/maglev.h"
#include "tables/room.h"
#include "tables/service_priv.h"

static struct master *find(const struct service_key *k, uint32_t *id)
{
	*id = service_by_key(k);
	return *id ? service_masters[*id] : NULL;
}

static int no_service(const struct service_key *k, struct err *e)
{
	char b[IP_STRLEN];
	return err_set(e, -ENOENT, "there is no service %s port %u: 'show services' lists them", ip_print(&k->vip, b),
		       k->port);
}

/* ---- services ---- */

static uint32_t free_id(void)
{
	static uint32_t last;

	for (uint32_t n = 0; n < SERVICE_IDS; n++) { /* not at once the one that just became free */
		last = last % SERVICE_IDS + 1;
		if (!service_masters[last])
			return last;
	}
	return 0;
}

static int make(const struct service_conf *c, struct err *e)
{
	uint32_t value[10] = { free_id() };
	struct master *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return err_set(e, -ENOMEM, "service: out of memory");
	r = value[0] ? table_insert(&service_table, SLOT_CONTROL, &c->key, value, NULL) : -ENOSPC;
	if (room_after_wait(&service_table, r, true) && value[0])
		r = table_insert(&service_table, SLOT_CONTROL, &c->key, value, NULL);
	if (r) {
		free(m);
		return err_set(e, r, "no room for another service: %u are there: delete some", service_count());
	}
	*m = (struct master){ .conf = *c, .dirty = true };
	service_masters[value[0]] = m;
	service_highest = MAX(service_highest, value[0]);
	return 0;
}

static bool same_rules(const struct master *m, const struct source_rule *rules, uint32_t n)
{
	if (n != m->n_rules)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (rules[i].allow != m->rules[i].allow || rules[i].net.len != m->rules[i].net.len ||
		    !ip_eq(&rules[i].net.addr, &m->rules[i].net.addr))
			return false;
	return true;
}

static int set_rules(struct master *m, const struct source_rule *rules, uint32_t n, struct err *e)
{
	struct source_rule *copy = NULL;

	if (same_rules(m, rules, n))
		return 0;
	if (n && !(copy = calloc(n, sizeof(*copy))))
		return err_set(e, -ENOMEM, "service: out of memory");
	if (n)
		memcpy(copy, rules, n * sizeof(*copy));
	free(m->rules);
	m->rules = copy;
	m->n_rules = n;
	m->rules_changed = m->bump = true;
	return 0;
}

int service_set(const struct service_conf *c, const struct source_rule *rules, uint32_t n, struct err *e)
{
	uint32_t id;
	int r;

	if (!maglev_size_ok(c->maglev_size))
		return err_set(e, -EINVAL,
			       "service: %u is no table size: 251 509 1021 2039 4093 8191 16381 32749 65521 131071",
			       c->maglev_size);
	if (!find(&c->key, &id)) {
		if ((r = make(c, e)))
			return r;
		find(&c->key, &id);
	}
	struct master *m = service_masters[id];
	if ((r = set_rules(m, rules, n, e)))
		return r;
	m->bump |= m->conf.keep_client != c->keep_client;
	m->conf = *c;
	m->deleted = false;
	m->dirty = true;
	service_changes++;
	return 0;
}

int service_probe_set(const struct service_key *k, const struct probe_conf *p, struct err *e)
{
	uint32_t id;
	struct master *m = find(k, &id);

	if (!m)
		return no_service(k, e);
	m->probe = *p;
	service_changes++;
	return 0;
}

int service_del(const struct service_key *k, struct err *e)
{
	uint32_t id;
	struct master *m = find(k, &id);

	if (!m || m->deleted)
		return no_service(k, e);
	for (uint32_t b = m->first; b; b = backend_at(b)->next)
		if (!backend_at(b)->gone)
			return err_set(e, -EBUSY, "service: it has backends: delete those first");
	m->deleted = m->dirty = true;
	service_changes++;
	return 0;
}

/* ---- backends ---- */

int backend_set(const struct service_key *k, const struct ipaddr *addr, uint16_t port, uint16_t weight,
		enum backend_state state, struct err *e)
{
	uint32_t id, b;
	struct master *m = find(k, &id);

	if (!m)
		return no_service(k, e);
	const struct backend_key key = { .addr = *addr, .service = id, .port = port };
	const struct backend fresh = { .use = USE_NONE, .share = 256, .next = m->first };
	b = table_find(&service_backends, &key);
	if (!b) {
		int r = table_insert(&service_backends, SLOT_CONTROL, &key, &fresh, &b);
		if (room_after_wait(&service_backends, r, true))
			r = table_insert(&service_backends, SLOT_CONTROL, &key, &fresh, &b);
		if (r)
			return err_set(e, r, "no room for another backend: %u are there: delete some", backend_count());
		m->first = b;
	}
	struct backend *v = backend_at(b);
	if (v->gone) /* connections it had before it was deleted were told to end; its probes start anew */
		STORE_RELAXED(&v->health, HEALTH_UNKNOWN);
	v->gone = false;
	v->weight = weight;
	STORE_RELAXED(&v->state, (uint8_t)state);
	m->dirty = true;
	service_changes++;
	return 0;
}

int backend_del(const struct service_key *k, const struct ipaddr *addr, uint16_t port, struct err *e)
{
	uint32_t id;
	struct master *m = find(k, &id);
	const uint32_t b = m ? backend_find(id, addr, port) : 0;
	char text[IP_STRLEN];

	if (!m)
		return no_service(k, e);
	if (!b)
		return err_set(e, -ENOENT, "the service has no backend %s port %u", ip_print(addr, text), port);
	backend_at(b)->gone = true;
	backend_at(b)->gone_at = (uint32_t)rcu_epoch();
	rcu_request();
	m->dirty = true;
	service_changes++;
	return 0;
}

void service_endpoints_changed(void)
{
	for (uint32_t id = 1; id <= service_highest; id++)
		if (service_masters[id] && service_masters[id]->conf.local)
			service_masters[id]->dirty = true;
}

void backend_health_set(uint32_t b, enum backend_health h)
{
	struct backend *v = backend_at(b);
	struct master *m = service_masters[backend_key_at(b)->service];

	if (LOAD_RELAXED(&v->health) == h || v->gone || !m)
		return;
	STORE_RELAXED(&v->health, (uint8_t)h);
	m->dirty = true;
}

/* ---- room ---- */

static void purge_ranges(struct master *m)
{
	if (!m->old_set || !service_epoch_passed(m->old_epoch))
		return;
	for (uint32_t i = 0; i < m->n_old_rules; i++)
		lpm_delete(&service_ranges, m->old_set, &m->old_rules[i].net);
	free(m->old_rules);
	m->old_rules = NULL;
	m->n_old_rules = m->old_set = 0;
}

/* True when none that was deleted is left. */
static bool reap_backends(struct master *m)
{
	bool all = true;

	for (uint32_t b = m->first, last = 0, next; b; b = next) {
		struct backend *v = backend_at(b);
		next = v->next;
		if (!v->gone || LOAD_ACQUIRE(&v->connections) || !service_epoch_passed(v->gone_at)) {
			all &= !v->gone;
			last = b;
			continue;
		}
		if (last)
			backend_at(last)->next = next;
		else
			m->first = next;
		const struct backend_key k = *backend_key_at(b);
		table_delete(&service_backends, SLOT_CONTROL, &k);
	}
	return all;
}

void service_reap(void)
{
	for (uint32_t id = 1; id <= service_highest; id++) {
		struct master *m = service_masters[id];
		if (!m)
			continue;
		purge_ranges(m);
		if (!reap_backends(m) || !m->deleted || m->dirty || m->old_set)
			continue;
		service_free_master(m);
		service_masters[id] = NULL;
	}
}
