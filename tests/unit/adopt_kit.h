/* SPDX-License-Identifier: BSD-2-Clause */
/* A process that dies and another that starts, for the tests of adoption: all tables in a state directory of their own. */
#pragma once

#include <stdlib.h>
#include <unistd.h>

static char dir[64];

/* A name that nobody has yet. */
static int name_dir(void)
{
	snprintf(dir, sizeof(dir), "/dev/shm/sluice-test-XXXXXX");
	return !mkdtemp(dir) || rmdir(dir) ? -1 : 0;
}

static void open_tables(uint32_t tcp, uint32_t other)
{
	struct err e = { "" };
	if (arena_set_dir(dir, &e) || endpoint_init(&e) || ipcache_init(&e) || tunnel_init(&e) || nat_init(&e) ||
	    ct_init(tcp, other, &e) || proxy_init(&e) || frag_init(&e) || service_init(&e) || affinity_init(&e))
		fail_msg("%s", e.text);
}

static void crash(void)
{
	frag_fini();
	affinity_fini();
	service_fini();
	proxy_fini();
	ct_fini();
	nat_fini();
	tunnel_fini();
	ipcache_fini();
	endpoint_fini();
	rcu_wait();
	hash_init(rnd64() | 1); /* another process has another seed */
}

/* Of a test: the random numbers' seed, a directory's name; and its end, which must leave no file. */
static int first_process(uint64_t seed)
{
	rcu_thread_register();
	hash_init(42);
	rnd_state = seed;
	return name_dir();
}

static int last_process(void **state)
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
