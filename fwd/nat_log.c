/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines about blocks of ports and about refusals (contract in nat_log.h). For blocks a ring for each thread; the control thread
 * merges them by number. */
#include "fwd/nat_log.h"

#include <errno.h>
#include <time.h>

#include "fwd/base/clock.h"
#include "fwd/base/log.h"
#include "fwd/ring.h"
#include "tables/nat_block.h"
#include "tables/table.h"

enum { EVENTS = 4096, LINES = 4096 };

static struct {
	struct ring ring;
	struct nat_block_event head; /* the control thread's: taken out, not yet written */
	bool has_head;
} from[THREADS];
static uint64_t lost; /* atomic */

/* ---- refusals ---- */

static const struct {
	const char *what, *help;
} whys[NAT_REFUSAL_WHYS] = {
	[NAT_NO_PORT] = { "all its ports are taken", "widen 'ports', or add a pool for some of the sources" },
	[NAT_NO_BLOCK] = { "all its blocks have connections", "make 'blocks' smaller, widen 'ports', or add a pool" },
	[NAT_TABLE_FULL] = { "a table is full ('show tables')",
			     "raise 'nat max-mappings', or 'ct max-tcp' and 'ct max-other'" },
	[NAT_MAX_PORTS] = { "the source has all ports it may have", "raise 'max-ports'" },
	[NAT_MAX_SESSIONS] = { "the source has all connections it may have", "raise 'max-sessions'" },
	[NAT_BLOCK_LIMIT] = { "the blocks of the source are full, and it may have no more", "raise 'block-limit'" },
};
static const int kinds[] = { -ENOSPC, -EDQUOT };
static uint64_t silent_until[NAT_POOLS_MAX][ARRAY_LEN(kinds)]; /* 0: no line yet */

static void write_refusal(unsigned p, int err, const struct nat_refusal *r)
{
	char pool[IP_STRLEN], inside[IP_STRLEN], zone[16] = "";

	if (r->zone)
		snprintf(zone, sizeof(zone), " in zone %u", r->zone);
	log_warn("nat pool %s refuses %s%s a %s connection: %s; %s (%llu refused so far, 'show pools')",
		 ip_print(&nat_pools[p].addr, pool), ip_print(&r->inside, inside), zone, proto_name(r->proto),
		 whys[r->why].what, whys[r->why].help, (unsigned long long)nat_refused(p, err));
}

static void write_refusals(uint64_t now_ns)
{
	struct nat_refusal r;

	for (unsigned p = 0; p < NAT_POOLS_MAX; p++)
		for (unsigned k = 0; k < ARRAY_LEN(kinds); k++)
			if (nat_refusal_take(p, kinds[k], &r)) {
				if (!ip_is_zero(&nat_pools[p].addr))
					write_refusal(p, kinds[k], &r);
				silent_until[p][k] = now_ns + NAT_LOG_REFUSED_S * NS_PER_S;
			} else if (silent_until[p][k] && now_ns >= silent_until[p][k]) {
				silent_until[p][k] = 0;
				nat_refusal_open(p, kinds[k]);
			}
}

/* ---- blocks ---- */

static void print_time(char *text, size_t size, uint64_t then_ns)
{
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	const uint64_t ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec - (clock_ns() - then_ns);
	const time_t s = (time_t)(ns / NS_PER_S);
	const size_t n = strftime(text, size, "%Y-%m-%dT%H:%M:%S", gmtime_r(&s, &tm));
	snprintf(text + n, size - n, ".%03uZ", (unsigned)(ns % NS_PER_S / 1000000));
}

static void write_line(const struct nat_block_event *e)
{
	static const char *const what[NAT_BLOCK_WHATS] = { [NAT_BLOCK_START] = "start",
							   [NAT_BLOCK_KEPT] = "kept",
							   [NAT_BLOCK_GIVEN] = "given",
							   [NAT_BLOCK_BACK] = "back" };
	char when[40], inside[IP_STRLEN] = "-", outside[IP_STRLEN];

	print_time(when, sizeof(when), e->time_ns);
	ip_print(&e->outside, outside);
	if (!ip_is_zero(&e->inside))
		ip_print(&e->inside, inside);
	log_info("nat-block seq=%llu time=%s event=%s pool=%s inside=%s outside=%s ports=%u-%u "
		 "protocols=tcp,udp,%s,sctp "
		 "zone=%u",
		 (unsigned long long)e->seq, when, what[e->what], outside, inside, outside, e->first, e->last,
		 ip_is4(&e->outside) ? "icmp" : "icmp6", e->zone);
}

/* The ring whose next event has the lowest number, -1: all are empty. */
static int next_ring(void)
{
	int best = -1;

	for (unsigned i = 0; i < THREADS; i++) {
		if (!from[i].has_head)
			from[i].has_head = ring_pop(&from[i].ring, &from[i].head, sizeof(from[i].head));
		if (from[i].has_head && (best < 0 || from[i].head.seq < from[best].head.seq))
			best = (int)i;
	}
	return best;
}

static bool write_some(unsigned max)
{
	int i = -1;

	for (unsigned n = 0; n < max && (i = next_ring()) >= 0; n++) {
		write_line(&from[i].head);
		from[i].has_head = false;
	}
	return i >= 0;
}

/* Any thread that has a slot. The control thread makes room itself. */
static void on_block(unsigned slot, const struct nat_block_event *e)
{
	while (!ring_push(&from[slot].ring, e, sizeof(*e))) {
		if (slot != SLOT_CONTROL) {
			__atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED);
			return;
		}
		write_some(LINES);
	}
}

void nat_log_tick(void)
{
	write_refusals(clock_ns());
	write_some(LINES);
}

int nat_log_init(struct err *e)
{
	for (unsigned i = 0; i < THREADS; i++)
		if (ring_init(&from[i].ring, EVENTS, sizeof(struct nat_block_event)))
			return err_set(e, -ENOMEM, "no memory for the log of NAT blocks");
	lost = 0;
	memset(silent_until, 0, sizeof(silent_until));
	nat_on_block = on_block;
	return 0;
}

void nat_log_fini(bool stops)
{
	if (nat_on_block == on_block) {
		if (stops)
			nat_block_end();
		while (write_some(LINES))
			;
	}
	nat_on_block = NULL;
	for (unsigned i = 0; i < THREADS; i++) {
		ring_fini(&from[i].ring);
		from[i].has_head = false;
	}
}

uint64_t nat_log_lost(void)
{
	return LOAD_RELAXED(&lost);
}
