/* SPDX-License-Identifier: BSD-2-Clause */
/* Adoption of fragmented datagrams: which come back after a crash, in which order they go, and that no byte of a former arena
 * does harm. */
#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/nat_kit.h"

#include "tables/adopt.h"
#include "tables/affinity.h"
#include "tables/ct.h"
#include "tables/endpoint.h"
#include "tables/frag.h"
#include "tables/ipcache.h"
#include "tables/proxy.h"
#include "tables/service.h"
#include "tables/tunnel.h"
#include "tests/unit/adopt_kit.h"

enum { NOW = 5000, OWNERS = 2, DAMAGE_ROUNDS = 100 };

static void start(void)
{
	open_tables(64, 64);
}

static int setup(void **state)
{
	(void)state;
	if (first_process(12))
		return -1;
	start();
	return 0;
}

static struct ipaddr inside(uint32_t n)
{
	return ip_from4(htonl(0x0a000000 + n + 1));
}

static struct frag_key datagram_key(uint32_t n, uint32_t in)
{
	return (struct frag_key){
		.src = inside(n), .dst = ip("203.0.113.1"), .id = n & 0xffff, .in = in, .proto = PROTO_UDP
	};
}

static uint32_t datagram(uint32_t n, uint32_t in, enum frag_state is, uint32_t created)
{
	struct frag_key k = datagram_key(n, in);
	unsigned owner = frag_owner(&k, OWNERS);
	uint32_t row = frag_row(owner, FRAG_CAPACITY / OWNERS, &k, created, UINT32_MAX);
	assert_true(row);
	assert_int_equal(frag_add(frag_at(row), 0, 1480, true), FRAG_FITS);
	frag_ports_set(frag_at(row),
		       &(struct frag_ports){ .sport = htons(7), .dport = htons(9), .proto = PROTO_UDP, .state = is });
	return row;
}

static uint32_t datagram_row(uint32_t n, uint32_t in)
{
	struct frag_key k = datagram_key(n, in);
	return table_find(&frag_table, &k);
}

/* Its owners go on with every datagram that came back, oldest first, and all of them go. */
static void check_whole(void)
{
	uint32_t n = 0;
	for (uint32_t i = frag_next(0); i; i = frag_next(i), n++) {
		const struct frag_value *v = frag_at(i);
		assert_true(v->n && v->n <= FRAG_RANGES && v->ports.p.state == FRAG_OPEN && !frag_complete(v));
	}
	assert_int_equal(n, adoption.datagrams);
	for (unsigned i = 0; i < OWNERS; i++)
		frag_clear(i);
	assert_int_equal(frag_count(), 0);
}

