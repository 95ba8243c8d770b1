/* SPDX-License-Identifier: BSD-2-Clause */
/* A million connections live and die in a whole gateway, by a clock of their own: opened by one side or both, half closed, reset or
 * given up at any moment, with packets repeated, swapped, lost and out of place; TCP, UDP and ICMP echo, both families, masqueraded,
 * let in by mappings, balanced, from container to container. Tables and pools are small, so that they are full at times.
 * Now and then all counts are taken anew by hand. When all time-outs have passed, nothing may be left of any of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fwd/base/clock.h"
#include "fwd/base/rcu.h"
#include "fwd/resolve.h"
#include "tables/affinity.h"
#include "tables/ct.h"
#include "tables/nat.h"
#include "tables/service.h"
#include "tests/support/check.h"
#include "tests/unit/lives_kit.h"

#if defined(__SANITIZE_ADDRESS__)
#define SLOW 1
#elif defined(__has_feature)
#define SLOW __has_feature(address_sanitizer)
#else
#define SLOW 0
#endif
#if SLOW
enum { CONNECTIONS = 10 * 1000, CHECKS = 10, CT_TCP = 512, CT_OTHER = 256 };
#else
enum { CONNECTIONS = 1000 * 1000, CHECKS = 100, CT_TCP = 4096, CT_OTHER = 2048 };
#endif
enum { BATCH = 32, POOL_LO = 40000, POOL_SIZE = 2048 };

static const uint8_t plots[][SCRIPT_MAX] = {
	{ O | SYN, P | SYN | ACK, O | ACK, O | ACK, P | ACK, O | FIN | ACK, P | ACK, P | FIN | ACK, O | ACK },
	{ O | SYN, P | SYN | ACK, O | ACK, P | ACK, P | FIN | ACK, O | FIN | ACK, P | ACK },
	/* both ends at once: open, close */
	{ O | SYN, P | SYN, O | SYN | ACK, P | SYN | ACK, O | ACK, O | FIN | ACK, P | FIN | ACK, O | ACK, P | ACK },
	/* half closed, and much to say */
	{ O | SYN, P | SYN | ACK, O | ACK, O | FIN | ACK, P | ACK, P | ACK, O | ACK, P | ACK, O | ACK, P | FIN | ACK },
	{ O | SYN, P | RST | ACK },
	{ O | SYN, P | SYN | ACK, O | RST },
	{ O | SYN, P | SYN | ACK, O | ACK, O | ACK, O | RST | ACK },
	{ O | SYN, P | SYN | ACK, O | ACK, P | ACK, P | RST, O | ACK, P | RST },
	{ O | SYN, O | SYN, O | SYN },
	{ O | SYN },
	/* older than the gateway */
	{ O | ACK, P | ACK, O | ACK, P | FIN | ACK, O | FIN | ACK, P | ACK },
	{ O | SYN, P | ERROR },
	{ O | SYN, P | SYN | ACK, O | ACK },
};

static uint64_t rnd_state = 5;
static struct {
	uint32_t begun, arrived, astray, mapped;
} seen;

static uint32_t rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)(rnd_state >> 33) % n;
}

/* ---- what arrives ---- */

static bool is_reverse(const struct way *a, const struct way *b)
{
	return ip_eq(&a->src, &b->dst) && ip_eq(&a->dst, &b->src) && a->sport == b->dport && a->dport == b->sport &&
	       a->endpoint == b->endpoint;
}

static void take(struct port *p, const uint8_t *f, uint32_t n)
{
	struct life *l;
	unsigned side;
	struct way w;
	if (seen.arrived++ % 16 == 0)
		assert_int_equal(check_frame(f, n) & (FRAME_SHORT | FRAME_IP_CSUM | FRAME_L4_CSUM), 0);
	if (!read_frame(p, f, &w, &l, &side))
		return;
	if (side == 0) {
		l->way[1] = (struct way){ w.dst, w.src, w.dport, w.sport, w.endpoint };
		l->known = true;
	} else if (!is_reverse(&w, &l->way[0])) {
		seen.astray++; /* its mapping went and came to somebody else */
	}
}

