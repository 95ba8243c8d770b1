/* SPDX-License-Identifier: BSD-2-Clause */
/* The gateway in memory (box.h): what fwd/main.c composes, without kernel, threads and real time. */
#include "tests/support/box.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/config.h"
#include "fwd/base/clock.h"
#include "fwd/base/hash.h"
#include "fwd/base/log.h"
#include "fwd/base/rcu.h"
#include "fwd/claim.h"
#include "fwd/control.h"
#include "fwd/decide.h"
#include "fwd/frag.h"
#include "fwd/icmp.h"
#include "fwd/resolve.h"
#include "fwd/settings.h"
#include "tables/affinity.h"
#include "tables/ct_window.h"
#include "tables/ipmasq.h"
#include "tables/nat.h"
#include "tables/proxy.h"

enum { FRAMES = 2048, CONNECTIONS = 4096, HOST_IFINDEX = 99, FIRST_IFINDEX = 100, GATE_MTU = 1500, HASH_SEED = 7 };

const struct box_wire *box_wire;
const struct mac box_host_mac = { { 0x02, 0, 0, 0, 0, 0xfe } };
static struct box_limits limits;
static uint64_t now_ns;

/* ---- what main.c hooks up ---- */

static int prepare(struct err *e)
{
	const struct port_conf gate = { .name = "gate", .kind = "mem", .queues = limits.gate_queues };
	int err;
	if ((err = ct_window_open(e)) || (err = frames_init(limits.frames, e)) ||
	    (err = workers_init(settings.worker_count, e)) || (err = port_open(&gate, PORT_GATE, NULL, e)))
		return err;
	icmp_host_ifindex = HOST_IFINDEX;
	resolve_gate_changed(&box_host_mac, GATE_MTU);
	return 0;
}

static void on_endpoint(const struct endpoint *old, const struct endpoint *now)
{
	struct err e = { "" };
	if (control_endpoint_changed(now ? now->id : old->id, old, &e))
		log_error("%s", e.text);
}

static bool on_wire(const struct port *p)
{
	return box_wire && !strcmp(p->ops->kind, box_wire->kind);
}

static void on_port(bool added, const struct port_conf *conf, struct port *p)
{
	(void)added;
	(void)conf;
	if (p)
		p->ifindex = FIRST_IFINDEX + p->index;
	if (p && box_wire && !on_wire(p)) /* the wire forgot to translate it */
		abort();
	if (p && box_wire) /* as a mem port's */
		p->mac = (struct mac){ { 0x02, 0, 0, 0, 0x10, (uint8_t)p->index } };
	fib_ports_changed();
	if (p)
		resolve_port_changed(p->index);
}

static const struct config_hooks hooks = { .prepare = prepare,
					   .remotes_changed = resolve_remotes_changed,
					   .endpoint_changed = on_endpoint,
					   .port_changed = on_port };

/* ---- start and end ---- */

int box_open(const struct box_limits *l, struct err *e)
{
	int err;
	limits = *l;
	limits.frames = limits.frames ? limits.frames : FRAMES;
	log_set_level(LOG_WARN);
	hash_init(HASH_SEED); /* outer UDP ports are the same in each run */
	now_ns = 1000 * NS_PER_S;
	clock_set(now_ns);
	rcu_thread_register();
	if ((err = endpoint_init(e)) || (err = ipcache_init(e)) || (err = ipmasq_init(e)) || (err = tunnel_init(e)) ||
	    (err = neighbor_init(e)) || (err = policy_init(e)) || (err = nat_init(e)) ||
	    (err = ct_init(l->ct_tcp ? l->ct_tcp : CONNECTIONS, l->ct_other ? l->ct_other : CONNECTIONS, e)) ||
	    (err = proxy_init(e)) || (err = service_init(e)) || (err = affinity_init(e)) || (err = frag_init(e)) ||
	    (err = fib_init(e)) || (err = resolve_init(e)) || (err = claim_init(e)))
		return err;
	ct_on_delete = decide_connection_gone;
	ct_may_evict = decide_may_evict;
	frag_queue_init();
	control_init(NULL);
	settings_default();
	/* frames of tests have no DF: each that is translated would be called something else */
	settings.nat_unique_ids = false;
	config_init();
	config_hooks = hooks;
	return 0;
}

bool box_close(struct err *e)
{
	uint8_t rest[BOX_FRAME_MAX];
	bool whole = true;
	for (unsigned i = 0; i < PORTS_MAX; i++)
		while (ports[i] && ports[i]->ops && box_take(ports[i], rest))
			;
	for (unsigned i = 0; i < PORTS_MAX; i++)
		if (ports[i] && ports[i]->ops)
			port_close(ports[i], true);
	if (n_workers) {
		frag_release_all();
		workers_fini();
		whole = frames_free() == limits.frames;
		err_set(e, 0, "%u of %u frames came back", frames_free(), limits.frames);
		frames_fini();
	}
	config_fini();
	claim_fini();
	resolve_fini();
	fib_fini();
	ct_fini();
	frag_fini();
	proxy_fini();
	affinity_fini();
	service_fini();
	nat_fini();
	policy_fini();
	neighbor_fini();
	tunnel_fini();
	ipmasq_fini();
	ipcache_fini();
	endpoint_fini();
	rcu_wait();
	rcu_thread_unregister();
	return whole;
}

