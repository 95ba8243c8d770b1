/* SPDX-License-Identifier: BSD-2-Clause */
/* bench-core: cycles a packet of the engine, device I/O excluded. One core, bursts of 64 out of 4096 frames, flows drawn at
 * random; every connection was decided by the engine itself (its first packet ran the decision path), counters on.
 *
 * Cases: route (policy + conntrack), snat (the same with masquerade), encap and decap (VXLAN), each followed by 6 for IPv6;
 * 'both' draws packets of both directions. A line a case: bench-core CASE flows N cycles C mpps M (median of 9 rounds).
 * 'decide' is the first packet of a connection with everything, connection creation included. */
#include <stdio.h>
#include <stdlib.h>

#include "bench/kit.h"
#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "fwd/engine.h"

enum { FRAMES = 4096, ROUNDS = 9, PASSES = 32 };

static uint8_t *frames[FRAMES];
static struct worker *w;

static const struct kit_case cases[] = {
	{ "route", false, false, false, false, false },   { "snat", false, true, false, false, false },
	{ "snat-both", false, true, false, true, false }, { "encap", false, false, true, false, false },
	{ "decap", false, false, true, false, true },     { "route6", true, false, false, false, false },
	{ "snat6", true, true, false, false, false },     { "encap6", true, false, true, false, false },
	{ "decap6", true, false, true, false, true },
};

static void print(const char *name, uint32_t flows, double cycles)
{
	printf("bench-core %s flows %u cycles %.1f mpps %.2f\n", name, flows, cycles, kit_hz() / cycles / 1e6);
	fflush(stdout);
}

static void run(const struct kit_case *c, uint32_t flows)
{
	static struct pkt pkts[FRAMES];
	static uint32_t len[FRAMES];
	static uint16_t port[FRAMES];
	double round[ROUNDS];
	char name[32];
	uint64_t decided = w->decided, t0 = clock_cycles();
	if (c->snat)
		kit_pools(true);
	uint8_t *b = frame_get(&w->frames);
	for (uint32_t f = 0; f < flows; f++)
		kit_one(w, b, kit_build(b, c, f), PORT_GATE);
	double setup_cycles = (double)(clock_cycles() - t0) / flows;
	if (w->decided - decided < flows)
		fprintf(stderr, "bench-core: %s: some first packets were not decided\n", c->name);
	if (c->both || c->reply)
		for (uint32_t f = 0; f < flows; f++)
			kit_one(w, b, kit_build_reply(w, b, c, f), kit_in_port(c, true));
	for (int r = 0; r < ROUNDS; r++) {
		uint64_t spent = 0, replayed = w->replayed;
		for (int pass = 0; pass < PASSES; pass++) {
			for (int i = 0; i < FRAMES; i++) {
				uint32_t f = (uint32_t)(((uint64_t)worker_random(w) * flows) >> 32);
				bool back = c->reply || (c->both && i / BURST_MAX & 1); /* a burst comes by one port */
				len[i] = back ? kit_build_reply(w, frames[i], c, f) : kit_build(frames[i], c, f);
				port[i] = kit_in_port(c, back);
			}
			uint64_t t = clock_cycles();
			for (int i = 0; i < FRAMES; i += BURST_MAX) {
				for (int k = i; k < i + BURST_MAX; k++)
					pkt_init(&pkts[k - i], frames[k], len[k], port[k], 0);
				engine_burst(w, pkts, BURST_MAX);
			}
			spent += clock_cycles() - t;
			if (flows > 100000 && pass == PASSES / 4)
				break;
		}
		uint64_t n = w->replayed - replayed;
		round[r] = (double)spent / (double)n;
		if (n % FRAMES) {
			fprintf(stderr, "bench-core: %s: not every packet was replayed\n", c->name);
			exit(1);
		}
	}
	qsort(round, ROUNDS, sizeof(round[0]), kit_by_value);
	print(c->name, flows, round[ROUNDS / 2]);
	if (flows > 10000) { /* fewer: page faults of fresh arenas, not decisions */
		snprintf(name, sizeof(name), "decide-%s", c->name);
		print(name, flows, setup_cycles);
	}
	kit_clear(w, c->v6);
	frame_put(&w->frames, b);
	if (c->snat)
		kit_pools(false);
}

int main(int argc, char **argv)
{
	static const uint32_t sizes[] = { 1024, 64 * 1024, 1000 * 1000 };
	kit_program = "bench-core";
	kit_pin(1);
	hash_init(0);
	rcu_thread_register();
	kit_setup(1, 1100000);
	w = workers[0];
	for (int i = 0; i < FRAMES; i++)
		frames[i] = frame_get(&w->frames);
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
		for (unsigned k = 0; k < ARRAY_LEN(sizes); k++)
			if (argc < 2 || strcmp(argv[1], cases[i].name) == 0)
				run(&cases[i], sizes[k]);
	return 0;
}
