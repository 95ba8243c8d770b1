/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections of all kinds that a process leaves behind, and the look at what came back. For test_adopt.c and
 * test_adopt_files.c. */
#pragma once

#include "tests/unit/nat_kit.h"

#include "fwd/decide.h"
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

enum { NOW = 5000, SMALL_TCP = 4096, SMALL_OTHER = 1024, HOST_PORTS = 50000, OWNERS = 2 };
static bool with_pools;

static inline void start(uint32_t tcp, uint32_t other)
{
	open_tables(tcp, other);
	ct_on_delete = decide_connection_gone;
	adoption = (struct adoption){ .tried = false };
	if (!with_pools)
		return;
	for (unsigned i = 0; i < 4; i++) {
		char a[32];
		snprintf(a, sizeof(a), "198.51.100.%u", i + 1);
		add_pool(a, 1024, 65535, NAT_ADF);
	}
	add_pool("2001:db8::1", 1024, 65535, NAT_APDF);
}

static inline int setup(void **state)
{
	(void)state;
	with_pools = true;
	if (first_process(11))
		return -1;
	start(SMALL_TCP, SMALL_OTHER);
	return 0;
}

static inline void *record(const struct ct *c, uint32_t r)
{
	return c->flows + (uint64_t)r * c->flow_size;
}

static inline void set_key(const struct ct *c, void *key, const struct ipaddr *src, uint16_t sp,
			   const struct ipaddr *dst, uint16_t dp, uint8_t proto)
{
	if (c->v6) {
		struct flow_key6 *k = key;
		memcpy(k->src, src->b, 16);
		memcpy(k->dst, dst->b, 16);
		k->sport = htons(sp);
		k->dport = htons(dp);
		k->zp = proto;
	} else {
		struct flow_key4 *k = key;
		*k = (struct flow_key4){ src->w[3], dst->w[3], htons(sp), htons(dp), proto };
	}
}

static inline void touch(const struct ct *c, uint32_t r, uint32_t seen, uint32_t packets)
{
	if (c->v6) {
		((struct flow6 *)record(c, r))->seen = seen;
		((struct flow6 *)record(c, r))->packets = packets;
	} else {
		((struct flow4 *)record(c, r))->seen = seen;
		((struct flow4 *)record(c, r))->packets = packets;
	}
}

static inline struct ipaddr inside(bool v6, uint32_t n)
{
	struct ipaddr a = v6 ? ip("fd00::") : ip("10.0.0.0");
	a.w[3] = v6 ? htonl(n + 1) : htonl(0x0a000000 + n + 1);
	return a;
}

/* Number 'n': host n / HOST_PORTS, translated or not, to a remote address of a few. */
static inline uint32_t connect_(bool v6, uint32_t n, uint8_t proto, bool snat, uint32_t in)
{
	struct ct *c = ct_of(v6);
	struct ipaddr src = inside(v6, n / HOST_PORTS), dst = v6 ? ip("2001:db8:9::1") : ip("203.0.113.1"), out = src;
	uint16_t sp = (uint16_t)(n % HOST_PORTS + 2000), op = sp;
	uint32_t conn = ct_alloc(c, 0, proto, NOW - 10), present;
	bool created;
	assert_true(conn);
	struct conn *k = ct_conn(c, conn);
	dst.b[15] = (uint8_t)(n % 7 + 1);
	k->state = proto == PROTO_TCP ? CT_ESTABLISHED : CT_REPLIED;
	k->in = in;
	k->identity = 1000 + n % 10;
	k->rule_egress = 77;
	if (snat) {
		struct nat_key key = {
			.inside = src, .inside_port = sp, .proto = proto, .pool = (uint8_t)(v6 ? 4 : n / HOST_PORTS % 4)
		};
		assert_int_equal(nat_map(0, &key, NOW - 10, rnd64(), &k->mapping, &created), 0);
		assert_int_equal(nat_permit(0, k->mapping, &dst, 80), 0);
		k->flags = CONN_SNAT;
		out = nat_at(k->mapping)->outside;
		op = nat_at(k->mapping)->outside_port;
	}
	set_key(c, record(c, 2 * conn), &src, sp, &dst, 80, proto);
	set_key(c, record(c, 2 * conn + 1), &dst, 80, &out, op, proto);
	touch(c, 2 * conn, NOW - 5, n);
	if (!snat && n % 8 == 3) {
		k->flags = CONN_PROXY;
		assert_int_equal(proxy_add(0, v6, conn, 15001), 0);
	}
	assert_int_equal(ct_publish(c, 0, conn, &present), 0);
	return conn;
}

/* Opened through the mapping of a host that nobody else has: from a remote address, or by another one from inside (hairpin),
 * which is translated too. */
