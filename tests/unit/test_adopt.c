/* SPDX-License-Identifier: BSD-2-Clause */
/* Adoption: what comes back after a crash, what does not, and that no byte of a former arena can do harm. A crash is to
 * unmap everything and leave the files. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

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

enum { NOW = 5000, SMALL_TCP = 4096, SMALL_OTHER = 1024, HOST_PORTS = 50000, HEADER = 4096, ROUNDS = 60, OWNERS = 2 };
static bool with_pools;

static void start(uint32_t tcp, uint32_t other)
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

static int setup(void **state)
{
	(void)state;
	rcu_thread_register();
	hash_init(42);
	rnd_state = 11;
	with_pools = true;
	if (name_dir())
		return -1;
	start(SMALL_TCP, SMALL_OTHER);
	return 0;
}

static int teardown(void **state)
{
	char former[80];
	(void)state;
	crash();
	nat_bits_kept = false;
	nat_set_bits_provider(NULL);
	arena_former_done();
	arena_remove_all();
	arena_set_dir(NULL, NULL);
	snprintf(former, sizeof(former), "%s.former", dir);
	rcu_thread_unregister();
	return access(dir, F_OK) == 0 || access(former, F_OK) == 0 ? -1 : 0;
}

static void *record(const struct ct *c, uint32_t r)
{
	return c->flows + (uint64_t)r * c->flow_size;
}

static void set_key(const struct ct *c, void *key, const struct ipaddr *src, uint16_t sp, const struct ipaddr *dst,
		    uint16_t dp, uint8_t proto)
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

static void touch(const struct ct *c, uint32_t r, uint32_t seen, uint32_t packets)
{
	if (c->v6) {
		((struct flow6 *)record(c, r))->seen = seen;
		((struct flow6 *)record(c, r))->packets = packets;
	} else {
		((struct flow4 *)record(c, r))->seen = seen;
		((struct flow4 *)record(c, r))->packets = packets;
	}
}

static struct ipaddr inside(bool v6, uint32_t n)
{
	struct ipaddr a = v6 ? ip("fd00::") : ip("10.0.0.0");
	a.w[3] = v6 ? htonl(n + 1) : htonl(0x0a000000 + n + 1);
	return a;
}

/* Number 'n': host n / HOST_PORTS, translated or not, to a remote address of a few. */
static uint32_t connect_(bool v6, uint32_t n, uint8_t proto, bool snat, uint32_t in)
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

static unsigned fill(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		bool v6 = i % 3 == 2;
		connect_(v6, i, i % 5 ? PROTO_TCP : PROTO_UDP, i % 4 != 3, i % 2 ? FLOW_IN_HOST : FLOW_IN_UPLINK);
	}
	return n;
}

static void adopt_now(void)
{
	adopt_state(NOW, OWNERS);
	nat_bits_settle();
}

static unsigned all_bits(void)
{
	unsigned n = 0;
	for (unsigned i = 0; i < NAT_POOLS_MAX; i++)
		for (unsigned w = 0; w < 3 && nat_pools[i].bits[w]; w++) {
			assert_int_equal(bits_in(i, (enum steer_proto)w), nat_pools[i].in_use[w]);
			n += nat_pools[i].in_use[w];
		}
	return n;
}

/* Whatever came back is whole: both keys find it, mappings and bits are those of the connections, and all of it goes. */
static void check_whole(void)
{
	unsigned n = 0, proxied = 0;
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
			assert_true(k->state < CT_STATES && !k->mapping == !(k->flags & 3));
			if (k->mapping)
				assert_true(nat_at(k->mapping)->refs > 0);
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
	for (uint32_t i = nat_next(0); i; i = nat_next(i))
		assert_int_equal(nat_by_outside(&nat_at(i)->outside, nat_at(i)->proto, nat_at(i)->outside_port), i);
	for (unsigned v6 = 0; v6 < 2; v6++)
		for (uint32_t i = ct_next(ct_of(v6), 0); i; i = ct_next(ct_of(v6), i))
			assert_true(ct_delete(ct_of(v6), 0, i));
	assert_int_equal(
		ct_count(&ct4) + ct_count(&ct6) + nat_count() + nat_permit_count() + all_bits() + proxy_count(), 0);
}

