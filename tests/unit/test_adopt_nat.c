/* SPDX-License-Identifier: BSD-2-Clause */
/* Adoption of translations that more than their key tells: shared ports, quotas. */
#include "tests/unit/nat_kit.h"

#include "fwd/decide.h"
#include "tables/adopt.h"
#include "tables/affinity.h"
#include "tables/ct.h"
#include "tables/endpoint.h"
#include "tables/frag.h"
#include "tables/ipcache.h"
#include "tables/nat_pool.h"
#include "tables/proxy.h"
#include "tables/service.h"
#include "tables/tunnel.h"
#include "tests/unit/adopt_kit.h"

enum { NOW = 5000, OWNERS = 2, OUT_PORT = 4000 };
static struct nat_pool conf;

static unsigned start(void)
{
	struct err e = { "" };
	open_tables(64, 64);
	ct_on_delete = decide_connection_gone;
	adoption = (struct adoption){ .tried = false };
	int p = nat_pool_add(&conf, &e);
	if (p < 0)
		fail_msg("%s", e.text);
	return (unsigned)p;
}

static int setup(void **state)
{
	(void)state;
	return first_process(13);
}

static void adopt_now(void)
{
	adopt_state(NOW, OWNERS);
	nat_bits_settle();
}

static struct nat_remote remote(uint32_t n)
{
	return (struct nat_remote){ .addr = ip_from4(htonl(0xcb007100 + n)), .port = 80 };
}

static void write_key(uint32_t record, const struct ipaddr *src, uint16_t sp, const struct ipaddr *dst, uint16_t dp)
{
	struct flow4 *f = ct_flow4(record);
	f->key = (struct flow_key4){ src->w[3], dst->w[3], htons(sp), htons(dp), PROTO_TCP };
	f->seen = NOW - 5;
}

/* Host 'n' to remote 'n', from port 'sp'. */
static void connect_(unsigned p, uint32_t n, uint16_t sp)
{
	const struct nat_remote to = remote(n);
	struct nat_key key = key_of(p, PROTO_TCP, n, sp);
	uint32_t conn = ct_alloc(&ct4, 0, PROTO_TCP, NOW - 10), present;
	struct conn *k = ct_conn(&ct4, conn);
	k->state = CT_ESTABLISHED;
	k->in = FLOW_IN_HOST;
	k->flags = CONN_SNAT;
	assert_int_equal(nat_open(0, &key, &to, NOW - 10, rnd64(), &k->mapping), 0);
	const struct nat_mapping *m = nat_at(k->mapping);
	write_key(2 * conn, &key.inside, sp, &to.addr, to.port);
	write_key(2 * conn + 1, &to.addr, to.port, &m->outside, m->outside_port);
	assert_int_equal(ct_publish(&ct4, 0, conn, &present), 0);
}

static void end_all(unsigned p)
{
	for (uint32_t i = ct_next(&ct4, 0); i; i = ct_next(&ct4, i))
		assert_true(ct_delete(&ct4, 0, i));
	assert_int_equal(nat_count() + nat_permit_count() + nat_source_count(), 0);
	assert_int_equal(bits_in(p, STEER_TCP), 0);
	assert_int_equal(nat_pools[p].in_use[STEER_TCP], 0);
}

static void test_shared_port(void **state)
{
	const struct nat_remote first = remote(0), third = remote(3);
	uint32_t m;
	(void)state;
	conf = (struct nat_pool){ .addr = ip("198.51.100.9"),
				  .port_lo = OUT_PORT,
				  .port_hi = OUT_PORT,
				  .port = -1,
				  .mapping = NAT_APDM,
				  .filter = NAT_APDF };
	unsigned p = start();
	connect_(p, 0, 2000);
	connect_(p, 1, 2000);
	crash();
	p = start();
	adopt_now();
	assert_int_equal(adoption.connections, 2);
	assert_int_equal(nat_count(), 2);
	assert_int_equal(nat_permit_count(), 2);
	assert_int_equal(bits_in(p, STEER_TCP), 1);
	assert_int_equal(nat_pools[p].in_use[STEER_TCP], 1);
	assert_true(nat_is_shared(&conf.addr, PROTO_TCP, OUT_PORT));
	/* the remotes of both are taken, a third is not */
	struct nat_key key = key_of(p, PROTO_TCP, 7, 2001);
	assert_int_equal(nat_open(0, &key, &first, NOW, 1, &m), -ENOSPC);
	assert_int_equal(nat_open(0, &key, &third, NOW, 1, &m), 0);
	nat_unpermit(0, m, &third.addr, third.port);
	nat_unref(0, m);
	end_all(p);
}