static void settle(void)
{
	uint8_t f[BOX_FRAME_MAX];
	uint32_t n;
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < n_workers; k++)
			worker_run_once(workers[k]);
	while ((n = box_take(gate, f)))
		take(gate, f, n);
	while ((n = box_take(up0, f)))
		take(up0, f, n);
}

static void advance(uint64_t ns)
{
	box_advance(ns);
	settle();
}

/* ---- lives ---- */

static void insert(struct life *l, unsigned at, uint8_t event)
{
	if (l->n == SCRIPT_MAX)
		return;
	memmove(&l->script[at + 1], &l->script[at], l->n - at);
	l->script[at] = event;
	l->n++;
}

static void mutate(struct life *l)
{
	static const uint8_t odd[] = { RST, RST | ACK, SYN, SYN | ACK, FIN | ACK, ACK, SYN | FIN, ERROR };
	const unsigned at = rnd(l->n);
	switch (rnd(6)) {
	case 0: /* again */
		insert(l, at, l->script[at]);
		break;
	case 1: /* in the wrong order */
		if (at) {
			uint8_t e = l->script[at];
			l->script[at] = l->script[at - 1];
			l->script[at - 1] = e;
		}
		break;
	case 2: /* lost */
		memmove(&l->script[at], &l->script[at + 1], l->n - at - 1);
		l->n--;
		break;
	case 3: /* given up */
		l->n = (uint8_t)at;
		break;
	default:
		insert(l, at, odd[rnd(ARRAY_LEN(odd))] | (rnd(2) ? O : P));
		break;
	}
}

static void write_script(struct life *l)
{
	const uint8_t *plot = plots[rnd(ARRAY_LEN(plots))];
	l->at = 0;
	l->n = (uint8_t)strlen((const char *)plot);
	memcpy(l->script, plot, l->n);
	for (unsigned n = rnd(4); n && l->n; n--)
		mutate(l);
}

static struct ipaddr inside(uint32_t endpoint, bool v6)
{
	struct ipaddr a;
	ip_parse(v6 ? "2001:db8:1::" : "10.1.0.0", &a);
	a.b[15] = v6 ? (uint8_t)(endpoint == 10 ? 0x10 : 0x11) : (uint8_t)endpoint;
	return a;
}

static struct ipaddr address(const char *s, uint32_t host)
{
	struct ipaddr a;
	ip_parse(s, &a);
	a.b[15] = (uint8_t)host;
	return a;
}

/* Somebody from whom a mapping exists; NULL: not found at once. */
static const struct life *mapped_life(uint8_t proto)
{
	for (unsigned tries = 0; tries < 8; tries++) {
		const struct life *l = &lives[rnd(LIVES)];
		if (l->mapped && l->known && l->proto == proto && !l->v6)
			return l;
	}
	return NULL;
}