/* ---- configuration ---- */

int box_commands(const char *name, char *text, FILE *out, struct err *e)
{
	char *other = box_wire ? box_wire->translate(text, e) : NULL;
	if (box_wire && !other)
		return -EINVAL;
	int err = cli_batch(name, other ? other : text, false, out, e);
	free(other);
	return err;
}

static int route_set(bool add, struct fib_route *r, const char *prefix, struct err *e)
{
	if (!ipnet_parse(prefix, &r->prefix))
		return err_set(e, -EINVAL, "route: '%s' is no prefix", prefix);
	int err = add ? fib_add(r, e) : fib_del(r);
	fib_ports_changed();
	resolve_routes_changed();
	return err;
}

int box_route(bool add, const char *prefix, const struct port *port, const char *via, struct err *e)
{
	return box_route_metric(add, prefix, port, via, 0, e);
}

int box_route_metric(bool add, const char *prefix, const struct port *port, const char *via, uint32_t metric,
		     struct err *e)
{
	struct fib_route r = { .kind = FIB_UNICAST, .table = 254, .protocol = 4, .metric = metric, .n = 1 };
	if (via && !ip_parse(via, &r.nh[0].gateway))
		return err_set(e, -EINVAL, "route: '%s' is no address", via);
	r.nh[0].ifindex = port ? port->ifindex : HOST_IFINDEX - 1;
	r.nh[0].port = -1;
	return route_set(add, &r, prefix, e);
}

int box_route_nowhere(bool add, const char *prefix, enum fib_kind kind, struct err *e)
{
	struct fib_route r = { .kind = kind, .table = 254, .protocol = 4 };
	return route_set(add, &r, prefix, e);
}

int box_local(const char *addr, const struct port *port, struct err *e)
{
	struct fib_route r = { .kind = FIB_LOCAL, .table = 255, .protocol = 2, .n = 1 };
	struct ipaddr a;
	if (!ip_parse(addr, &a))
		return err_set(e, -EINVAL, "local: '%s' is no address", addr);
	uint32_t ifindex = port ? port->ifindex : HOST_IFINDEX;
	r.prefix = (struct ipnet){ a, 128 };
	r.nh[0] = (struct fib_nexthop){ .ifindex = ifindex, .port = -1 };
	fib_addr_set(ifindex, &a, 120, true);
	return fib_add(&r, e);
}

/* ---- running ---- */

void box_run(void)
{
	/* held, asked, answered, sent: each may cause the next */
	for (unsigned i = 0; i < 6; i++) {
		control_requests();
		resolve_tick(now_ns);
		control_tick(now_ns);
		rcu_poll_deferred();
		for (unsigned k = 0; k < n_workers; k++)
			worker_run_once(workers[k]);
	}
}

void box_advance(uint64_t ns)
{
	const uint64_t end = now_ns + ns, step = ns > 60 * NS_PER_S ? ns : NS_PER_S / 100; /* workers age each 10 ms */
	while (now_ns < end) {
		now_ns = MIN(end, now_ns + step);
		clock_set(now_ns);
		box_run();
	}
}

int box_send(struct port *p, const void *frame, uint32_t len)
{
	int err = on_wire(p) ? box_wire->put(p, frame, len) : mem_port_put(p, 0, frame, len);
	if (!err)
		worker_run_once(workers[p->queue[0].owner]);
	return err;
}

uint32_t box_take(struct port *p, void *buf)
{
	if (on_wire(p))
		return box_wire->take(p, buf);
	return p->ops == &port_ops_mem ? mem_port_take(p, buf, BOX_FRAME_MAX) : 0;
}

uint64_t box_drops(void)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < 256; i++)
		sum += workers_drops(i).packets;
	return sum;
}

bool box_balanced(struct err *e)
{
	uint64_t in = 0, out = 0, held = 0, dropped = 0;
	for (unsigned i = 0; i < PORTS_MAX; i++) {
		struct port_counter c = workers_port(i);
		in += c.rx.packets;
		out += c.tx.packets;
		held += c.held;
		dropped += c.dropped.packets;
	}
	if (in == out + held + dropped && dropped == box_drops())
		return true;
	err_set(e, -EINVAL, "balance: in %lu, out %lu, held %lu, dropped %lu by port and %lu by reason", in, out, held,
		dropped, box_drops());
	return false;
}