static inline uint32_t connect_inbound(bool v6, uint32_t n, uint8_t proto, bool hairpin)
{
	struct ct *c = ct_of(v6);
	const uint8_t pool = v6 ? 4 : 0;
	const struct nat_key to = { inside(v6, 90), (uint16_t)(n + 2000), 0, proto, pool, 0 },
			     from = { inside(v6, 91), (uint16_t)(n + 2000), 0, proto, pool, 0 };
	struct ipaddr src = hairpin ? from.inside : v6 ? ip("2001:db8:9::1") : ip("203.0.113.1"), seen_as = src;
	uint16_t port = from.inside_port;
	uint32_t conn = ct_alloc(c, 0, proto, NOW - 10), present;
	bool created;
	assert_true(conn);
	struct conn *k = ct_conn(c, conn);
	k->state = proto == PROTO_TCP ? CT_ESTABLISHED : CT_REPLIED;
	k->in = hairpin ? FLOW_IN_HOST : FLOW_IN_UPLINK;
	k->flags = CONN_INBOUND_MAP | (hairpin ? CONN_SNAT : 0);
	assert_int_equal(nat_map(0, &to, NOW - 10, rnd64(), &k->dnat, &created), 0);
	const struct nat_mapping *m = nat_at(k->dnat);
	if (hairpin) {
		assert_int_equal(nat_map(0, &from, NOW - 10, rnd64(), &k->mapping, &created), 0);
		assert_int_equal(nat_permit(0, k->mapping, &m->outside, m->outside_port), 0);
		seen_as = nat_at(k->mapping)->outside;
		port = nat_at(k->mapping)->outside_port;
	}
	set_key(c, record(c, 2 * conn), &src, from.inside_port, &m->outside, m->outside_port, proto);
	set_key(c, record(c, 2 * conn + 1), &to.inside, to.inside_port, &seen_as, port, proto);
	touch(c, 2 * conn, NOW - 5, n);
	assert_int_equal(ct_publish(c, 0, conn, &present), 0);
	return conn;
}

/* And a tenth as many inbound ones; returns how many. */
static inline unsigned fill(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		bool v6 = i % 3 == 2;
		connect_(v6, i, i % 5 ? PROTO_TCP : PROTO_UDP, i % 4 != 3, i % 2 ? FLOW_IN_HOST : FLOW_IN_UPLINK);
	}
	for (unsigned i = 0; i < n / 10; i++)
		connect_inbound(i % 3 == 2, i, i % 5 ? PROTO_TCP : PROTO_UDP, i % 2);
	return n + n / 10;
}

static inline void adopt_now(void)
{
	adopt_state(NOW, OWNERS);
	nat_bits_settle();
}

static inline unsigned all_bits(void)
{
	unsigned n = 0;
	for (unsigned i = 0; i < NAT_POOLS_MAX; i++)
		for (unsigned w = 0; w < STEER_PROTOS && nat_pools[i].bits[w]; w++) {
			assert_int_equal(bits_in(i, (enum steer_proto)w), nat_pools[i].in_use[w]);
			n += nat_pools[i].in_use[w];
		}
	return n;
}

/* Whatever came back is whole: both keys find it, mappings and bits are those of the connections, and all of it goes. */
static inline void check_whole(void)
{
	unsigned n = 0, proxied = 0, uses = 0;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct ct *c = ct_of(v6);
		for (uint32_t i = ct_next(c, 0); i; i = ct_next(c, i), n++) {
			const struct conn *k = ct_conn(c, i);
			for (unsigned d = 0; d < 2; d++) {
				const void *key = record(c, 2 * i + d);
				assert_int_equal(ct_find(c, key, hash_key(key, c->idx.key_len), NOW), 2 * i + d);
				uint32_t sum = v6 ? ct_flow6(2 * i + d)->gensum : ct_flow4(2 * i + d)->gensum;
				const uint16_t *dep = v6 ? ct_flow6(2 * i + d)->dep : ct_flow4(2 * i + d)->dep;
				assert_int_not_equal(sum, gen_sum(dep));
			}
			assert_int_equal(k->rule_egress | k->rule_ingress | k->writing, 0);
			assert_true(k->state < CT_STATES);
			assert_true(!k->mapping == !(k->flags & CONN_SNAT));
			assert_true(!k->dnat == !(k->flags & CONN_INBOUND_MAP));
			uses += !!k->mapping + !!k->dnat;
			/* its listener's port is known with the next decision */
			proxied += !!(k->flags & CONN_PROXY);
			assert_int_equal(proxy_port(v6, i), 0);
		}
	}
	assert_int_equal(n, adoption.connections);
	assert_int_equal(n, ct_count(&ct4) + ct_count(&ct6));
	assert_int_equal(proxied, proxy_count());
	assert_int_equal(nat_count(), adoption.mappings);
	assert_int_equal(all_bits(), nat_count());
	for (uint32_t i = nat_next(0); i; i = nat_next(i)) {
		assert_int_equal(nat_by_outside(&nat_at(i)->outside, nat_at(i)->proto, nat_at(i)->outside_port),
				 nat_at(i)->shared ? 0 : i);
		assert_in_range(nat_at(i)->refs, 1, uses);
		uses -= nat_at(i)->refs;
	}
	assert_int_equal(uses, 0);
	for (unsigned v6 = 0; v6 < 2; v6++)
		for (uint32_t i = ct_next(ct_of(v6), 0); i; i = ct_next(ct_of(v6), i))
			assert_true(ct_delete(ct_of(v6), 0, i));
	assert_int_equal(
		ct_count(&ct4) + ct_count(&ct6) + nat_count() + nat_permit_count() + all_bits() + proxy_count(), 0);
}
