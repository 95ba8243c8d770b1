/* SPDX-License-Identifier: BSD-2-Clause */
/* bench-core: cycles a packet of the engine, device I/O excluded. One core, bursts of 64 out of 4096 frames, flows drawn at
 * random; every connection was decided by the engine itself (its first packet ran the decision path), counters on.
 * A line a case: bench-core CASE flows N cycles C mpps M. Arguments: [CASE [FLOWS]].
 *
 * route (policy + conntrack), snat (the same with masquerade), encap and decap (VXLAN), each followed by 6 for IPv6; 'both'
 * draws packets of both directions. Median of 9 rounds.
 * decide-CASE: the first packet of a connection with everything, creation included; bursts of 64 of them. Median of 3 rounds;
 * one before them creates and deletes all connections, so that first touches of memory (a page fault each, paid once in the
 * life of the process) are not counted. CASE alone prints its replay and its decide line.
 * service: route, by way of a service with three backends; only when asked for.
 * flood: a SYN flood into a full table, each SYN evicts another.
 * age-none, age-few, age-all, age-snat (all, with their translations): cycles for each connection that ageing looks at while
 * so many have expired, and how long a worker's call takes (core_age.c). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/core_age.h"
#include "bench/image.h"
#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "fwd/engine.h"
#include "tables/ct.h"

enum { FRAMES = 4096, ROUNDS = 9, PASSES = 32, DECIDE_ROUNDS = 3 };

static uint8_t *frames[FRAMES];
static struct worker *w;

static const struct kit_case cases[] = {
	{ "route", false, false, false, false, false, false },   { "snat", false, true, false, false, false, false },
	{ "snat-both", false, true, false, true, false, false }, { "encap", false, false, true, false, false, false },
	{ "decap", false, false, true, false, true, false },     { "route6", true, false, false, false, false, false },
	{ "snat6", true, true, false, false, false, false },     { "encap6", true, false, true, false, false, false },
	{ "decap6", true, false, true, false, true, false },     { .name = "service", .service = true },
};

static void print(const char *name, uint32_t flows, double cycles)
{
	printf("bench-core %s flows %u cycles %.1f mpps %.2f\n", name, flows, cycles, kit_hz() / cycles / 1e6);
	fflush(stdout);
}

static struct pkt pkts[BURST_MAX];
static uint32_t len[FRAMES];
static uint16_t port[FRAMES];

/* Cycles for frames 0..n-1 in bursts. */
static uint64_t send_frames(unsigned n)
{
	uint64_t t = clock_cycles();
	for (unsigned i = 0; i < n; i += BURST_MAX) {
		unsigned burst = MIN(n - i, (unsigned)BURST_MAX);
		for (unsigned k = 0; k < burst; k++)
			pkt_init(&pkts[k], frames[i + k], len[i + k], port[i + k], 0);
		engine_burst(w, pkts, burst);
	}
	return clock_cycles() - t;
}

/* The first packets of all flows; cycles for each. */
static double fill(const struct kit_case *c, uint32_t flows)
{
	uint64_t spent = 0, decided = w->decided, dropped = w->port[PORT_GATE].dropped.packets;
	for (uint32_t f = 0; f < flows;) {
		unsigned n = 0;
		for (; n < FRAMES && f < flows; n++, f++) {
			len[n] = kit_build(frames[n], c, f);
			port[n] = PORT_GATE;
		}
		spent += send_frames(n);
		rcu_poll_deferred();
		if (w->port[PORT_GATE].dropped.packets != dropped || w->n_held) /* they took our frames along */
			kit_die(c->name, "first packets were dropped or held");
	}
	if (w->decided - decided != flows)
		kit_die(c->name, "first packets were not decided");
	return (double)spent / flows;
}

static void run_decide(const struct kit_case *c, uint32_t flows)
{
	double round[DECIDE_ROUNDS];
	char name[32];
	if (c->snat)
		kit_pools(true);
	for (int r = -1; r < DECIDE_ROUNDS; r++) {
		double cycles = fill(c, flows);
		if (r >= 0)
			round[r] = cycles;
		kit_clear(w, c->v6);
		kit_settle();
	}
	if (c->snat)
		kit_pools(false);
	qsort(round, DECIDE_ROUNDS, sizeof(round[0]), kit_by_value);
	snprintf(name, sizeof(name), "decide-%s", c->name);
	print(name, flows, round[DECIDE_ROUNDS / 2]);
}

static void run(const struct kit_case *c, uint32_t flows)
{
	double round[ROUNDS];
	if (c->snat)
		kit_pools(true);
	fill(c, flows);
	uint8_t *b = frame_get(&w->frames);
	if (c->both || c->reply)
		for (uint32_t f = 0; f < flows; f++)
			kit_one(w, b, kit_build_reply(w, b, c, f), kit_in_port(c, true));
	kit_settle();
	static struct images m;
	images_make(&m, w, c, flows);
	for (int r = 0; r < ROUNDS; r++) {
		uint64_t spent = 0, replayed = w->replayed;
		for (int pass = 0; pass < PASSES; pass++) {
			for (int i = 0; i < FRAMES; i++) {
				uint32_t f = (uint32_t)(((uint64_t)worker_random(w) * flows) >> 32);
				/* a burst comes by one port */
				bool back = c->reply || (c->both && i / BURST_MAX & 1);
				len[i] = image_put(&m, f, back, frames[i]);
				port[i] = m.port[back];
			}
			spent += send_frames(FRAMES);
			if (flows > 100000 && pass == PASSES / 4)
				break;
		}
		uint64_t n = w->replayed - replayed;
		round[r] = (double)spent / (double)n;
		if (n % FRAMES)
			kit_die(c->name, "not every packet was replayed");
	}
	qsort(round, ROUNDS, sizeof(round[0]), kit_by_value);
	print(c->name, flows, round[ROUNDS / 2]);
	images_free(&m);
	kit_clear(w, c->v6);
	frame_put(&w->frames, b);
	if (c->snat)
		kit_pools(false);
}