static void be_born(struct life *l)
{
	static const uint8_t protos[] = {
		PROTO_TCP, PROTO_TCP, PROTO_TCP, PROTO_TCP, PROTO_UDP, PROTO_UDP, PROTO_ICMP
	};
	const uint32_t place = (uint32_t)(l - lives), kind = rnd(10), endpoint = 10 + rnd(2);
	const struct life *other;
	*l = (struct life){ .stamp = l->stamp + 1, .proto = protos[rnd(ARRAY_LEN(protos))], .v6 = rnd(4) == 0 };
	struct way *w = &l->way[0];
	/* few ports: who comes later meets what is left of others */
	w->sport = (uint16_t)(POOL_LO + (7 * place + rnd(4)) % (POOL_SIZE + POOL_SIZE / 4));
	w->dport = (uint16_t)(1024 + place);
	w->src = inside(endpoint, l->v6);
	w->dst = address(l->v6 ? "2001:db8:99::" : "203.0.113.0", 1 + rnd(3));
	w->endpoint = endpoint;
	if (kind == 0 && l->proto != PROTO_ICMP) { /* a stranger, or the other container, comes in by a mapping */
		other = mapped_life(l->proto);
		if (other) {
			if (rnd(2)) {
				w->src = address("203.0.113.0", 100 + rnd(3));
				w->endpoint = 0;
			}
			w->dst = other->way[1].dst;
			w->dport = other->way[1].dport;
			l->v6 = false;
			w->src = w->endpoint ? inside(endpoint, false) : w->src;
			seen.mapped++;
		}
	} else if (kind <= 2 && l->proto != PROTO_ICMP) { /* a service, from outside or inside */
		if (rnd(2)) {
			w->src = address(l->v6 ? "2001:db8:99::" : "203.0.113.0", 1 + rnd(30));
			w->endpoint = 0;
		}
		w->dst = address(l->v6 ? "2001:db8:f0::" : "10.96.0.0", 0x50);
		w->dport = l->proto == PROTO_TCP ? 80 : 53;
	} else if (kind == 3) {
		w->dst = inside(21 - endpoint, l->v6);
	} else {
		l->mapped = true;
	}
	if (l->proto == PROTO_ICMP) {
		l->proto = l->v6 ? PROTO_ICMP6 : PROTO_ICMP;
		w->dport = 0;
	}
	write_script(l);
	seen.begun++;
}

static void live_on(struct life *l)
{
	uint8_t f[FRAME];
	if (l->at >= l->n) {
		be_born(l);
		return;
	}
	const uint8_t event = l->script[l->at++], flags = event & (uint8_t) ~(O | P);
	const unsigned side = event & P ? 1 : 0;
	if ((side && !l->known) || (flags & ERROR && (!side || l->v6)))
		return;
	const uint32_t n = build(l, side, flags, f);
	assert_int_equal(mem_port_put(l->way[side].endpoint ? gate : up0, 0, f, n), 0);
}

/* ---- the counts, by hand ---- */

static uint32_t *count_new(uint32_t n)
{
	uint32_t *c = calloc(n + 1, sizeof(*c));
	assert_non_null(c);
	return c;
}

static void count_conns(bool v6, uint32_t *refs, uint32_t *backends)
{
	const struct ct *c = ct_of(v6);
	uint32_t n[2] = { 0 };
	for (uint32_t i = ct_next(c, 0); i; i = ct_next(c, i)) {
		const struct conn *k = ct_conn(c, i);
		n[k->proto == PROTO_TCP]++;
		refs[k->flags & CONN_SNAT ? k->mapping : 0]++;
		refs[k->flags & CONN_INBOUND_MAP ? k->dnat : 0]++;
		if ((k->flags & (CONN_SERVICE | CONN_LEFT)) == CONN_SERVICE)
			backends[k->dnat]++;
	}
	assert_int_equal(c->n_tcp, n[1]);
	assert_int_equal(c->n_other, n[0]);
}

static uint32_t bits_in(const struct nat_pool *p, unsigned which)
{
	uint32_t n = 0;
	for (unsigned i = 0; i < STEER_BITMAP_SIZE / 8; i++)
		n += (uint32_t)__builtin_popcountll(p->bits[which][i]);
	return n;
}

enum { MAPPINGS_MAX = 1 << 20, BACKENDS_MAX = 1 << 17 };