/* Who is over the quota that the new process has keeps what he had, and gets no more. */
static void test_quota(void **state)
{
	const struct nat_remote to = remote(9);
	uint32_t m;
	(void)state;
	conf = (struct nat_pool){ .addr = ip("198.51.100.9"), .port = -1, .filter = NAT_ADF };
	unsigned p = start();
	for (unsigned i = 0; i < 3; i++)
		connect_(p, 0, (uint16_t)(2000 + i));
	crash();
	conf.max_ports = 2;
	p = start();
	adopt_now();
	assert_int_equal(adoption.connections, 3);
	assert_int_equal(nat_count(), 3);
	assert_int_equal(nat_source_count(), 1);
	struct nat_key k = key_of(p, PROTO_TCP, 0, 2003), other = key_of(p, PROTO_TCP, 1, 2003);
	assert_int_equal(nat_open(0, &k, &to, NOW, 1, &m), -EDQUOT);
	assert_int_equal(nat_open(0, &other, &to, NOW, 1, &m), 0);
	nat_unpermit(0, m, &to.addr, to.port);
	nat_unref(0, m);
	end_all(p);
}

/* ---- blocks ---- */

static struct nat_block_event kept[8];
static unsigned n_kept, n_given;

static void on_block(unsigned slot, const struct nat_block_event *e)
{
	(void)slot;
	if (e->what == NAT_BLOCK_KEPT && n_kept < ARRAY_LEN(kept))
		kept[n_kept++] = *e;
	n_given += e->what == NAT_BLOCK_GIVEN;
}

/* Who had blocks has them, with the ports in them, and gets no other before they are full; the others' are free. */
static void test_blocks(void **state)
{
	const struct nat_remote to = remote(9);
	uint32_t m, port[3];
	(void)state;
	conf = (struct nat_pool){ .addr = ip("198.51.100.9"),
				  .port_lo = 4096,
				  .port_hi = 4096 + 4 * 16 - 1,
				  .port = -1,
				  .filter = NAT_ADF,
				  .rest = 10,
				  .blocks = 16,
				  .block_limit = 1 };
	n_kept = n_given = 0;
	nat_on_block = on_block;
	unsigned p = start();
	for (uint32_t n = 0; n < 3; n++)
		connect_(p, n % 2, (uint16_t)(2000 + n));
	for (uint32_t i = nat_next(0); i; i = nat_next(i))
		port[nat_key_at(i)->inside_port - 2000] = nat_at(i)->outside_port;
	assert_int_equal(n_given, 2);
	crash();
	p = start();
	adopt_now();
	assert_int_equal(adoption.connections, 3);
	assert_int_equal(nat_block_count(), 2);
	assert_int_equal(n_kept, 2);
	for (unsigned i = 0; i < 2; i++) {
		const uint32_t host = ntohl(kept[i].inside.w[3]) & 0xff;
		assert_in_range(port[host], kept[i].first, kept[i].last);
		assert_int_equal(kept[i].last - kept[i].first, 15);
	}
	/* host 0 has two ports and gets 14 more of the same block */
	for (unsigned i = 0; i < 15; i++) {
		struct nat_key k = key_of(p, PROTO_TCP, 0, (uint16_t)(3000 + i));
		assert_int_equal(nat_open(0, &k, &to, NOW, rnd64(), &m), i < 14 ? 0 : -EDQUOT);
		if (i < 14)
			assert_int_equal(nat_at(m)->outside_port / 16, port[0] / 16);
	}
	assert_int_equal(n_given, 2);
	for (uint32_t i = nat_next(0); i; i = nat_next(i))
		if (nat_key_at(i)->inside_port >= 3000) {
			nat_unpermit(0, i, &to.addr, to.port);
			nat_unref(0, i);
		}
	for (uint32_t i = ct_next(&ct4, 0); i; i = ct_next(&ct4, i))
		assert_true(ct_delete(&ct4, 0, i));
	nat_block_end();
	end_all(p);
	nat_on_block = NULL;
}

