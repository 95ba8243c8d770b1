/* SPDX-License-Identifier: BSD-2-Clause */
/* 'show NAME [FIELD=VALUE ...] [max N]' and 'count NAME': the list of names, and the rows that are not tables. Control
 * thread. Column names are JSON members (design section 8): additions at the end only. */
#include "cli/show.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/config.h"
#include "fwd/base/clock.h"
#include "fwd/claim.h"
#include "fwd/fib.h"
#include "fwd/probe.h"
#include "fwd/meter.h"
#include "fwd/nat_log.h"
#include "fwd/offload.h"
#include "fwd/vtep_watch.h"
#include "fwd/worker.h"
#include "tables/adopt.h"
#include "tables/affinity.h"
#include "tables/ct.h"
#include "tables/frag.h"
#include "tables/ipcache.h"
#include "tables/ipmasq.h"
#include "tables/nat_block.h"
#include "tables/policy.h"
#include "tables/proxy.h"
#include "tables/service.h"

/* NULL: the control thread's own row. */
static void show_port_device(struct out *o, const struct port *p)
{
	const char *device = !p ? "" : p->conf.devargs[0] ? p->conf.devargs : p->conf.device;
	out_str(o, "name", p ? p->conf.name : "control");
	out_str(o, "device", device[0] ? device : NULL);
	out_str(o, "mode", p && p->mode_text && *p->mode_text ? p->mode_text : NULL);
	out_bool(o, "zero_copy", p && p->zero_copy);
	out_u64(o, "queues", p ? p->n_queues : 0);
}

static void show_ports(struct out *o)
{
	for (unsigned i = 0; i < PORTS_MAX && !out_full(o); i++) {
		const struct port *p = ports[i];
		if (!p && i != PORT_CONTROL)
			continue;
		struct port_counter c = workers_port(i);
		struct meter_port live = meter_port(i);
		struct port_stats s = p ? port_stats_sum(ports[i]) : (struct port_stats){ 0 };
		out_row(o);
		show_port_device(o, p);
		out_u64(o, "rx_packets", c.rx.packets);
		out_u64(o, "tx_packets", c.tx.packets);
		out_u64(o, "dropped", c.dropped.packets);
		out_u64(o, "held", c.held);
		out_u64(o, "rx_bytes", c.rx.bytes);
		out_u64(o, "tx_bytes", c.tx.bytes);
		out_str(o, "kind", p && p->conf.kind[0] ? p->conf.kind : "control");
		out_bool(o, "up", !p || i == PORT_CONTROL || p->up);
		out_u64(o, "mtu", p ? p->mtu : 0);
		out_u64(o, "rx_pps", live.rx_per_s);
		out_u64(o, "tx_pps", live.tx_per_s);
		out_u64(o, "dropped_pps", live.dropped_per_s);
		out_u64(o, "device_rx_lost", s.rx_dropped + s.rx_ring_full + s.rx_invalid + s.rx_no_frame);
		out_u64(o, "zone", port_zone(i));
		out_bool(o, "gro", offload_port_gro(i));
	}
}

/* Rings of the device, as the kernel counts them (XDP_STATISTICS). */
static void show_queues(struct out *o)
{
	for (unsigned i = 0; i < PORTS_MAX && !out_full(o); i++)
		for (unsigned n = 0; ports[i] && ports[i]->ops && n < ports[i]->n_queues; n++) {
			struct port *p = ports[i];
			struct port_queue *q = &p->queue[n];
			struct port_stats s = { 0 };
			if (p->ops->stats)
				p->ops->stats(q, &s);
			out_row(o);
			out_str(o, "port", p->conf.name);
			out_u64(o, "queue", n);
			out_u64(o, "worker", q->owner);
			out_u64(o, "rx_packets", LOAD_RELAXED(&q->rx_packets));
			out_u64(o, "tx_packets", LOAD_RELAXED(&q->tx_packets));
			out_u64(o, "rx_dropped", s.rx_dropped);
			out_u64(o, "rx_ring_full", s.rx_ring_full);
			out_u64(o, "rx_fill_empty", s.rx_fill_empty);
			out_u64(o, "rx_invalid", s.rx_invalid);
			out_u64(o, "rx_no_frame", s.rx_no_frame);
			out_u64(o, "tx_invalid", s.tx_invalid);
			out_u64(o, "tx_ring_empty", s.tx_ring_empty);
			out_u64(o, "wakeups", s.wakeups);
			out_u64(o, "filled", s.filled);
			out_u64(o, "unsent", s.unsent);
			out_u64(o, "completed", s.completed);
			out_bool(o, "stalled", meter_queue_stalled(i, n));
		}
}