/* The UDP frame of flow 'f' made a TCP SYN. */
static void build_syn(uint8_t *b, const struct kit_case *c, uint32_t f)
{
	kit_build(b, c, f);
	uint8_t *l3 = b + ETH_HLEN_, *l4 = l3 + IP4_HLEN;
	const unsigned n = rd16(l3 + 2) - IP4_HLEN;
	l3[9] = PROTO_TCP;
	st16(l3 + 10, 0);
	st16(l3 + 10, (uint16_t)~csum_fold(csum_add(l3, IP4_HLEN, 0)));
	memset(l4 + 4, 0, n - 4);
	l4[12] = 5 << 4;
	l4[13] = 2;
	st16(l4 + 16, (uint16_t)~csum_fold(csum_add(l4, n, csum_pseudo(l3 + 12, l3 + 16, 4, PROTO_TCP, n))));
}

/* 'n' SYNs of flows from 'first' on; cycles. */
static uint64_t syns(uint32_t first, uint32_t n)
{
	uint64_t spent = 0;
	for (uint32_t done = 0; done < n;) {
		unsigned k = 0;
		for (; k < FRAMES && done < n; k++, done++) {
			build_syn(frames[k], &cases[0], first + done);
			len[k] = 60;
			port[k] = PORT_GATE;
		}
		spent += send_frames(k);
		rcu_quiescent();
	}
	return spent;
}

static void run_flood(uint32_t flows)
{
	const uint64_t dropped = w->port[PORT_GATE].dropped.packets, evicted = ct4.evicted;
	const uint32_t began = w->now_s;
	syns(0, ct4.max_tcp);
	w->now_s += 10;
	double cycles = (double)syns(ct4.max_tcp, flows) / flows;
	w->now_s = began;
	if (w->port[PORT_GATE].dropped.packets != dropped || ct4.evicted - evicted != flows)
		kit_die("flood", "a SYN was dropped, or evicted nothing");
	print("flood", flows, cycles);
	kit_clear(w, false);
}

static bool wanted(const char *what, const char *prefix, const char *name)
{
	size_t n = strlen(prefix);
	return !what || strcmp(what, name) == 0 || (strncmp(what, prefix, n) == 0 && strcmp(what + n, name) == 0);
}

static void setup(uint32_t flows, bool services)
{
	hash_init(0);
	rcu_thread_register();
	kit_setup(1, MAX(1100000u, flows + flows / 16));
	w = workers[0];
	if (services) /* one that is there costs others a look */
		kit_services();
	for (int i = 0; i < FRAMES; i++)
		frames[i] = frame_get(&w->frames);
}

/* A process each: tables that were large for the one before stay so. */
static bool is_child(void)
{
	int status;
	pid_t pid = fork();
	if (pid > 0 && (waitpid(pid, &status, 0) != pid || status))
		exit(1);
	if (pid < 0)
		kit_die("fork", strerror(errno));
	return pid == 0;
}

int main(int argc, char **argv)
{
	static const uint32_t sizes[] = { 1024, 64 * 1024, 1000 * 1000 };
	const char *what = argc > 1 ? argv[1] : NULL;
	const uint32_t flows = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
	kit_program = "bench-core";
	kit_pin(1);
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
		for (unsigned k = 0; k < (flows ? 1 : ARRAY_LEN(sizes)); k++) {
			const uint32_t n = flows ? flows : sizes[k];
			const bool replays = wanted(what, "", cases[i].name),
				   decides = n > 10000 && wanted(what, "decide-", cases[i].name);
			if ((cases[i].service && !what) || !(replays || decides) || !is_child())
				continue;
			setup(flows, cases[i].service);
			if (replays)
				run(&cases[i], n);
			if (decides)
				run_decide(&cases[i], n);
			return 0;
		}
	if (wanted(what, "", "flood") && is_child()) {
		setup(flows, false);
		run_flood(flows ? flows : 1000 * 1000);
		return 0;
	}
	static const struct {
		const char *name;
		uint32_t few;
		bool snat;
	} ages[] = {
		{ "age-none", 0, false }, { "age-few", 100, false }, { "age-all", 1, false }, { "age-snat", 1, true }
	};
	for (unsigned i = 0; i < ARRAY_LEN(ages); i++)
		if (wanted(what, "", ages[i].name) && is_child()) {
			setup(flows, false);
			if (ages[i].snat)
				kit_pools(true);
			core_age(w, ages[i].name, flows ? flows : 1000 * 1000, ages[i].few, ages[i].snat);
			return 0;
		}
	return 0;
}