static void test_round_trip(void **state)
{
	(void)state;
	unsigned n = fill(3000);
	uint32_t mappings = nat_count();
	for (unsigned i = 0; i < 3; i++) { /* also what was adopted is adopted */
		crash();
		start(SMALL_TCP, SMALL_OTHER);
		assert_int_equal(ct_count(&ct4), 0);
		adopt_now();
		assert_string_equal(adopt_reason(), "");
		assert_true(adoption.tried);
		assert_int_equal(adoption.connections, n);
		assert_int_equal(adoption.mappings, mappings);
		assert_int_equal(adoption.dropped + adoption.expired + adoption.dropped_mappings, 0);
	}
	/* counters, identity and permits came along */
	union {
		struct flow_key4 k4;
		struct flow_key6 k6;
	} key;
	struct ipaddr src = inside(false, 0), dst = ip("203.0.113.2");
	set_key(&ct4, &key, &src, 2001, &dst, 80, PROTO_TCP);
	uint32_t r = ct_find(&ct4, &key, hash_key(&key, 16), NOW);
	assert_true(r && ct_flow4(r)->packets == 1 && ct_flow4(r)->in == 0);
	const struct conn *k = ct_conn(&ct4, r >> 1);
	assert_int_equal(k->identity, 1001);
	assert_true(nat_permitted(k->mapping, &dst, 80));
	dst = ip("203.0.113.3");
	assert_false(nat_permitted(k->mapping, &dst, 80));
	check_whole();
}

static void test_unfinished(void **state)
{
	(void)state;
	uint32_t busy = connect_(false, 1, PROTO_TCP, true, FLOW_IN_HOST);
	uint32_t dead = connect_(false, 2, PROTO_TCP, true, FLOW_IN_HOST);
	uint32_t dying = connect_(true, 3, PROTO_TCP, true, FLOW_IN_HOST);
	connect_(false, 4, PROTO_TCP, true, FLOW_IN_HOST);
	uint32_t m_busy = connect_(false, 5, PROTO_UDP, true, FLOW_IN_HOST);
	ct4.conns.state[busy] = POOL_BUSY;
	ct4.conns.state[dead] = POOL_DEAD;
	ct_conn(&ct6, dying)->flags |= CONN_DEAD;
	/* a killed thread held the lock of its records */
	ct_conn(&ct4, m_busy)->writing = 1;
	/* a reference that a killed thread took or forgot */
	((struct nat_mapping *)(uintptr_t)nat_at(ct_conn(&ct4, m_busy)->mapping))->refs = 9;
	crash();
	start(SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.connections, 2);
	assert_int_equal(adoption.mappings, 2);
	assert_int_equal(adoption.expired, 1); /* the dying one: no loss to report */
	assert_int_equal(adoption.dropped, 0);
	assert_string_equal(adopt_reason(), "");
	assert_int_equal(adoption.dropped_mappings, 3);
	check_whole();
}

