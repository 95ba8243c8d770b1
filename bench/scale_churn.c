/* SPDX-License-Identifier: BSD-2-Clause */
/* bench-scale: what table changes, and tables that are full, do to a worker that forwards. The worker is a thread on core 1;
 * the calling thread changes tables as the control thread does. Windows with and without changes follow each other, so that
 * other load hits both; cycles are those of the engine only, medians over the windows. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench/scale.h"
#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "fwd/fib.h"
#include "tables/ct.h"
#include "tables/ipcache.h"
#include "tables/neighbor.h"
#include "tables/policy.h"

enum {
	WINDOWS = 21,
	CHANGES = 4, /* each of a mix once */
	PERIOD_NS = 100000000,
	FLOWS = 1000 * 1000,
	PREFIXES = 512 * 1024 - 1024,
	RULES = 16 * 1024 - 2
};

static struct scale_thread forwarder;
static uint64_t cycles, packets; /* of the forwarder, it alone writes */
static uint32_t stop;

static void *forward(void *arg)
{
	struct scale_thread *t = arg;
	kit_pin(1);
	rcu_thread_register();
	while (!LOAD_RELAXED(&stop)) {
		scale_fill(t);
		STORE_RELAXED(&cycles, cycles + scale_chunk(t));
		STORE_RELAXED(&packets, packets + SCALE_CHUNK);
		rcu_quiescent();
	}
	rcu_thread_unregister();
	return NULL;
}

static pthread_t start_forwarder(void)
{
	pthread_t thread;
	kit_pin(0);
	scale_thread_init(&forwarder, 1);
	STORE_RELAXED(&stop, 0);
	if (pthread_create(&thread, NULL, forward, &forwarder))
		kit_die("scale", "no thread");
	return thread;
}

static void stop_forwarder(pthread_t thread)
{
	STORE_RELAXED(&stop, 1);
	rcu_offline();
	pthread_join(thread, NULL);
	rcu_online();
	scale_thread_fini(&forwarder);
}

/* ---- changes: 'on' and back ---- */

static void change_policy(bool on)
{
	struct policy_rule r = { .subject = POLICY_ENDPOINT,
				 .subject_id = KIT_EP_ID,
				 .direction = POLICY_EGRESS,
				 .verdict = POLICY_ALLOW,
				 .proto = PROTO_TCP };
	if (on)
		KIT_MUST(policy_add(&r, &e));
	else
		KIT_MUST(policy_del(&r, &e));
	KIT_MUST(policy_commit(&e));
}
static void change_prefix(bool on, const char *prefix)
{
	struct ipnet n = kit_net(prefix);
	if (on)
		KIT_MUST(ipcache_set(&n, 3000, NULL, 0, &e));
	else
		KIT_MUST(ipcache_del(&n, &e));
}
static void change_prefix_used(bool on)
{
	change_prefix(on, "203.0.0.7/32");
}
static void change_prefix_elsewhere(bool on)
{
	change_prefix(on, "10.99.7.0/24");
}
static void change_route(bool on, const char *prefix)
{
	struct fib_route r = { .prefix = kit_net(prefix), .kind = FIB_UNICAST, .table = 254, .n = 1 };
	r.nh[0] = (struct fib_nexthop){
		.gateway = kit_addr("198.51.100.2"), .ifindex = PORT_FIRST + 101, .port = PORT_FIRST + 1, .weight = 1
	};
	if (on)
		KIT_MUST(fib_add(&r, &e));
	else if (fib_del(&r))
		kit_die("fib_del", prefix);
}
static void change_route_used(bool on)
{
	change_route(on, "203.0.0.7/32");
}
static void change_route_elsewhere(bool on)
{
	change_route(on, "172.16.7.0/24");
}
static void change_mac(bool on)
{
	const struct neighbor_key k = { .ip = kit_addr("198.51.100.2"), .dev = PORT_FIRST + 1 };
	const struct mac m = { { 2, 1, 0, 0, on, PORT_FIRST + 1 } };
	const struct neighbor *have = neighbor_find(&k);
	struct neighbor n;
	if (!have)
		kit_die("neighbour", "is not there");
	n = *have;
	n.mac = m;
	adj_set_eth(n.adj, PORT_FIRST + 1, &ports[PORT_FIRST + 1]->mac, &m, 1500);
	KIT_MUST(neighbor_set(&k, &n, &e));
}

static const struct change {
	const char *name;
	void (*fn)(bool on);
} changes[] = {
	{ "policy-of-1-of-250", change_policy },       { "ipcache-elsewhere", change_prefix_elsewhere },
	{ "route-elsewhere", change_route_elsewhere }, { "neighbour-mac", change_mac },
	{ "ipcache-inside-all", change_prefix_used },  { "route-inside-all", change_route_used },
};
enum { MIX = 4 }; /* the first ones in turn */

/* Cycles a packet over CHANGES periods, with a change in each or without. '*decided' grows by re-decisions. */
static double window(const struct change *c, unsigned n, bool *on, uint64_t *decided)
{
	uint64_t c0 = LOAD_RELAXED(&cycles), p0 = LOAD_RELAXED(&packets), d0 = LOAD_RELAXED(&workers[1]->decided);
	for (unsigned i = 0; i < CHANGES; i++) {
		uint64_t end = clock_ns() + PERIOD_NS;
		if (c) {
			c[i % n].fn(!on[i % n]);
			on[i % n] = !on[i % n];
		}
		do {
			rcu_poll_deferred();
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		} while (clock_ns() < end);
	}
	*decided += LOAD_RELAXED(&workers[1]->decided) - d0;
	return (double)(LOAD_RELAXED(&cycles) - c0) / (double)(LOAD_RELAXED(&packets) - p0);
}

