/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines about blocks of ports: their form, their order, what is lost and what must not be. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "fwd/base/clock.h"
#include "fwd/nat_log.h"
#include "tables/nat_block.h"
#include "tests/unit/nat_kit.h"

static int setup(void **state)
{
	struct err e;
	clock_set(1000 * NS_PER_S);
	return open_all(state) || nat_log_init(&e);
}

static int teardown(void **state)
{
	nat_log_fini(false);
	clock_set(0);
	return close_all(state);
}

/* What 'f' writes to stderr. */
static char *lines_of(void (*f)(void))
{
	static char text[4 << 20];
	FILE *t = tmpfile();
	const int was = dup(STDERR_FILENO);

	assert_true(t && was >= 0);
	dup2(fileno(t), STDERR_FILENO);
	f();
	dup2(was, STDERR_FILENO);
	close(was);
	rewind(t);
	text[fread(text, 1, sizeof(text) - 1, t)] = 0;
	fclose(t);
	return text;
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;
	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

static unsigned add(const char *addr, uint16_t lo, uint16_t hi, uint16_t blocks)
{
	const struct nat_pool conf = {
		.addr = ip(addr), .port = -1, .port_lo = lo, .port_hi = hi, .filter = NAT_EIF, .blocks = blocks
	};
	struct err e = { "" };
	int p = nat_pool_add(&conf, &e);
	if (p < 0)
		fail_msg("%s", e.text);
	return (unsigned)p;
}

static uint32_t map_by(unsigned slot, const struct nat_key *k)
{
	uint32_t m;
	bool created;
	assert_int_equal(nat_map(slot, k, 1000, rnd64(), &m, &created), 0);
	return m;
}

static unsigned long long seq_of(const char *line)
{
	unsigned long long seq;
	assert_int_equal(sscanf(line, "sluiced: info: nat-block seq=%llu ", &seq), 1);
	return seq;
}

/* The line but for number and time, which have the form that they should have. */
static const char *rest_of(const char *line)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ ";
	const char *t = strstr(line, " time=") + 6;

	for (unsigned i = 0; form[i]; i++)
		assert_true(form[i] == 'd' ? t[i] >= '0' && t[i] <= '9' : t[i] == form[i]);
	return t + strlen(form);
}

