/* SPDX-License-Identifier: BSD-2-Clause */
/* bench-scale: does the engine scale, and what do changes cost it while it forwards?
 *
 *  scale   one worker and two, each pinned to a core, replay packets of both directions drawn from the same flows
 *          (policy, conntrack, SNAT, counters). Rounds of a few milliseconds, "core 0 alone, core 1 alone, both" in turn, so
 *          that other load hits all alike; a line a size: median and best of (both together) / (mean of alone). The line
 *          'machine' is the same for a loop that shares no memory at all: what the cores themselves give.
 *  churn   ten table changes a second (scale_churn.c).
 *  big     replay with and without 512 Ki prefixes and 16 Ki rules, and what it takes to load them.
 * Arguments: names of what to run; all without. */
#include "bench/scale.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "fwd/engine.h"
#include "tables/ct.h"

enum { ROUNDS = 61, CHUNKS = 8 };

const struct kit_case scale_case = { .name = "snat-both", .snat = true, .both = true };
static uint8_t *images; /* IMAGE bytes a flow and direction, as they come in */
static uint32_t n_flows;

/* ---- flows ---- */

void scale_flows(uint32_t n)
{
	struct worker *w = workers[0];
	uint8_t *b = frame_get(&w->frames);
	free(images);
	images = aligned_alloc(64, (size_t)n * 2 * SCALE_IMAGE);
	if (!images)
		kit_die("flows", "no memory");
	for (uint32_t f = 0; f < n; f++) {
		uint8_t *image = images + (size_t)f * 2 * SCALE_IMAGE;
		uint32_t len = kit_build(b, &scale_case, f);
		memcpy(image, b, SCALE_IMAGE);
		kit_one(w, b, len, PORT_GATE);
		len = kit_build_reply(w, b, &scale_case, f);
		memcpy(image + SCALE_IMAGE, b, SCALE_IMAGE);
		kit_one(w, b, len, kit_in_port(&scale_case, true));
		if (f % 1024 == 0)
			rcu_poll_deferred();
	}
	kit_settle();
	frame_put(&w->frames, b);
	n_flows = n;
}

void scale_fill(struct scale_thread *t)
{
	for (unsigned i = 0; i < SCALE_CHUNK; i++) {
		uint32_t f = (uint32_t)(((uint64_t)worker_random(t->w) * n_flows) >> 32);
		memcpy(t->frame[i], images + ((size_t)f * 2 + (i / BURST_MAX & 1)) * SCALE_IMAGE, SCALE_IMAGE);
	}
}

uint64_t scale_chunk(struct scale_thread *t)
{
	const uint16_t back = kit_in_port(&scale_case, true);
	struct pkt pkts[BURST_MAX];
	uint64_t start = clock_cycles();
	for (unsigned i = 0; i < SCALE_CHUNK; i += BURST_MAX) {
		for (unsigned k = 0; k < BURST_MAX; k++)
			pkts[k] = (struct pkt){ .data = t->frame[i + k],
						.len = SCALE_LEN,
						.port = i / BURST_MAX & 1 ? back : PORT_GATE };
		engine_burst(t->w, pkts, BURST_MAX);
	}
	return clock_cycles() - start;
}

void scale_thread_init(struct scale_thread *t, unsigned id)
{
	*t = (struct scale_thread){ .w = workers[id], .id = id };
	for (unsigned i = 0; i < SCALE_CHUNK; i++)
		if (!(t->frame[i] = frame_get(&t->w->frames)))
			kit_die("frames", "too few");
}

void scale_thread_fini(struct scale_thread *t)
{
	for (unsigned i = 0; i < SCALE_CHUNK; i++)
		frame_put(&t->w->frames, t->frame[i]);
}

/* ---- one and two ---- */

/* A round's work, timed: cycles for SCALE_CHUNK packets. */
typedef uint64_t work_fn(struct scale_thread *t);
static struct runner {
	struct scale_thread t;
	pthread_t thread;
	sem_t go, done;
	uint64_t cycles; /* of the round */
	bool stop;
} runner[2];
static work_fn *work;
static unsigned together; /* how many run this round */
static uint32_t arrived;

static uint64_t no_memory(struct scale_thread *t)
{
	uint64_t start = clock_cycles(), x = start | 1, y = t->id, z = 3;
	for (unsigned i = 0; i < SCALE_CHUNK * 16; i++) {
		x = x * 0x9e3779b97f4a7c15 + i;
		y = (y ^ i) + 0x123456789;
		z += z >> 3 ^ i;
	}
	__asm__ volatile("" : : "r"(x + y + z));
	return clock_cycles() - start;
}