static void show_workers(struct out *o)
{
	for (unsigned i = 0; i < n_workers; i++) {
		const struct worker *w = workers[i];
		uint64_t packets = LOAD_RELAXED(&w->packets_busy);
		struct meter_worker live = meter_worker(i);
		out_row(o);
		out_u64(o, "id", w->id);
		out_u64(o, "replayed", LOAD_RELAXED(&w->replayed));
		out_u64(o, "decided", LOAD_RELAXED(&w->decided));
		out_u64(o, "loops", LOAD_RELAXED(&w->loops));
		out_u64(o, "cycles_per_packet", packets ? LOAD_RELAXED(&w->cycles_busy) / packets : 0);
		out_u64(o, "held", LOAD_RELAXED(&w->n_held));
		out_u64(o, "pps", live.packets_per_s);
		out_u64(o, "cycles_now", live.cycles_per_packet);
		out_u64(o, "io_cycles_now", live.io_per_packet);
		out_u64(o, "busy_percent", (live.busy_permille + 5) / 10);
		out_u64(o, "sleeps", LOAD_RELAXED(&w->sleeps));
		out_u64(o, "cpu", LOAD_RELAXED(&w->cpu));
		out_bool(o, "stalled", live.stalled);
	}
}

static void show_drops(struct out *o)
{
	for (unsigned i = 0; i < 256 && !out_full(o); i++) {
		struct counter c = workers_drops(i);
		if (!c.packets || !drop_text(i))
			continue;
		out_row(o);
		out_u64(o, "number", i);
		out_str(o, "reason", drop_text(i));
		out_u64(o, "packets", c.packets);
		out_u64(o, "bytes", c.bytes);
		out_str(o, "symbol", drop_symbol(i));
	}
}

static void show_version(struct out *o)
{
	struct utsname u;

	out_row(o);
	out_str(o, "name", "sluice");
	out_str(o, "version", SLUICE_VERSION);
	out_str(o, "kernel", uname(&u) ? NULL : u.release);
	out_u64(o, "pid", (uint64_t)getpid());
	out_u64(o, "adopted_connections", adoption.connections);
	out_u64(o, "adopted_mappings", adoption.mappings);
	out_u64(o, "adopted_datagrams", adoption.datagrams);
	out_u64(o, "adoption_expired", adoption.expired);
	out_u64(o, "adoption_dropped", adoption.dropped);
	out_u64(o, "adoption_dropped_mappings", adoption.dropped_mappings);
	out_u64(o, "adoption_ms", (adoption.microseconds + 500) / 1000);
	out_u64(o, "adopted_clients", adoption.clients);
	out_str(o, "adoption_reason", *adopt_reason() ? adopt_reason() : NULL);
}

static void show_routes(struct out *o)
{
	static const char *const kinds[] = { "none",      "local",       "unicast",  "broadcast",
					     "blackhole", "unreachable", "prohibit", "throw" };
	struct fib_route r;

	for (uint32_t i = fib_next(0, &r); i && !out_full(o); i = fib_next(i, &r))
		for (unsigned n = 0; n < r.n || n == 0; n++) {
			const struct fib_nexthop *h = r.n ? &r.nh[n] : NULL;
			char name[IF_NAMESIZE];
			out_row(o);
			out_net(o, "prefix", &r.prefix);
			out_str(o, "kind", kinds[r.kind]);
			if (h && !ip_is_zero(&h->gateway))
				out_ip(o, "via", &h->gateway);
			else
				out_str(o, "via", NULL);
			out_str(o, "device", h && h->ifindex ? if_indextoname(h->ifindex, name) : NULL);
			out_str(o, "port", h && h->port >= 0 && ports[h->port] ? ports[h->port]->conf.name : NULL);
			out_u64(o, "metric", r.metric);
			out_u64(o, "table", r.table);
			out_u64(o, "protocol", r.protocol);
			out_u64(o, "weight", h && h->weight ? h->weight : 1);
		}
}