/* Until hardly anything is left to decide again. */
static void settle(void)
{
	for (unsigned i = 0; i < 200; i++) {
		uint64_t p0 = LOAD_RELAXED(&packets), d0 = LOAD_RELAXED(&workers[1]->decided);
		for (unsigned k = 0; k < 25; k++) {
			rcu_poll_deferred();
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		}
		if ((LOAD_RELAXED(&workers[1]->decided) - d0) * 1000 < LOAD_RELAXED(&packets) - p0)
			break;
	}
}

static void measure(const char *name, const struct change *c, unsigned n, unsigned windows)
{
	double without[WINDOWS], with[WINDOWS], loss[WINDOWS];
	bool on[MIX] = { false };
	uint64_t none = 0, decided = 0;
	for (unsigned i = 0; i < windows; i++) {
		settle();
		if (i & 1) { /* the machine drifts: neither comes first always */
			with[i] = window(c, n, on, &decided);
			settle();
			without[i] = window(NULL, 0, NULL, &none);
		} else {
			without[i] = window(NULL, 0, NULL, &none);
			with[i] = window(c, n, on, &decided);
		}
		loss[i] = 100 * (1 - without[i] / with[i]);
	}
	for (unsigned i = 0; i < n; i++)
		if (on[i])
			c[i].fn(false);
	qsort(without, windows, sizeof(without[0]), kit_by_value);
	qsort(with, windows, sizeof(with[0]), kit_by_value);
	qsort(loss, windows, sizeof(loss[0]), kit_by_value);
	printf("bench-scale churn-%s flows %d cycles %.1f with %.1f loss %.1f %% decided-again %.0f a change\n", name,
	       FLOWS, without[windows / 2], with[windows / 2], loss[windows / 2],
	       (double)decided / (windows * CHANGES));
	fflush(stdout);
}

void scale_churn(void)
{
	change_prefix(true, "10.99.0.0/16");
	change_route(true, "172.16.0.0/12");
	scale_flows(FLOWS);
	pthread_t thread = start_forwarder();
	measure("mix", changes, MIX, WINDOWS);
	for (unsigned i = 0; i < ARRAY_LEN(changes); i++)
		measure(changes[i].name, &changes[i], 1, i < MIX ? WINDOWS : 1);
	stop_forwarder(thread);
	kit_clear(workers[0], false);
}

/* ---- big tables ---- */

static double seconds_since(uint64_t start)
{
	return (double)(clock_ns() - start) / 1e9;
}

static double replay_cycles(void)
{
	double c[11];
	scale_thread_init(&forwarder, 1);
	for (unsigned i = 0; i < ARRAY_LEN(c); i++) {
		uint64_t sum = 0;
		for (unsigned k = 0; k < 16; k++) {
			scale_fill(&forwarder);
			sum += scale_chunk(&forwarder);
		}
		c[i] = (double)sum / (16 * SCALE_CHUNK);
	}
	scale_thread_fini(&forwarder);
	qsort(c, ARRAY_LEN(c), sizeof(c[0]), kit_by_value);
	return c[ARRAY_LEN(c) / 2];
}

static void load_prefixes(void)
{
	struct ipnet n = kit_net("44.0.0.0/28");
	const uint64_t start = clock_ns();
	for (uint32_t i = 0; i < PREFIXES; i++) {
		wr32(n.addr.b + 12, 44u << 24 | i << 4);
		KIT_MUST(ipcache_set(&n, 4096 + i % 65536, NULL, 0, &e));
	}
	printf("bench-scale big ipcache %u loaded in %.2f s\n", ipcache_count(), seconds_since(start));
}

static struct policy_rule rule(uint32_t i)
{
	return (struct policy_rule){ .subject = POLICY_ENDPOINT,
				     .subject_id = KIT_EP_ID,
				     .direction = POLICY_EGRESS,
				     .verdict = POLICY_ALLOW,
				     .peer = POLICY_PEER_IDENTITY,
				     .peer_identity = 4096 + i % 1024,
				     .proto = PROTO_TCP,
				     .has_port = true,
				     .port_lo = (uint16_t)(1000 + i / 1024),
				     .port_hi = (uint16_t)(1000 + i / 1024) };
}

static void load_rules(void)
{
	uint64_t start = clock_ns();
	for (uint32_t i = 0; i < RULES; i++) {
		struct policy_rule r = rule(i);
		KIT_MUST(policy_add(&r, &e));
	}
	double added = seconds_since(start);
	start = clock_ns();
	KIT_MUST(policy_commit(&e));
	double all = seconds_since(start);
	struct policy_rule r = rule(RULES);
	start = clock_ns();
	KIT_MUST(policy_add(&r, &e));
	KIT_MUST(policy_commit(&e));
	printf("bench-scale big policy %u rules added in %.3f s, committed in %.3f s, one more in %.3f s\n",
	       policy_rule_count(), added, all, seconds_since(start));
}

void scale_big(void)
{
	enum { SOME = 64 * 1024 };
	kit_pin(1);
	scale_flows(SOME);
	double before = replay_cycles();
	load_prefixes();
	load_rules();
	replay_cycles(); /* decides again what the changes touched */
	kit_clear(workers[0], false);
	scale_flows(SOME);
	printf("bench-scale big flows %d cycles %.1f with full tables %.1f\n", SOME, before, replay_cycles());
	kit_clear(workers[0], false);
}