static void test_configuration(void **state)
{
	(void)state;
	struct err e = { "" };
	fill(600);
	struct endpoint ep = { .id = 7, .identity = 300, .n_addrs = 1, .addr = { ip("10.9.0.1") } };
	assert_int_equal(endpoint_set(&ep, &e), 0);
	connect_(false, 100000, PROTO_TCP, false, FLOW_IN_ENDPOINT | 7);
	connect_(false, 100001, PROTO_TCP, false, FLOW_IN_ENDPOINT | 8);
	uint32_t kept = connect_(false, 100002, PROTO_TCP, false, 0);
	uint32_t lost = connect_(false, 100003, PROTO_TCP, false, 0);
	struct vtep v = { .addr = ip("192.0.2.1"), .port = 4789 };
	struct ipaddr r1 = ip("192.0.2.2"), r2 = ip("192.0.2.3");
	vtep_add(&v, &e);
	ct_conn(&ct4, kept)->in = FLOW_IN_REMOTE | remote_get(&r1, &e);
	ct_conn(&ct4, lost)->in = FLOW_IN_REMOTE | remote_get(&r2, &e);
	crash();
	with_pools = false;
	start(SMALL_TCP, SMALL_OTHER);
	/* pools in another order: other numbers; those of IPv6 are gone */
	add_pool("198.51.100.9", 0, 0, NAT_ADF);
	add_pool("198.51.100.1", 0, 0, NAT_ADF);
	assert_int_equal(endpoint_set(&ep, &e), 0);
	vtep_add(&v, &e);
	r2 = ip("192.0.2.77");
	remote_get(&r2, &e);
	uint32_t now = remote_get(&r1, &e);
	adopt_now();
	assert_int_equal(adoption.drops[ADOPT_SENDER], 2);
	assert_int_equal(adoption.drops[ADOPT_POOL], 150);
	assert_int_equal(adoption.connections, 602 - 150);
	assert_non_null(strstr(adopt_reason(), "150 connections whose NAT pool"));
	assert_true(nat_pools[1].in_use[STEER_TCP] && !nat_pools[0].in_use[STEER_TCP]);
	unsigned found = 0;
	for (uint32_t i = ct_next(&ct4, 0); i; i = ct_next(&ct4, i))
		found += ct_conn(&ct4, i)->in == (FLOW_IN_REMOTE | now);
	assert_int_equal(found, 1);
	check_whole();
}

static void test_duplicates(void **state)
{
	(void)state;
	uint32_t a = connect_(false, 1, PROTO_TCP, false, FLOW_IN_HOST);
	uint32_t b = connect_(false, 2, PROTO_TCP, false, FLOW_IN_HOST);
	uint32_t c = connect_(false, 3, PROTO_TCP, true, FLOW_IN_HOST);
	uint32_t d = connect_(false, 4, PROTO_TCP, true, FLOW_IN_HOST);
	memcpy(record(&ct4, 2 * b), record(&ct4, 2 * a), 2 * sizeof(struct flow4));
	/* two connections, one mapping's port */
	((struct nat_mapping *)(uintptr_t)nat_at(ct_conn(&ct4, d)->mapping))->outside_port =
		nat_at(ct_conn(&ct4, c)->mapping)->outside_port;
	crash();
	start(SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.drops[ADOPT_DUPLICATE], 1);
	assert_int_equal(adoption.drops[ADOPT_POOL], 1);
	assert_int_equal(adoption.connections, 2);
	check_whole();
}

static void test_time(void **state)
{
	(void)state;
	uint32_t old = connect_(false, 1, PROTO_UDP, true, FLOW_IN_HOST);
	uint32_t future = connect_(false, 2, PROTO_TCP, true, FLOW_IN_HOST);
	connect_(false, 3, PROTO_TCP, true, FLOW_IN_HOST);
	ct_conn(&ct4, old)->created = 1;
	touch(&ct4, 2 * old, NOW - 301, 1);
	touch(&ct4, 2 * future + 1, NOW + 1, 1);
	crash();
	start(SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.expired, 1);
	assert_int_equal(adoption.drops[ADOPT_FUTURE], 1);
	assert_int_equal(adoption.connections, 1);
	check_whole();
}

static int open_arena(const char *name)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s.arena", dir, name);
	int fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	return fd;
}

static void overwrite(const char *name, off_t at, const void *bytes, size_t n)
{
	int fd = open_arena(name);
	assert_int_equal(pwrite(fd, bytes, n, at), (ssize_t)n);
	close(fd);
}

static void expect_refused(const char *reason)
{
	start(SMALL_TCP, SMALL_OTHER);
	adopt_now();
	if (!strstr(adopt_reason(), reason))
		fail_msg("'%s' is not in '%s'", reason, adopt_reason());
	check_whole();
}