/* Whoever runs in this round starts each chunk at the same time. */
static void meet(unsigned chunk)
{
	__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL);
	while (LOAD_ACQUIRE(&arrived) < together * (chunk + 1))
		__builtin_ia32_pause();
}

static void *run(void *arg)
{
	struct runner *r = arg;
	double chunk[CHUNKS];
	kit_pin(r->t.id);
	rcu_thread_register();
	for (;;) {
		rcu_offline();
		sem_wait(&r->go);
		rcu_online();
		if (r->stop)
			break;
		for (unsigned i = 0; i < CHUNKS; i++) {
			scale_fill(&r->t);
			meet(i);
			chunk[i] = (double)work(&r->t);
			rcu_quiescent();
		}
		qsort(chunk, CHUNKS, sizeof(chunk[0]), kit_by_value);
		r->cycles = (uint64_t)chunk[CHUNKS / 2];
		sem_post(&r->done);
	}
	rcu_thread_unregister();
	return NULL;
}

/* Packets per cycle of those named by the bits of 'who', together. */
static double round_of(unsigned who)
{
	double rate = 0;
	together = (unsigned)__builtin_popcount(who);
	arrived = 0;
	for (unsigned i = 0; i < 2; i++)
		if (who & 1u << i)
			sem_post(&runner[i].go);
	for (unsigned i = 0; i < 2; i++)
		if (who & 1u << i) {
			while (sem_wait(&runner[i].done))
				;
			rate += (double)SCALE_CHUNK / (double)runner[i].cycles;
		}
	return rate;
}

static void compare(const char *name, uint32_t flows, work_fn *fn)
{
	double one[ROUNDS], two[ROUNDS], ratio[ROUNDS];
	work = fn;
	rcu_offline();
	for (unsigned r = 0; r < ROUNDS; r++) {
		one[r] = (round_of(1) + round_of(2)) / 2;
		two[r] = round_of(3);
		ratio[r] = two[r] / one[r];
	}
	rcu_online();
	qsort(one, ROUNDS, sizeof(one[0]), kit_by_value);
	qsort(two, ROUNDS, sizeof(two[0]), kit_by_value);
	qsort(ratio, ROUNDS, sizeof(ratio[0]), kit_by_value);
	printf("bench-scale %s flows %u one %.1f cycles two %.1f cycles each ratio %.2f best %.2f\n", name, flows,
	       1 / one[ROUNDS / 2], 2 / two[ROUNDS / 2], ratio[ROUNDS / 2], two[ROUNDS - 1] / one[ROUNDS - 1]);
	fflush(stdout);
}

static void scale(void)
{
	static const uint32_t sizes[] = { 1024, 64 * 1024, 1000 * 1000 };
	for (unsigned i = 0; i < 2; i++) {
		scale_thread_init(&runner[i].t, i);
		sem_init(&runner[i].go, 0, 0);
		sem_init(&runner[i].done, 0, 0);
		if (pthread_create(&runner[i].thread, NULL, run, &runner[i]))
			kit_die("scale", "no thread");
	}
	scale_flows(1);
	compare("machine", 0, no_memory);
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		kit_clear(workers[0], false);
		scale_flows(sizes[i]);
		uint64_t decided = workers[0]->decided + workers[1]->decided;
		compare(scale_case.name, sizes[i], scale_chunk);
		if (workers[0]->decided + workers[1]->decided != decided)
			kit_die("scale", "not every packet was replayed");
	}
	for (unsigned i = 0; i < 2; i++) {
		runner[i].stop = true;
		sem_post(&runner[i].go);
		rcu_offline();
		pthread_join(runner[i].thread, NULL);
		rcu_online();
		scale_thread_fini(&runner[i].t);
	}
	kit_clear(workers[0], false);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} parts[] = { { "scale", scale }, { "churn", scale_churn }, { "big", scale_big } };
	kit_program = "bench-scale";
	kit_endpoints = 250;
	kit_spread = 50;
	hash_init(0);
	rcu_thread_register();
	kit_setup(2, 1100000);
	kit_pools(true);
	for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
		bool wanted = argc < 2;
		for (int k = 1; k < argc; k++)
			wanted |= strcmp(argv[k], parts[i].name) == 0;
		if (wanted)
			parts[i].run();
	}
	return 0;
}