static bool begins(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

static void test_form(void **state)
{
	const struct nat_key six = { .inside = ip("fd00::1"), .inside_port = 80, .proto = PROTO_TCP, .zone = 7 };
	(void)state;
	unsigned p = add("198.51.100.1", 1024, 1039, 16), q = add("2001:db8::1", 2048, 4095, 2048);
	struct nat_key k = key_of(p, PROTO_UDP, 1, 5000), k6 = six;
	uint32_t m = map_by(3, &k);
	nat_unref(1, m);
	k6.pool = (uint8_t)q;
	map_by(0, &k6);
	nat_block_tick(1000);
	const char *line = lines_of(nat_log_tick), *want[] = {
		"event=start pool=198.51.100.1 inside=- outside=198.51.100.1 ports=1024-1039 "
		"protocols=tcp,udp,icmp,sctp "
		"zone=0\n",
		"event=start pool=2001:db8::1 inside=- outside=2001:db8::1 ports=2048-4095 "
		"protocols=tcp,udp,icmp6,sctp "
		"zone=0\n",
		"event=given pool=198.51.100.1 inside=10.0.0.1 outside=198.51.100.1 ports=1024-1039 "
		"protocols=tcp,udp,icmp,sctp zone=0\n",
		"event=given pool=2001:db8::1 inside=fd00::1 outside=2001:db8::1 ports=2048-4095 "
		"protocols=tcp,udp,icmp6,sctp zone=7\n",
		"event=back pool=198.51.100.1 inside=10.0.0.1 outside=198.51.100.1 ports=1024-1039 "
		"protocols=tcp,udp,icmp,sctp zone=0\n",
	};
	const unsigned long long first = seq_of(line);
	for (unsigned i = 0; i < ARRAY_LEN(want); i++) {
		assert_int_equal(seq_of(line), first + i);
		line = rest_of(line);
		if (!begins(line, want[i]))
			fail_msg("%s instead of %s", line, want[i]);
		line += strlen(want[i]);
	}
	assert_string_equal(line, "");
	assert_string_equal(lines_of(nat_log_tick), "");
}

static void stop(void)
{
	nat_log_fini(true);
}

/* A clean stop ends what is given, also more than a ring holds. */
static void test_stop(void **state)
{
	(void)state;
	unsigned pools[2] = { add("198.51.100.1", 1, 65535, 16), add("198.51.100.2", 1, 65535, 16) };
	for (uint32_t n = 0; n < 2 * 4095; n++) {
		struct nat_key k = key_of(pools[n / 4095], PROTO_UDP, n, 5000);
		map_by(n % 3, &k);
	}
	assert_int_equal(nat_log_lost(), 0);
	const char *text = lines_of(stop);
	assert_int_equal(count(text, " event=given "), 2 * 4095);
	assert_int_equal(count(text, " event=back "), 2 * 4095);
	assert_int_equal(count(text, "\n"), 2 + 4 * 4095);
}

/* A worker does not wait: what has no room is counted, and missing from the numbers. */
static void test_lost(void **state)
{
	enum { RING = 4096, MORE = 10 };
	unsigned long long seq = 0, gap = 0;
	(void)state;
	unsigned pools[2] = { add("198.51.100.1", 1, 65535, 16), add("198.51.100.2", 1, 65535, 16) };
	for (uint32_t n = 0; n < RING + MORE; n++) {
		struct nat_key k = key_of(pools[n / 4095], PROTO_UDP, n, 5000);
		map_by(0, &k);
	}
	assert_int_equal(nat_log_lost(), MORE);
	struct nat_key k = key_of(pools[1], PROTO_UDP, RING + MORE, 5000);
	map_by(1, &k); /* another worker has a ring of its own */
	assert_int_equal(nat_log_lost(), MORE);
	for (unsigned ticks = 0; ticks < 2; ticks++)
		for (char *line = lines_of(nat_log_tick); *line; line = strchr(line, '\n') + 1) {
			gap += seq ? seq_of(line) - seq - 1 : 0;
			seq = seq_of(line);
		}
	assert_int_equal(gap, MORE);
	/* room again */
	k.inside = ip("10.9.9.9");
	map_by(0, &k);
	assert_int_equal(count(lines_of(nat_log_tick), "inside=10.9.9.9"), 1);
}

/* What the operator is told of refusals: who, why, and what helps; for each pool and kind once a minute. */
static void test_refused(void **state)
{
	static const struct {
		struct nat_pool conf;
		unsigned n; /* connections that find their place */
		bool one_port;
		int err;
		const char *line;
	} t[] = {
		{ { .port_hi = 1025 }, 2, false, -ENOSPC, "all its ports are taken; widen 'ports'" },
		{ { .port_hi = 1055, .blocks = 16, .block_limit = 1 },
		  2,
		  false,
		  -ENOSPC,
		  "all its blocks have connections; make" },
		{ { .port_hi = 1055, .blocks = 16, .block_limit = 1 },
		  16,
		  false,
		  -EDQUOT,
		  "have no more; raise 'block-limit'" },
		{ { .port_hi = 1055, .max_ports = 1 }, 1, false, -EDQUOT, "all ports it may have; raise 'max-ports'" },
		{ { .port_hi = 1055, .max_sessions = 3 }, 3, true, -EDQUOT, "it may have; raise 'max-sessions'" },
	};
	struct err e = { "" };
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		struct nat_pool conf = t[i].conf;
		char want[128];
		uint32_t m;
		bool created;
		conf.addr = ip_from4(htonl(0xc6336401 + i));
		conf.port = -1;
		conf.port_lo = 1024;
		conf.filter = NAT_EIF;
		const int p = nat_pool_add(&conf, &e);
		assert_true(p >= 0);
		const bool one_host = t[i].err == -EDQUOT;
		struct nat_key k = key_of((unsigned)p, PROTO_UDP, 1, 5000);
		for (unsigned n = 0; n < t[i].n; n++) {
			k = key_of((unsigned)p, PROTO_UDP, one_host ? 1 : n,
				   (uint16_t)(5000 + (t[i].one_port ? 0 : n)));
			map_by(n % 3, &k);
		}
		k = key_of((unsigned)p, PROTO_UDP, one_host ? 1 : 7, t[i].one_port ? 5000 : 6000);
		k.zone = one_host ? 0 : 3;
		assert_int_equal(nat_map(2, &k, 1000, rnd64(), &m, &created), t[i].err);
		assert_int_equal(nat_map(1, &k, 1000, rnd64(), &m, &created), t[i].err);
		const char *lines = lines_of(nat_log_tick);
		snprintf(want, sizeof(want),
			 "warning: nat pool 198.51.100.%u refuses 10.0.0.%s a udp connection: ", i + 1,
			 one_host ? "1" : "7 in zone 3");
		assert_int_equal(count(lines, "warning"), 1);
		assert_int_equal(count(lines, want), 1);
		assert_int_equal(count(lines, t[i].line), 1);
		assert_int_equal(count(lines, "(2 refused so far"), 1);
		/* silence, then about one that is refused then */
		nat_map(1, &k, 1000, rnd64(), &m, &created);
		assert_int_equal(count(lines_of(nat_log_tick), "warning"), 0);
		clock_set(clock_ns() + NAT_LOG_REFUSED_S * NS_PER_S);
		assert_int_equal(count(lines_of(nat_log_tick), "warning"), 0);
		nat_map(2, &k, 1000, rnd64(), &m, &created);
		assert_int_equal(count(lines_of(nat_log_tick), "(4 refused so far"), 1);
	}
}

static int setup_small(void **state)
{
	nat_max_mappings = 3;
	return setup(state);
}

static int teardown_small(void **state)
{
	nat_max_mappings = 512 * 1024;
	return teardown(state);
}

/* It has ports, but no room to note who has them; one that was removed meanwhile refuses nobody. */
static void test_refused_full(void **state)
{
	const struct ipaddr a = ip("198.51.100.1");
	struct err e = { "" };
	uint32_t m;
	bool created;
	(void)state;
	unsigned p = add("198.51.100.1", 1024, 65535, 0);
	struct nat_key k;
	for (uint32_t n = 0; n < 3; n++) {
		k = key_of(p, PROTO_TCP, n, 5000);
		map_by(0, &k);
	}
	k = key_of(p, PROTO_TCP, 3, 5000);
	assert_int_equal(nat_map(0, &k, 1000, rnd64(), &m, &created), -ENOSPC);
	assert_int_equal(count(lines_of(nat_log_tick), "refuses 10.0.0.3 a tcp connection: a table is full"), 1);
	clock_set(clock_ns() + NAT_LOG_REFUSED_S * NS_PER_S);
	nat_log_tick();
	assert_int_equal(nat_pool_del(&a, &e), 0);
	assert_int_equal(nat_map(0, &k, 1000, rnd64(), &m, &created), -ENOSPC);
	assert_int_equal(count(lines_of(nat_log_tick), "refuses"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_form, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused_full, setup_small, teardown_small),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