/* Never 100 while a port is free, or with blocks, a block. */
static uint64_t fullest_percent(const struct nat_pool *p)
{
	uint64_t most = 0;

	for (unsigned w = 0; w < STEER_PROTOS; w++) {
		uint64_t n = nat_ports_taken(p, (enum steer_proto)w);
		most = MAX(most, n);
	}
	const struct nat_block_use b = nat_blocks_of((unsigned)(p - nat_pools));
	if (p->blocks)
		return b.all ? b.busy * 100 / b.all : 0;
	return nat_ports_of(p) ? most * 100 / nat_ports_of(p) : 0;
}

static void show_pools(struct out *o)
{
	static const char *const mappings[] = { "eim", "apdm" }, *const filters[] = { "eif", "adf", "apdf" };

	for (unsigned i = 0; i < NAT_POOLS_MAX; i++) {
		const struct nat_pool *p = &nat_pools[i];
		if (ip_is_zero(&p->addr))
			continue;
		const uint8_t len = p->prefix ? p->prefix : 128;
		const struct ipnet outside = { p->addr, len }, inside = { p->inside, len };
		out_row(o);
		out_net(o, "address", &outside);
		if (nat_is_static(p)) /* all, and nobody is asked: policy decides */
			out_str(o, "ports", NULL);
		else
			out_fmt(o, "ports", "%u-%u", p->port_lo, p->port_hi);
		out_str(o, "port",
			p->port >= 0 && p->port < PORTS_MAX && ports[p->port] ? ports[p->port]->conf.name : NULL);
		if (p->has_source)
			out_net(o, "source", &p->source);
		else
			out_str(o, "source", NULL);
		if (nat_is_static(p))
			out_net(o, "static", &inside);
		else
			out_str(o, "static", NULL);
		out_str(o, "mapping", nat_is_static(p) ? NULL : mappings[p->mapping]);
		out_str(o, "filter", nat_is_static(p) ? NULL : filters[p->filter]);
		out_u64(o, "rest", p->rest);
		out_u64(o, "max_ports", p->max_ports);
		out_u64(o, "max_sessions", p->max_sessions);
		out_u64(o, "tcp", LOAD_RELAXED(&p->in_use[STEER_TCP]));
		out_u64(o, "udp", LOAD_RELAXED(&p->in_use[STEER_UDP]));
		out_u64(o, "icmp", LOAD_RELAXED(&p->in_use[STEER_ICMP]));
		out_u64(o, "sctp", LOAD_RELAXED(&p->in_use[STEER_SCTP]));
		out_u64(o, "used_percent",
			fullest_percent(p)); /* of the protocol that has the fewest left; 100 = full */
		out_u64(o, "refused", nat_refused(i, -ENOSPC));
		out_u64(o, "over_quota", nat_refused(i, -EDQUOT));
		out_u64(o, "block_ports", p->blocks);
		const struct nat_block_use b = nat_blocks_of(i);
		out_u64(o, "blocks", b.all);
		out_u64(o, "blocks_given", b.given);
		out_u64(o, "blocks_busy", b.busy);
		out_u64(o, "log_lost", nat_log_lost()); /* lines about blocks, of all pools */
	}
}

static void show_vteps(struct out *o)
{
	char name[IF_NAMESIZE];
	uint32_t ifindex = 0;

	for (unsigned i = 0; i < VTEPS_MAX; i++) {
		if (ip_is_zero(&vteps[i].addr))
			continue;
		out_row(o);
		out_ip(o, "address", &vteps[i].addr);
		out_u64(o, "port", vteps[i].port);
		out_str(o, "vni_mode", vteps[i].mode == VNI_NETWORK ? "network" : "identity");
		const bool present = vtep_present(&vteps[i], &ifindex);
		out_bool(o, "present", present);
		out_str(o, "device", present ? if_indextoname(ifindex, name) : NULL);
	}
}

static void show_addresses(struct out *o)
{
	struct ipaddr a;
	struct claim c;

	for (uint32_t i = claim_next(0, &a, &c); i && !out_full(o); i = claim_next(i, &a, &c)) {
		out_row(o);
		out_ip(o, "address", &a);
		out_str(o, "port", c.state != CLAIM_AWAY && ports[c.port] ? ports[c.port]->conf.name : NULL);
		out_str(o, "state", claim_state_names[c.state]);
		if (mac_is_zero(&c.other))
			out_str(o, "other", NULL);
		else
			out_mac(o, "other", &c.other);
	}
}

static void show_tables_list(struct out *o);

static uint64_t count_ct(void)
{
	return (uint64_t)ct_count(&ct4) + ct_count(&ct6);
}

