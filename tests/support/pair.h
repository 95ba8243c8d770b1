/* SPDX-License-Identifier: BSD-2-Clause */
/* The same function on two threads at once, both readers under RCU: run_pair(f) is f(0) here and f(1) in another thread. */
#pragma once

#include <pthread.h>
#include <stdlib.h>

#include "fwd/base/rcu.h"

static inline void *pair_thread(void *arg)
{
	void (**f)(unsigned) = arg;
	rcu_thread_register();
	(*f)(1);
	rcu_thread_unregister();
	return NULL;
}

static inline void run_pair(void (*f)(unsigned me))
{
	pthread_t t;
	if (pthread_create(&t, NULL, pair_thread, &f))
		abort();
	f(0);
	rcu_offline();
	pthread_join(t, NULL);
	rcu_online();
}