/* Blocks are told of as given back when the process ends, connections and all. */
static void end_blocks(unsigned p)
{
	for (uint32_t i = ct_next(&ct4, 0); i; i = ct_next(&ct4, i))
		assert_true(ct_delete(&ct4, 0, i));
	nat_block_end();
	end_all(p);
	crash();
}

/* The new process has larger blocks: two addresses in one of them cannot both be told of. Or none: nothing is told. */
static void test_blocks_changed(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		conf.blocks = round == 2 ? 0 : 16;
		unsigned p = start();
		adopt_now();
		connect_(p, 0, 2000);
		connect_(p, 1, 2000);
		crash();
		conf.blocks = round == 0 ? 64 : round == 1 ? 0 : 16;
		p = start();
		adopt_now();
		assert_int_equal(adoption.connections, round == 0 ? 1 : 2);
		assert_int_equal(nat_block_count(), round == 0 ? 1 : 0);
		end_blocks(p);
	}
	start();
}

/* Nobody has a port in another's block, and a block is told of as whose it is. */
static void check_blocks(void)
{
	struct nat_block_info b;

	for (uint32_t at = nat_block_next(0, &b); at; at = nat_block_next(at, &b)) {
		uint32_t in_it = 0;
		for (uint32_t i = nat_next(0); i; i = nat_next(i)) {
			const uint16_t port = nat_at(i)->outside_port;
			if (port < b.first || port > b.last)
				continue;
			assert_true(ip_eq(&nat_key_at(i)->inside, &b.inside));
			in_it++;
		}
		assert_int_equal(in_it, b.mappings);
	}
}

/* Blocks were switched on while somebody had a port, beside which another was given one; now both are in one larger block. Whoever is
 * found first stays. */
static void test_block_with_stray(void **state)
{
	const struct nat_pool off = {
		.addr = ip("198.51.100.9"), .port_lo = 4096, .port_hi = 4096 + 31, .port = -1, .filter = NAT_ADF
	};
	struct err e = { "" };
	(void)state;
	for (unsigned stray_first = 0; stray_first < 2; stray_first++) {
		conf = off;
		unsigned p = start();
		adopt_now();
		if (!stray_first)
			connect_(p, 8, 4096 + 6); /* its place in the table will be the one with a block's */
		connect_(p, 9, 4096 + 5);
		if (!stray_first)
			assert_true(ct_delete(&ct4, 0, ct_next(&ct4, 0)));
		assert_int_equal(nat_pool_del(&conf.addr, &e), 0);
		rcu_wait();
		conf.blocks = 16;
		assert_int_equal(nat_pool_add(&conf, &e), p);
		connect_(p, 0, 2000);
		assert_int_equal(nat_block_count(), 1);
		assert_int_equal(nat_key_at(nat_next(0))->inside_port, stray_first ? 4096 + 5 : 2000);
		crash();
		conf.blocks = 32;
		p = start();
		adopt_now();
		check_blocks();
		assert_int_equal(adoption.connections, 1);
		assert_int_equal(nat_key_at(nat_next(0))->inside_port, stray_first ? 4096 + 5 : 2000);
		assert_int_equal(nat_block_count(), !stray_first);
		end_blocks(p);
	}
	start();
}

/* A connection by a static address, from inside and from outside, comes back while the pool is as it was. */
static void make_static(unsigned p, bool inbound)
{
	const struct ipaddr host = ip("10.0.0.1"), out = ip("198.51.100.9"), other = ip("203.0.113.1");
	uint32_t conn = ct_alloc(&ct4, 0, PROTO_TCP, NOW - 10), present;
	struct conn *k = ct_conn(&ct4, conn);
	k->state = CT_ESTABLISHED;
	k->in = FLOW_IN_UPLINK;
	*(inbound ? &k->dnat : &k->mapping) = NAT_STATIC | p;
	if (inbound) {
		write_key(2 * conn, &other, 3000, &out, 80);
		write_key(2 * conn + 1, &host, 80, &other, 3000);
	} else {
		write_key(2 * conn, &host, 2000, &other, 80);
		write_key(2 * conn + 1, &other, 80, &out, 2000);
	}
	assert_int_equal(ct_publish(&ct4, 0, conn, &present), 0);
}