/* Returns the connections that are left. */
static uint32_t check_counts(void)
{
	uint32_t *refs = count_new(MAPPINGS_MAX), *backends = count_new(BACKENDS_MAX),
		 used[NAT_POOLS_MAX][STEER_PROTOS] = { 0 };
	uint32_t n_mappings = 0;
	count_conns(false, refs, backends);
	count_conns(true, refs, backends);
	for (uint32_t m = nat_next(0); m; m = nat_next(m)) {
		assert_int_equal(nat_at(m)->refs, refs[m]);
		assert_true(refs[m] > 0);
		used[nat_at(m)->pool][nat_which(nat_at(m)->proto)]++;
		n_mappings++;
	}
	assert_int_equal(nat_count(), n_mappings);
	for (unsigned p = 0; p < NAT_POOLS_MAX; p++)
		for (unsigned which = 0; which < STEER_PROTOS && !ip_is_zero(&nat_pools[p].addr); which++) {
			assert_int_equal(bits_in(&nat_pools[p], which), used[p][which]);
			assert_int_equal(nat_pools[p].in_use[which], used[p][which]);
		}
	for (uint32_t s = service_next(0); s; s = service_next(s))
		for (uint32_t b = backend_first(s); b; b = backend_at(b)->next)
			assert_int_equal(backend_at(b)->connections, backends[b]);
	free(refs);
	free(backends);
	return ct_count(&ct4) + ct_count(&ct6);
}

/* ---- the test ---- */

static void command(const char *text)
{
	struct err e = { "" };
	char copy[256];
	FILE *none = fopen("/dev/null", "w");
	snprintf(copy, sizeof(copy), "%s\n", text);
	assert_non_null(none);
	if (box_commands("lives", copy, none, &e))
		fail_msg("%s: %s", text, e.text);
	fclose(none);
	settle();
}

/* What cuts connections, or lets them begin again with somebody else. */
static void change_something(unsigned n)
{
	static const char *const changes[] = {
		"set backend 10.96.0.80:80/tcp 10.1.0.10:8080 state down",
		"add policy endpoint 11 ingress deny identity 1001 name cut",
		"set backend 10.96.0.80:80/tcp 10.1.0.10:8080 state active",
		"set backend 10.96.0.80:80/tcp 10.1.0.11:8080 state draining",
		"del policy endpoint 11 ingress deny identity 1001",
		"set backend 10.96.0.80:80/tcp 10.1.0.11:8080 state active",
	};
	command(changes[n % ARRAY_LEN(changes)]);
}

/* Tides: the clock runs slowly, and everything is full, or fast. */
static void pass_time(unsigned step)
{
	static const uint32_t pace_ms[] = { 10, 1000, 100, 300, 700 };
	advance((uint64_t)pace_ms[step / 16 % ARRAY_LEN(pace_ms)] * 1000000 * (1 + rnd(2)));
	if (step % 32 == 31)
		advance((61 + rnd(300)) * NS_PER_S);
}

static void live_and_die(void **state)
{
	(void)state;
	unsigned checks = 0, most = 0;
	for (unsigned i = 0; i < LIVES; i++)
		be_born(&lives[i]);
	for (unsigned step = 0; seen.begun < CONNECTIONS; step++) {
		for (unsigned batch = 0; batch < 32; batch++) {
			for (unsigned i = 0; i < BATCH; i++)
				live_on(&lives[rnd(LIVES)]);
			settle();
		}
		pass_time(step);
		if (step % 40 == 39)
			change_something(step / 40);
		if (seen.begun >= (uint64_t)CONNECTIONS / CHECKS * checks) {
			uint32_t n = check_counts();
			most = MAX(most, n);
			checks++;
		}
	}
	/* it was what it should be: full tables, mappings found from outside, replies that found home */
	assert_true(most > 0);
	assert_true(seen.mapped > CONNECTIONS / 1000);
	assert_true(seen.arrived > 2 * seen.begun);
	assert_true(seen.astray * 50 < seen.arrived);
	print_message("%u lives, %u arrivals, %u astray, %u by mappings, most %u, evicted %lu, full %lu, no port %lu\n",
		      seen.begun, seen.arrived, seen.astray, seen.mapped, most, ct4.evicted + ct6.evicted,
		      workers_drops(DROP_CT_FULL).packets, workers_drops(DROP_NAT_NO_PORT).packets);
}

