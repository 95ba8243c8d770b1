/* SPDX-License-Identifier: BSD-2-Clause */
/* Does ThreadSanitizer see what it should (make tsan)? Plays with a table, each in a process of its own: a correct one
 * without a report, and planted races that must be reported. The two threads tell each other their turns by relaxed
 * atomics, which order nothing, so what is reported does not depend on timing. Without TSan only the correct one runs. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "fwd/base/rcu.h"
#include "tables/table.h"

enum play { CORRECT, IN_PLACE, TOO_EARLY, PLAYS };
enum { REPORTED = 66 }; /* TSan's exit code */
static struct table t;
static const uint64_t the_key[2] = { 1, 2 };
static int turn;

static void await(int n)
{
	while (LOAD_RELAXED(&turn) != n)
		sched_yield();
}

/* Looks, holds on to what it found during turn 1, and is quiescent before turn 2. */
static void *reader(void *arg)
{
	(void)arg;
	rcu_thread_register();
	await(0);
	uint64_t sum = 0;
	uint32_t i = table_find(&t, the_key);
	if (!i)
		abort();
	sum += *(volatile uint64_t *)table_value(&t, i);
	STORE_RELAXED(&turn, 1);
	await(2);
	rcu_thread_unregister();
	return (void *)(uintptr_t)sum;
}

/* Capacity 1: the entry that was retired is the only one to come back. */
static int play(enum play what)
{
	uint64_t value[2] = { 3, 4 };
	pthread_t thread;
	uint32_t i;

	hash_init(1);
	rcu_thread_register();
	if (table_open(&t, "test", 1, 16, 16, NULL) || table_insert(&t, 0, the_key, value, &i))
		return 1;
	if (pthread_create(&thread, NULL, reader, NULL))
		return 1;
	await(1);
	volatile uint64_t *entry = table_value(&t, i);
	if (what == IN_PLACE)
		entry[0] = 5;
	if (table_delete(&t, 0, the_key))
		return 1;
	if (what == TOO_EARLY)
		entry[0] = 6;
	STORE_RELAXED(&turn, 2);
	if (what == CORRECT) {
		uint32_t k = 0;
		while (k != i) { /* the spare entries first, then the retired one */
			rcu_request();
			rcu_quiescent();
			k = pool_alloc(&t.pool, 0);
			if (!k)
				sched_yield();
		}
		entry[0] = 7;
	}
	rcu_offline();
	pthread_join(thread, NULL);
	table_close(&t);
	return 0;
}

static int exit_code_of(enum play what)
{
	char number[12];
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		snprintf(number, sizeof(number), "%d", (int)what);
		execl("/proc/self/exe", "test_tsan", number, (char *)NULL);
		_exit(127);
	}
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_correct(void **state)
{
	(void)state;
	assert_int_equal(exit_code_of(CORRECT), 0);
}

static void test_planted(void **state)
{
	(void)state;
	if (!WITH_TSAN)
		skip();
	assert_int_equal(exit_code_of(IN_PLACE), REPORTED);
	assert_int_equal(exit_code_of(TOO_EARLY), REPORTED);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_correct), cmocka_unit_test(test_planted) };

	if (argc > 1)
		return play((enum play)atoi(argv[1]));
	return cmocka_run_group_tests_name("tsan", tests, NULL, NULL);
}