static void test_static(void **state)
{
	const struct nat_pool as_it_was = { .addr = ip("198.51.100.9"), .port = -1, .inside = ip("10.0.0.1") };
	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		conf = as_it_was;
		unsigned p = start();
		adopt_now();
		make_static(p, false);
		make_static(p, true);
		crash();
		if (round)
			conf.inside = ip("10.0.0.2");
		p = start();
		adopt_now();
		assert_int_equal(adoption.connections, round ? 0 : 2);
		assert_int_equal(adoption.drops[ADOPT_POOL], round ? 2 : 0);
		for (uint32_t i = ct_next(&ct4, 0); i; i = ct_next(&ct4, i))
			assert_int_equal(ct_conn(&ct4, i)->mapping | ct_conn(&ct4, i)->dnat, NAT_STATIC | p);
		end_all(p);
		crash();
	}
	start();
}

static void write_key6(uint32_t record, uint8_t proto, const char *src, uint16_t sp, const char *dst, uint16_t dp)
{
	struct flow6 *f = ct_flow6(record);
	const struct ipaddr s = ip(src), d = ip(dst);
	f->key = (struct flow_key6){ .sport = htons(sp), .dport = htons(dp), .zp = proto };
	memcpy(f->key.src, s.b, 16);
	memcpy(f->key.dst, d.b, 16);
	f->seen = NOW - 5;
}

/* The same under a prefix: by any protocol, but what has no ports in truth has none in the key. */
static void make_prefixed(unsigned p, uint8_t proto, uint16_t port, bool inbound)
{
	const char *host = "fd01:203:405:1::1234", *out = "2001:db8:1:d550::1234", *other = "2001:db8:9::7";
	uint32_t conn = ct_alloc(&ct6, 0, proto, NOW - 10), present;
	struct conn *k = ct_conn(&ct6, conn);
	k->state = proto == PROTO_TCP ? CT_ESTABLISHED : CT_REPLIED;
	k->in = FLOW_IN_UPLINK;
	*(inbound ? &k->dnat : &k->mapping) = NAT_STATIC | p;
	write_key6(2 * conn, proto, inbound ? other : host, port, inbound ? out : other, port);
	write_key6(2 * conn + 1, proto, inbound ? host : other, port, inbound ? other : out, port);
	assert_int_equal(ct_publish(&ct6, 0, conn, &present), 0);
}

static void test_prefix(void **state)
{
	enum { ESP = 50 };
	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		conf = (struct nat_pool){
			.addr = ip("2001:db8:1::"), .prefix = 48, .port = -1, .inside = ip("fd01:203:405::")
		};
		unsigned p = start();
		adopt_now();
		make_prefixed(p, PROTO_TCP, 5000, false);
		make_prefixed(p, PROTO_TCP, 80, true);
		make_prefixed(p, ESP, round == 2 ? 7 : 0, false);
		crash();
		if (round == 1)
			conf.inside = ip("fd01:203:406::");
		p = start();
		adopt_now();
		assert_int_equal(adoption.connections, round == 0 ? 3 : round == 1 ? 0 : 2);
		assert_int_equal(adoption.drops[ADOPT_POOL], round == 1 ? 3 : 0);
		assert_int_equal(adoption.drops[ADOPT_DAMAGED], round == 2);
		for (uint32_t i = ct_next(&ct6, 0); i; i = ct_next(&ct6, i)) {
			assert_int_equal(ct_conn(&ct6, i)->mapping | ct_conn(&ct6, i)->dnat, NAT_STATIC | p);
			assert_true(ct_delete(&ct6, 0, i));
		}
		crash();
	}
	start();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_shared_port, setup, last_process),
		cmocka_unit_test_setup_teardown(test_quota, setup, last_process),
		cmocka_unit_test_setup_teardown(test_blocks, setup, last_process),
		cmocka_unit_test_setup_teardown(test_blocks_changed, setup, last_process),
		cmocka_unit_test_setup_teardown(test_block_with_stray, setup, last_process),
		cmocka_unit_test_setup_teardown(test_static, setup, last_process),
		cmocka_unit_test_setup_teardown(test_prefix, setup, last_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
