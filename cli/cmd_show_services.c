/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of services, backends, affinity and source ranges for 'show'. Control thread, RCU online. */
#include "cli/show.h"

#include <time.h>

#include "cli/grammar.h"
#include "fwd/base/clock.h"
#include "fwd/probe.h"
#include "tables/affinity.h"
#include "tables/service.h"

enum { TEXT = IP_STRLEN + 16 };

static const char *addr_port(const struct ipaddr *a, uint16_t port, char b[static TEXT])
{
	char ip[IP_STRLEN];

	snprintf(b, TEXT, ip_is4(a) ? "%s:%u" : "[%s]:%u", ip_print(a, ip), port);
	return b;
}

static void out_service(struct out *o, const char *column, const struct service_key *k)
{
	char b[TEXT];

	out_fmt(o, column, "%s/%s", addr_port(&k->vip, k->port, b), proto_name(k->proto));
}

static const char *state_of(const struct backend *v)
{
	return v->gone ? "deleted" : backend_states[v->state];
}

static const char *const healths[] = { NULL, "up", "down" };

/* Also deleted backends that still have connections. */
static bool is_shown(uint32_t b)
{
	return !backend_at(b)->gone || LOAD_RELAXED(&backend_at(b)->connections);
}

void show_lb(struct out *o)
{
	char b[TEXT];

	for (uint32_t id = service_next(0); id && !out_full(o); id = service_next(id))
		for (uint32_t i = backend_first(id); i; i = backend_at(i)->next) {
			const struct backend_key *k = backend_key_at(i);
			const struct backend *v = backend_at(i);
			if (!is_shown(i))
				continue;
			out_row(o);
			out_service(o, "vip", &service_at(id)->conf.key);
			out_str(o, "backend", addr_port(&k->addr, k->port, b));
			out_str(o, "state", state_of(v));
			out_u64(o, "weight", v->weight);
			out_u64(o, "connections", LOAD_RELAXED(&v->connections));
			out_str(o, "health", healths[v->health]);
			out_u64(o, "chosen", LOAD_RELAXED(&v->chosen));
		}
}

/* What it may take now, in words. */
static const char *takes(const struct backend *v)
{
	static const char *const text[] = { "nothing", "known", "new" };
	return text[v->use];
}

/* "2026-11-27T23:40:12Z" */
static void out_time(struct out *o, const char *column, uint64_t second)
{
	const time_t t = (time_t)second;
	struct tm tm;
	char b[32];

	gmtime_r(&t, &tm);
	strftime(b, sizeof(b), "%Y-%m-%dT%H:%M:%SZ", &tm);
	out_str(o, column, b);
}

/* 'h' NULL: not probed. */
static void out_health(struct out *o, const struct probe_info *h)
{
	out_str(o, "reason", h ? h->reason : NULL);
	if (h)
		out_time(o, "since", h->since);
	else
		out_str(o, "since", NULL);
	out_u64(o, "probes", h ? h->sent : 0);
	out_u64(o, "failed", h ? h->failed : 0);
}

static void service_row(struct out *o, const struct service *s, uint32_t i)
{
	const struct backend_key *k = i ? backend_key_at(i) : NULL;
	const struct backend *v = i ? backend_at(i) : NULL;
	struct probe_info h;
	char b[TEXT];

	out_row(o);
	out_service(o, "service", &s->conf.key);
	out_str(o, "algorithm", service_algorithms[s->conf.algorithm]);
	out_str(o, "backend", i ? addr_port(&k->addr, k->port, b) : NULL);
	out_str(o, "state", i ? state_of(v) : NULL);
	out_str(o, "health", i ? healths[v->health] : NULL);
	out_str(o, "takes", i ? takes(v) : NULL);
	out_u64(o, "weight", i ? v->weight : 0);
	out_u64(o, "connections", i ? LOAD_RELAXED(&v->connections) : 0);
	/* what drains, or what is to end: left */
	out_u64(o, "left", i && v->use != USE_NEW ? LOAD_RELAXED(&v->connections) : 0);
	out_u64(o, "chosen", i ? LOAD_RELAXED(&v->chosen) : 0);
	out_u64(o, "affinity", s->conf.affinity);
	out_str(o, "traffic_policy", s->conf.local ? "local" : "cluster");
	out_str(o, "mode", s->conf.dsr ? "dsr" : "nat");
	out_str(o, "probe", probe_kinds[service_probe(s->id)->kind]);
	out_health(o, i && probe_of(i, &h) ? &h : NULL);
}

void show_services(struct out *o)
{
	for (uint32_t id = service_next(0); id && !out_full(o); id = service_next(id)) {
		const struct service *s = service_at(id);
		bool any = false;
		for (uint32_t i = backend_first(id); i; i = backend_at(i)->next)
			if (is_shown(i)) {
				service_row(o, s, i);
				any = true;
			}
		if (!any)
			service_row(o, s, 0);
	}
}

void show_probes(struct out *o)
{
	struct probe_info h;
	char b[TEXT];

	for (uint32_t n = 0; probe_at(n, &h) && !out_full(o); n++) {
		out_row(o);
		out_str(o, "probe", probe_kinds[h.conf->kind]);
		if (h.port)
			out_str(o, "target", addr_port(&h.addr, h.port, b));
		else
			out_ip(o, "target", &h.addr);
		out_str(o, "path", h.conf->kind == PROBE_HTTP ? h.conf->path : NULL);
		out_str(o, "health", healths[h.health]);
		out_health(o, &h);
		out_u64(o, "rtt_us", h.rtt_us);
		out_u64(o, "interval_ms", h.conf->interval_ms);
		out_u64(o, "timeout_ms", h.conf->timeout_ms);
		out_u64(o, "rise", h.conf->rise);
		out_u64(o, "fall", h.conf->fall);
		out_u64(o, "backends", h.backends);
	}
}

void show_affinity(struct out *o)
{
	const uint32_t now_s = (uint32_t)(clock_ns() / NS_PER_S);
	struct affinity_key k;
	struct affinity v;
	char b[TEXT];

	for (uint32_t i = affinity_next(0, &k, &v); i && !out_full(o); i = affinity_next(i, &k, &v)) {
		const struct service *s = service_at(k.service);
		const struct backend_key *to = backend_key_at(v.backend);
		if (!s || to->service != k.service)
			continue;
		out_row(o);
		out_ip(o, "client", &k.client);
		out_service(o, "service", &s->conf.key);
		out_str(o, "backend", addr_port(&to->addr, to->port, b));
		out_u64(o, "connections", v.live);
		out_u64(o, "expires",
			v.live || now_s < v.used            ? s->conf.affinity
			: now_s - v.used < s->conf.affinity ? s->conf.affinity - (now_s - v.used)
							    : 0);
	}
}

void show_source_range(struct out *o)
{
	struct source_range r;
	struct ipnet n;
	uint32_t id;

	for (uint32_t i = service_range_next(0, &id, &n, &r); i && !out_full(o);
	     i = service_range_next(i, &id, &n, &r)) {
		const struct service *s = service_at(id);
		if (!s)
			continue;
		out_row(o);
		out_service(o, "service", &s->conf.key);
		out_net(o, "prefix", &n);
		out_str(o, "action", r.allow ? "allow" : "deny");
		out_u64(o, "hits", r.hits);
	}
}