static void nothing_is_left(void **state)
{
	(void)state;
	struct err e = { "" };
	struct affinity_key k;
	struct affinity v;
	uint32_t longest = 0;
	for (unsigned i = 0; i < CT_TIMEOUTS; i++)
		longest = MAX(longest, ct_timeouts[i]);
	advance((uint64_t)(longest + 1) * NS_PER_S);
	/* each connection is looked at once in 10 s */
	for (unsigned i = 0; i < 20 && ct_count(&ct4) + ct_count(&ct6); i++)
		advance(NS_PER_S);
	assert_int_equal(check_counts(), 0);
	assert_int_equal(nat_count(), 0);
	assert_int_equal(nat_permit_count(), 0);
	for (uint32_t i = affinity_next(0, &k, &v); i; i = affinity_next(i, &k, &v))
		assert_int_equal(v.live, 0);
	for (unsigned i = 0; i < 4; i++)
		rcu_poll_deferred();
	for (unsigned v6 = 0; v6 < 2; v6++)
		assert_int_equal(ct_next(ct_of(v6), 0), 0);
	if (!box_balanced(&e))
		fail_msg("%s", e.text);
}

static void neighbor(const char *addr)
{
	struct mac m = { { 2, 0, 0, 0, 0, 0x99 } };
	struct ipaddr a;
	assert_true(ip_parse(addr, &a));
	resolve_kernel_neighbor(up0->ifindex, &a, &m, true, false);
}

static const char config[] =
	"set worker count 2\n"
	"add port up0 mem\n"
	"add endpoint 10 device c10 ipv4 10.1.0.10 ipv6 2001:db8:1::10 mac 02:00:00:00:0a:0a identity 1001\n"
	"add endpoint 11 device c11 ipv4 10.1.0.11 ipv6 2001:db8:1::11 mac 02:00:00:00:0a:0b identity 1002\n"
	"add nat pool 198.51.100.1 ports 40000-42047 source 10.1.0.10/32 filter eif\n"
	"add nat pool 198.51.100.2 ports 40000-41023 source 10.1.0.11/32 filter adf\n"
	"add nat pool 2001:db8:a::1 ports 40000-42047 filter adf\n"
	"add service 10.96.0.80:80/tcp algorithm leastconn affinity 60\n"
	"add backend 10.96.0.80:80/tcp 10.1.0.10:8080\n"
	"add backend 10.96.0.80:80/tcp 10.1.0.11:8080\n"
	"add service 10.96.0.80:53/udp algorithm random\n"
	"add backend 10.96.0.80:53/udp 10.1.0.10:8080\n"
	"add backend 10.96.0.80:53/udp 203.0.113.53:53\n"
	"add service [2001:db8:f0::50]:80/tcp\n"
	"add backend [2001:db8:f0::50]:80/tcp [2001:db8:1::10]:8080\n"
	"add policy endpoint 11 ingress allow any\n";

static int setup(void **state)
{
	(void)state;
	const struct box_limits limits = { .frames = 4096, .ct_tcp = CT_TCP, .ct_other = CT_OTHER };
	struct err e = { "" };
	char text[sizeof(config)];
	FILE *none = fopen("/dev/null", "w");
	memcpy(text, config, sizeof(config));
	if (!none || box_open(&limits, &e) || box_commands("lives", text, none, &e)) {
		print_error("%s\n", e.text);
		return -1;
	}
	fclose(none);
	gate = ports[PORT_GATE];
	up0 = port_by_name("up0");
	if (box_local("192.0.2.1", up0, &e) || box_local("2001:db8:f::1", up0, &e) ||
	    box_route(true, "192.0.2.0/24", up0, NULL, &e) || box_route(true, "2001:db8:f::/64", up0, NULL, &e) ||
	    box_route(true, "0.0.0.0/0", up0, "192.0.2.254", &e) ||
	    box_route(true, "::/0", up0, "2001:db8:f::ff", &e)) {
		print_error("%s\n", e.text);
		return -1;
	}
	neighbor("192.0.2.254");
	neighbor("2001:db8:f::ff");
	box_run();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	struct err e = { "" };
	if (box_close(&e))
		return 0;
	print_error("%s\n", e.text);
	return -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(live_and_die),
		cmocka_unit_test(nothing_is_left),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
