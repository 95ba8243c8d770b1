/* SPDX-License-Identifier: BSD-2-Clause */
/* Adoption: files that are refused, processes that die in the middle of it, and that no byte of a former arena can do harm. */
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/adopt_ct_kit.h"

enum { HEADER = 4096, ROUNDS = 60 };

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
	assert_int_equal(adoption.connections, 110);
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
static uint64_t pinned[NAT_POOLS_MAX][STEER_PROTOS][STEER_BITMAP_SIZE / 8];
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
		const unsigned n = fill(500);
		crash();
		for (unsigned i = 0; i < ARRAY_LEN(files); i++)
			if (rnd(3) == 0)
				damage(files[i]);
		start(SMALL_TCP, SMALL_OTHER);
		adopt_now();
		assert_true(adoption.connections <= n + SMALL_TCP);
		check_whole();
		crash();
		arena_remove_all();
		start(SMALL_TCP, SMALL_OTHER);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, last_process)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_refused), TEST(test_crash_in_adoption), TEST(test_clean_stop), TEST(test_bits_stay_set),
		TEST(test_damage),
	};
	return cmocka_run_group_tests_name("adopt_files", tests, NULL, NULL);
}
