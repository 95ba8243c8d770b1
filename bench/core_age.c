/* SPDX-License-Identifier: BSD-2-Clause */
/* bench-core: how long ageing keeps a worker from its packets.
 *
 * Each call is timed. So is, right after it, a computation without any memory of about the same length: what the host takes
 * from this guest hits both alike, so only what ageing has beyond the computation is its own. */
#include "bench/core_age.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "fwd/engine.h"
#include "tables/ct.h"

enum { NOW = 1001, CALLS_MAX = 4 << 20, LENGTH_OF = 500 };

static const struct kit_case snat_case = { .name = "snat", .snat = true };

static void fill_bare(struct worker *w, uint32_t flows, uint32_t few)
{
	for (uint32_t f = 0; f < flows; f++) {
		uint32_t i = ct_alloc(&ct4, w->slot, PROTO_UDP, few && f % few == 0 ? 0 : NOW - 1), present;
		if (!i)
			kit_die("age", "no entry");
		struct flow_key4 k = { htonl(0x0a000000 + f), htonl(0x0b000000), 1, 2, PROTO_UDP };
		ct_flow4(2 * i)->key = k;
		ct_flow4(2 * i + 1)->key = (struct flow_key4){ k.dst, k.src, k.dport, k.sport, k.zp };
		ct_conn(&ct4, i)->state = CT_REPLIED;
		if (ct_publish(&ct4, w->slot, i, &present))
			kit_die("age", "no room in the index");
		if (f % 1024 == 0)
			rcu_poll_deferred();
	}
}

static void fill_decided(struct worker *w, uint32_t flows, uint32_t few)
{
	uint8_t *b = frame_get(&w->frames);
	for (uint32_t f = 0; f < flows; f++) {
		w->now_s = few && f % few == 0 ? 1 : NOW - 1;
		kit_one(w, b, kit_build(b, &snat_case, f), PORT_GATE);
		if (f % 1024 == 0)
			rcu_poll_deferred();
	}
	frame_put(&w->frames, b);
}

static uint64_t compute(uint64_t n)
{
	const uint64_t start = clock_cycles();
	uint64_t x = start | 1;
	for (uint64_t i = 0; i < n; i++)
		x = x * 0x9e3779b97f4a7c15 + i;
	__asm__ volatile("" : : "r"(x));
	return clock_cycles() - start;
}

static uint64_t one_call(struct worker *w)
{
	const uint64_t start = clock_cycles();
	ct_age(&ct4, w->slot, 1, CT_AGE_WORK, NOW);
	return clock_cycles() - start;
}

static void print(const char *name, uint32_t flows, double *cycles, unsigned n)
{
	const double us = 1e6 / kit_hz();
	double sum = 0;
	for (unsigned i = 0; i < n; i++)
		sum += cycles[i];
	qsort(cycles, n, sizeof(*cycles), kit_by_value);
	printf("bench-core %s flows %u calls %u mean %.1f p50 %.1f p99 %.1f p999 %.1f max %.1f us\n", name, flows, n,
	       sum / n * us, cycles[n / 2] * us, cycles[n - 1 - n / 100] * us, cycles[n - 1 - n / 1000] * us,
	       cycles[n - 1] * us);
	fflush(stdout);
}

static long page_faults(void)
{
	struct rusage u;
	getrusage(RUSAGE_THREAD, &u);
	return u.ru_minflt;
}

void core_age(struct worker *w, const char *name, uint32_t flows, uint32_t few, bool snat)
{
	double *age = calloc(CALLS_MAX, sizeof(*age)), *plain = calloc(CALLS_MAX, sizeof(*plain)), typical[LENGTH_OF];
	char control[64];
	uint64_t sum = 0, steps = 0;
	unsigned n = 0;
	if (!age || !plain)
		kit_die("age", "no memory");
	for (unsigned i = 0; i < CALLS_MAX; i += 512) /* no page fault of ours between the calls */
		age[i] = plain[i] = 1;
	if (snat)
		fill_decided(w, flows, few);
	else
		fill_bare(w, flows, few);
	kit_settle();
	const uint32_t stay = few ? flows - (flows + few - 1) / few : flows;
	const uint64_t a_million = compute(1000000);
	const long faults = page_faults();
	for (uint64_t looks = 0; n < CALLS_MAX && (looks < flows + CT_AGE_WORK || ct_count(&ct4) > stay);
	     looks += CT_AGE_WORK, n++) {
		const uint64_t c = one_call(w);
		sum += c;
		age[n] = (double)c;
		if (n < LENGTH_OF)
			typical[n] = (double)c;
		if (n == LENGTH_OF - 1) {
			qsort(typical, LENGTH_OF, sizeof(*typical), kit_by_value);
			steps = (uint64_t)(typical[LENGTH_OF / 2] * 1e6 / (double)a_million);
		}
		plain[n] = (double)compute(steps ? steps : 1000);
		rcu_poll_deferred();
	}
	printf("bench-core %s flows %u cycles %.1f faults %ld\n", name, flows, (double)sum / flows,
	       page_faults() - faults);
	snprintf(control, sizeof(control), "%s-control", name);
	print(name, flows, age, n);
	print(control, flows, plain, n);
	free(age);
	free(plain);
	kit_clear(w, false);
}
