/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions a replayed packet costs, counted by callgrind for tests/guard.sh: the same on any machine under any load.
 *
 * A case decides N flows, then replays one packet of each in the directions that it is about; only that is counted, and
 * dumped under the case's name. Hash key, clock and random numbers are fixed, so that two runs give the same count.
 * Without valgrind the requests do nothing, and the program only checks that all packets were replayed. */
#include <stdio.h>
#include <stdlib.h>
#include <valgrind/callgrind.h>

#include "bench/kit.h"
#include "fwd/base/clock.h"
#include "fwd/base/hash.h"
#include "fwd/base/rcu.h"
#include "fwd/engine.h"

enum { N = 256, CONNECTIONS = 1024, SEED = 7 };

static const struct kit_case cases[] = {
	{ "route4", false, false, false, true, false, false }, { "snat4", false, true, false, true, false, false },
	{ "encap4", false, false, true, false, false, false }, { "decap4", false, false, true, false, true, false },
	{ "route6", true, false, false, true, false, false },  { "snat6", true, true, false, true, false, false },
	{ "encap6", true, false, true, false, false, false },  { "decap6", true, false, true, false, true, false },
};

static void replay(struct worker *w, const struct kit_case *c, uint8_t *const frame[N])
{
	struct pkt pkts[N];
	for (uint32_t f = 0; f < N; f++) {
		bool back = c->reply || (c->both && f / BURST_MAX & 1); /* bursts come by one port */
		uint32_t len = back ? kit_build_reply(w, frame[f], c, f) : kit_build(frame[f], c, f);
		pkts[f] = (struct pkt){ .data = frame[f], .len = len, .port = kit_in_port(c, back) };
	}
	CALLGRIND_START_INSTRUMENTATION;
	CALLGRIND_ZERO_STATS;
	for (unsigned i = 0; i < N; i += BURST_MAX)
		engine_burst(w, pkts + i, BURST_MAX);
	CALLGRIND_DUMP_STATS_AT(c->name);
	CALLGRIND_STOP_INSTRUMENTATION;
}

static void run(struct worker *w, const struct kit_case *c, uint8_t *const frame[N])
{
	if (c->snat)
		kit_pools(true);
	for (uint32_t f = 0; f < N; f++) {
		kit_one(w, frame[0], kit_build(frame[0], c, f), PORT_GATE);
		kit_one(w, frame[0], kit_build_reply(w, frame[0], c, f), kit_in_port(c, true));
	}
	uint64_t before = w->replayed;
	kit_settle();
	replay(w, c, frame);
	if (w->replayed - before != N)
		kit_die(c->name, "not every packet was replayed");
	printf("guard %s packets %d\n", c->name, N);
	kit_clear(w, c->v6);
	if (c->snat)
		kit_pools(false);
}

int main(void)
{
	uint8_t *frame[N];
	kit_program = "guard";
	hash_init(SEED);
	clock_set(1000 * NS_PER_S);
	rcu_thread_register();
	kit_setup(1, CONNECTIONS);
	struct worker *w = workers[0];
	w->random = SEED;
	w->now_ns = clock_ns();
	w->now_s = (uint32_t)(w->now_ns / NS_PER_S);
	for (unsigned i = 0; i < N; i++)
		frame[i] = frame_get(&w->frames);
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
		run(w, &cases[i], frame);
	return 0;
}