static void test_datagrams(void **state)
{
	(void)state;
	struct err e = { "" };
	struct endpoint ep = { .id = 7, .identity = 300, .n_addrs = 1, .addr = { ip("10.9.0.1") } };
	struct vtep v = { .addr = ip("192.0.2.1"), .port = 4789 };
	struct ipaddr r1 = ip("192.0.2.2"), r2 = ip("192.0.2.3");
	vtep_add(&v, &e);
	uint32_t first = remote_get(&(struct remote_name){ .addr = r2 }, &e),
		 second = remote_get(&(struct remote_name){ .addr = r1 }, &e);
	datagram(1, FLOW_IN_HOST, FRAG_WAITS, NOW - 1);
	datagram(2, FLOW_IN_HOST, FRAG_REFUSED, NOW - 1);
	datagram(3, FLOW_IN_HOST, FRAG_OPEN, NOW + 2);
	datagram(4, FLOW_IN_ENDPOINT | 8, FRAG_OPEN, NOW - 1);
	datagram(5, FLOW_IN_REMOTE | first, FRAG_OPEN, NOW - 1);
	uint32_t whole = datagram(6, FLOW_IN_HOST, FRAG_OPEN, NOW - 1);
	assert_int_equal(frag_add(frag_at(whole), 1480, 100, false), FRAG_FITS);
	uint32_t wrong = datagram(7, FLOW_IN_HOST, FRAG_OPEN, NOW - 1);
	frag_at(wrong)->got += 8;
	uint32_t end = datagram(8, FLOW_IN_HOST, FRAG_OPEN, NOW - 2);
	assert_int_equal(frag_add(frag_at(end), 2960, 101, false), FRAG_FITS);
	datagram(9, FLOW_IN_ENDPOINT | 7, FRAG_OPEN, NOW - 4);
	datagram(10, FLOW_IN_REMOTE | second, FRAG_OPEN, NOW - 3);
	for (unsigned i = 11; i < 40; i++) /* youngest first */
		datagram(i, FLOW_IN_HOST, FRAG_OPEN, NOW - i);
	crash();
	start();
	assert_int_equal(endpoint_set(&ep, &e), 0);
	vtep_add(&v, &e);
	uint32_t now = remote_get(&(struct remote_name){ .addr = r1 }, &e);
	assert_int_not_equal(now, second);
	adopt_state(NOW, OWNERS);
	assert_int_equal(adoption.datagrams, 3 + 29);
	uint32_t row = datagram_row(10, FLOW_IN_REMOTE | now);
	assert_true(row && frag_at(row)->got == 1480);
	assert_int_equal(datagram_row(10, FLOW_IN_REMOTE | second), 0);
	/* the row goes on where it was: the missing piece makes it whole */
	row = datagram_row(8, FLOW_IN_HOST);
	assert_true(row && frag_at(row)->ports.p.dport == htons(9));
	assert_int_equal(frag_add(frag_at(row), 1480, 1480, true), FRAG_FITS);
	assert_true(frag_complete(frag_at(row)));
	frag_sub(frag_at(row), 1480, 1480, true);
	/* each owner's oldest goes first */
	for (uint32_t i = 39; i > 10; i--) {
		struct frag_key k = *frag_key_at(datagram_row(i, FLOW_IN_HOST));
		unsigned owner = frag_owner(&k, OWNERS);
		uint32_t before = frag_count();
		k.id += 1000;
		assert_true(frag_row(owner, 1000, &k, NOW, i));
		assert_int_equal(datagram_row(i, FLOW_IN_HOST), 0);
		assert_int_equal(frag_count(), before);
	}
	for (unsigned i = 0; i < OWNERS; i++)
		frag_clear(i);
	assert_int_equal(frag_count(), 0);
}

static void damage(void)
{
	enum { ROW = sizeof(struct frag_key) + sizeof(struct frag_value), FRONT = 88 };
	char path[128];
	snprintf(path, sizeof(path), "%s/frag.arena", dir);
	int fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	for (unsigned i = 0; i < 500; i++) {
		uint8_t b = (uint8_t)(rnd(4) ? rnd(256) : 0xff);
		/* key, value, first ranges; behind those that were adopted and cleared, whose indices rest */
		assert_int_equal(pwrite(fd, &b, 1, (off_t)(4096 + rnd(270) * ROW + rnd(FRONT))), 1);
	}
	close(fd);
}

static void test_damage(void **state)
{
	(void)state;
	unsigned back = 0;
	for (unsigned round = 0; round < DAMAGE_ROUNDS; round++) {
		for (unsigned i = 0; i < 100; i++)
			datagram(i, FLOW_IN_HOST, FRAG_OPEN, NOW - 5);
		crash();
		damage();
		start();
		adopt_state(NOW, OWNERS);
		back += adoption.datagrams;
		check_whole();
	}
	assert_in_range(back, DAMAGE_ROUNDS, 90 * DAMAGE_ROUNDS); /* both happen */
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_datagrams, setup, last_process),
		cmocka_unit_test_setup_teardown(test_damage, setup, last_process),
	};
	return cmocka_run_group_tests_name("adopt_frag", tests, NULL, NULL);
}