#define COUNT(fn)                                                                                                      \
	static uint64_t count_##fn(void)                                                                               \
	{                                                                                                              \
		return fn##_count();                                                                                   \
	}
COUNT(nat)
COUNT(nat_block)
COUNT(neighbor)
COUNT(endpoint)
COUNT(ipcache)
COUNT(policy_rule)
COUNT(tunnel)
COUNT(proxy)
COUNT(ipmasq)
COUNT(fib)
COUNT(frag)
COUNT(backend)
COUNT(service)
COUNT(service_range)
COUNT(affinity)
COUNT(probe)

const struct show_table show_tables[] = {
#define SHOW(name, rows, count, help, columns) { #name, help, rows, count, columns },
#include "cli/show.def"
#undef SHOW
	{ NULL, NULL, NULL, NULL, NULL },
};

/* Two are settings. */
static uint32_t capacity_of(const struct table_def *d)
{
	return d == &table_defs[TABLE_CT4]   ? ct_max_tcp + ct_max_other
	       : d == &table_defs[TABLE_NAT] ? nat_max_mappings
					     : d->capacity;
}

static void show_tables_list(struct out *o)
{
	for (const struct show_table *t = show_tables; t->name; t++) {
		const struct table_def *d = table_def_by_name(t->name);
		if (!d)
			continue;
		out_row(o);
		out_str(o, "name", t->name);
		out_u64(o, "entries", t->count());
		out_u64(o, "capacity", capacity_of(d));
		out_str(o, "key", d->key_text);
		out_str(o, "value", d->value_text);
		out_str(o, "when_full", d->full_text);
	}
}

/* ---- the commands ---- */

static unsigned collect_filters(const struct parse *p, struct out_filter *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < p->n; i++) {
		const struct arg *a = &p->arg[i];
		if (!a->type || strcmp(a->type->name, "FIELD=VALUE"))
			continue;
		a->filter.field[a->filter.value - 1 - a->filter.field] = 0;
		f[n++] = (struct out_filter){ a->filter.field, a->filter.value };
	}
	return n;
}

static int run_show(struct call *c, struct err *e)
{
	const struct show_table *t = c->p->cmd->aux;
	const struct arg *max = parse_arg(c->p, "max");
	struct out_filter f[ARGS_MAX];
	unsigned n = collect_filters(c->p, f);
	struct out *o = out_new(c->json, f, n, max ? (unsigned)max->n : 0);
	char *text = NULL;
	int r;

	r = out_declare(o, t->columns, e);
	if (!r)
		t->rows(o);
	if (!r)
		r = out_end(o, &text, e);
	if (!r)
		fputs(text, c->out);
	if (!r && c->json && text[strlen(text) - 1] != '\n')
		fputc('\n', c->out);
	free(text);
	out_free(o);
	return r;
}

static int run_count(struct call *c, struct err *e)
{
	const struct show_table *t = c->p->cmd->aux;

	(void)e;
	fprintf(c->out, "%llu\n", (unsigned long long)t->count());
	return 0;
}

static void clear_one(bool v6, uint32_t conn)
{
	ct_delete(ct_of(v6), SLOT_CONTROL, conn);
}

static int run_clear_ct(struct call *c, struct err *e)
{
	struct out_filter f[ARGS_MAX];
	unsigned n = collect_filters(c->p, f);

	return show_ct_each(f, n, clear_one, e);
}

void show_generate(void (*add)(const struct command *c))
{
	char pattern[80], help[128];

	for (const struct show_table *t = show_tables; t->name; t++) {
		snprintf(pattern, sizeof(pattern), "show %s [FIELD=VALUE]... [max N:1-4294967295]", t->name);
		snprintf(help, sizeof(help), "%s", t->help);
		add(&(struct command){
			.pattern = pattern, .help = help, .run = run_show, .aux = t, .fields = t->columns });
	}
	for (const struct show_table *t = show_tables; t->name; t++) {
		if (!t->count)
			continue;
		snprintf(pattern, sizeof(pattern), "count %s", t->name);
		snprintf(help, sizeof(help), "number of entries: %s", t->help);
		add(&(struct command){ .pattern = pattern, .help = help, .run = run_count, .aux = t });
	}
	add(&(struct command){ .pattern = "clear ct [FIELD=VALUE]...",
			       .help = "delete connections: all, or those that match",
			       .run = run_clear_ct,
			       .fields = show_tables[0].columns });
}