static void test_refused(void **state)
{
	(void)state;
	enum { AT_LAYOUT = 8, AT_CAPACITY = 16, AT_VERSION = 32, AT_BOOT = 40 };
	uint64_t other = 1ull << 30;
	connect_(false, 1, PROTO_TCP, false, FLOW_IN_HOST);
	crash();
	overwrite("ct4", AT_BOOT, "00000000-0000", 13);
	expect_refused("ct4: it is from before the last boot");
	connect_(false, 1, PROTO_TCP, false, FLOW_IN_HOST);
	crash();
	overwrite("ct4", AT_LAYOUT, &other, 8);
	expect_refused("ct4: it has another layout");
	connect_(false, 1, PROTO_TCP, false, FLOW_IN_HOST);
	crash();
	overwrite("flow4", 0, "nonsense", 8);
	expect_refused("flow4: it is not an arena");
	connect_(false, 1, PROTO_TCP, true, FLOW_IN_HOST);
	crash();
	overwrite("nat", AT_VERSION, &other, 8);
	expect_refused("nat: it has another layout; 1 connection whose NAT pool");
	connect_(false, 1, PROTO_TCP, true, FLOW_IN_HOST);
	crash();
	int fd = open_arena("ct4");
	assert_int_equal(ftruncate(fd, 100000), 0);
	close(fd);
	expect_refused("ct4: it is cut off");
	connect_(false, 1, PROTO_TCP, true, FLOW_IN_HOST);
	crash();
	overwrite("ct4", AT_CAPACITY, &other, 8);
	start(SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.connections, 0);
	check_whole();
}

static void test_other_capacity(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3000; i++)
		connect_(false, i, PROTO_TCP, true, FLOW_IN_HOST);
	crash();
	start(2 * SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.connections, 3000);
	crash();
	start(1000, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.connections, 1000);
	assert_int_equal(adoption.drops[ADOPT_ROOM], 2000);
	assert_int_equal(adoption.dropped_mappings, 2000);
	check_whole();
}

/* A process that dies before it is through leaves the former files as they were; one that dies of them stops trying. */
static void test_crash_in_adoption(void **state)
{
	(void)state;
	fill(100);
	crash();
	start(SMALL_TCP, SMALL_OTHER); /* killed while it reads its configuration: as often as it likes */
	for (unsigned i = 0; i < 5; i++) {
		crash();
		start(SMALL_TCP, SMALL_OTHER);
	}
	connect_(false, 5000, PROTO_TCP, true, FLOW_IN_HOST); /* not from the files: lost */
	assert_true(arena_former_begin());
	crash();
	start(SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.connections, 100);
	crash();
	for (unsigned i = 0; i < 2; i++) {
		start(SMALL_TCP, SMALL_OTHER);
		assert_true(arena_former_begin());
		crash();
	}
	start(SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_false(adoption.tried);
	assert_int_equal(adoption.connections, 0);
	assert_non_null(strstr(adopt_reason(), "failed before"));
	check_whole();
}

static void test_clean_stop(void **state)
{
	(void)state;
	fill(10);
	crash();
	arena_remove_all();
	start(SMALL_TCP, SMALL_OTHER);
	adopt_now();
	assert_false(adoption.tried);
	assert_string_equal(adopt_reason(), "");
	check_whole();
}

/* Memory that outlives the process, as the pinned map does. */
static uint64_t pinned[NAT_POOLS_MAX][3][STEER_BITMAP_SIZE / 8];
static uint64_t *pinned_bits(unsigned pool, enum steer_proto which)
{
	return pinned[pool][which];
}

static void test_bits_stay_set(void **state)
{
	(void)state;
	crash();
	arena_remove_all();
	nat_set_bits_provider(pinned_bits);
	start(SMALL_TCP, SMALL_OTHER);
	uint32_t c = connect_(false, 1, PROTO_TCP, true, FLOW_IN_HOST);
	uint32_t gone = connect_(false, 2, PROTO_TCP, true, FLOW_IN_HOST);
	uint16_t port = nat_at(ct_conn(&ct4, c)->mapping)->outside_port;
	uint16_t other = nat_at(ct_conn(&ct4, gone)->mapping)->outside_port;
	ct4.conns.state[gone] = POOL_DEAD;
	crash();
	nat_bits_kept = true;
	start(SMALL_TCP, SMALL_OTHER);
	assert_true(bit_set(0, PROTO_TCP, port) && bit_set(0, PROTO_TCP, other));
	adopt_state(NOW, OWNERS);
	assert_true(bit_set(0, PROTO_TCP, port));
	nat_bits_settle();
	assert_true(bit_set(0, PROTO_TCP, port) && !bit_set(0, PROTO_TCP, other));
	check_whole();
}

static void damage(const char *name)
{
	int fd = open_arena(name);
	struct stat st;
	assert_int_equal(fstat(fd, &st), 0);
	uint8_t b[64], zero[4096] = { 0 };
	/* mostly where entries are in use, and in the states behind the data */
	const uint64_t used = 400 * 128, size = (uint64_t)st.st_size - HEADER;
	for (unsigned i = 0, n = 1 + rnd(200); i < n; i++) {
		uint64_t at = HEADER + (rnd(4) ? rnd64() % used : size - 1 - rnd64() % MIN(size, 8000u));
		unsigned len = 1 + rnd(rnd(10) ? 2 : sizeof(b));
		for (unsigned k = 0; k < len; k++)
			b[k] = rnd(4) ? (uint8_t)rnd(256) : (uint8_t)(rnd(2) ? 2 : 0xff);
		assert_true(pwrite(fd, b, len, (off_t)at) > 0);
	}
	if (rnd(4) == 0)
		assert_int_equal(pwrite(fd, zero, sizeof(zero), (off_t)(HEADER * (1 + rnd(8)))), sizeof(zero));
	if (rnd(8) == 0)
		assert_int_equal(ftruncate(fd, (off_t)(rnd64() % (uint64_t)st.st_size)), 0);
	close(fd);
}

static void test_damage(void **state)
{
	(void)state;
	static const char *const files[] = { "ct4", "ct6", "flow4", "flow6", "nat", "remotes" };
	for (unsigned round = 0; round < ROUNDS; round++) {
		fill(500);
		crash();
		for (unsigned i = 0; i < ARRAY_LEN(files); i++)
			if (rnd(3) == 0)
				damage(files[i]);
		start(SMALL_TCP, SMALL_OTHER);
		adopt_now();
		assert_true(adoption.connections <= 500 + SMALL_TCP);
		check_whole();
		crash();
		arena_remove_all();
		start(SMALL_TCP, SMALL_OTHER);
	}
}

static void test_many(void **state)
{
	enum { MANY = 100000 };
	(void)state;
	crash();
	arena_remove_all();
	start(2 * MANY, SMALL_OTHER);
	for (unsigned i = 0; i < MANY; i++)
		connect_(false, i, PROTO_TCP, true, FLOW_IN_HOST);
	crash();
	start(2 * MANY, SMALL_OTHER);
	adopt_now();
	assert_int_equal(adoption.connections, MANY);
	assert_int_equal(adoption.mappings, MANY);
	print_message("%u connections with translations in %u us\n", (unsigned)MANY, adoption.microseconds);
	check_whole();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_round_trip),     TEST(test_unfinished),
		TEST(test_configuration),  TEST(test_duplicates),
		TEST(test_time),           TEST(test_refused),
		TEST(test_other_capacity), TEST(test_crash_in_adoption),
		TEST(test_clean_stop),     TEST(test_bits_stay_set),
		TEST(test_damage),         TEST(test_many),
	};
	return cmocka_run_group_tests_name("adopt", tests, NULL, NULL);
}
