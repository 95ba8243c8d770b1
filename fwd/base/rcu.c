/* SPDX-License-Identifier: BSD-2-Clause */
/* RCU behind our own names.
 *
 * A helper thread waits for grace periods, so that neither workers nor the control thread ever do: it sleeps until
 * somebody asks (rcu_request), runs two grace periods and counts them in 'epoch'. Deferred functions run in the control
 * thread. Grace periods come one at a time under 'gp_lock' and are counted at their end: what was unlinked while the
 * count was e may have missed the start of number e + 1, but not that of e + 2.
 * While the caller of rcu_poll_deferred is the only registered thread (unit tests, start-up), no reader can exist but
 * itself, and it counts a grace period on the spot. */
#include "fwd/base/rcu.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <urcu/urcu-qsbr.h>

#include "fwd/base/log.h"

/* Rest between grace periods: each one costs every worker a futex wake, a shorter one only makes limbo lists
 * shorter. */
enum { GP_PACE_NS = 1000000 };

struct deferred {
	struct deferred *next;
	uint64_t epoch;
	void (*fn)(void *);
	void *p;
};

static __thread bool registered, online;
static unsigned n_threads; /* registered ones */
static uint64_t epoch;
static pthread_mutex_t gp_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t helper_once = PTHREAD_ONCE_INIT;
static int wanted;                              /* set by who retires, cleared by the helper before it starts */
static int helper_asleep;                       /* futex word */
static struct deferred *first, **last = &first; /* control thread only */

/* ThreadSanitizer does not see into liburcu. It is told what a grace period promises: what a thread did before its
 * quiescent state happened before the end of the grace period, and so, by way of 'epoch', before any reuse. */
#if WITH_TSAN
void __tsan_acquire(void *);
void __tsan_release(void *);
static char quiet;
static void reads_done(void)
{
	__tsan_release(&quiet);
}
static void all_reads_done(void)
{
	__tsan_acquire(&quiet);
}
#else
static void reads_done(void)
{
}
static void all_reads_done(void)
{
}
#endif

static void grace_period(void)
{
	pthread_mutex_lock(&gp_lock);
	urcu_qsbr_synchronize_rcu();
	all_reads_done();
	__atomic_store_n(&epoch, epoch + 1, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&gp_lock);
}

static void *helper_main(void *arg)
{
	const struct timespec pace = { .tv_nsec = GP_PACE_NS };
	(void)arg;
	for (;;) {
		if (!__atomic_exchange_n(&wanted, 0, __ATOMIC_SEQ_CST)) {
			__atomic_store_n(&helper_asleep, 1, __ATOMIC_SEQ_CST);
			if (!__atomic_load_n(&wanted, __ATOMIC_SEQ_CST))
				syscall(SYS_futex, &helper_asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
			STORE_RELAXED(&helper_asleep, 0);
			continue;
		}
		grace_period();
		grace_period();
		nanosleep(&pace, NULL);
	}
	return NULL;
}

static void helper_start(void)
{
	pthread_t t;
	sigset_t all, old;

	sigfillset(&all); /* signals are for the control thread */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&t, NULL, helper_main, NULL)) {
		log_error("no thread for RCU grace periods");
		abort();
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_setname_np(t, "rcu");
	pthread_detach(t);
}

void rcu_thread_register(void)
{
	if (registered)
		return;
	if (__atomic_add_fetch(&n_threads, 1, __ATOMIC_SEQ_CST) > 1)
		pthread_once(&helper_once, helper_start);
	urcu_qsbr_register_thread();
	registered = online = true;
}

void rcu_thread_unregister(void)
{
	if (!registered)
		return;
	reads_done();
	urcu_qsbr_unregister_thread();
	registered = online = false;
	__atomic_sub_fetch(&n_threads, 1, __ATOMIC_SEQ_CST);
}

void rcu_online(void)
{
	if (registered && !online) {
		urcu_qsbr_thread_online();
		online = true;
	}
}

void rcu_offline(void)
{
	if (online) {
		reads_done();
		urcu_qsbr_thread_offline();
		online = false;
	}
}

void rcu_quiescent(void)
{
	if (online) {
		reads_done();
		urcu_qsbr_quiescent_state();
	}
}

uint64_t rcu_epoch(void)
{
	return __atomic_load_n(&epoch, __ATOMIC_SEQ_CST);
}

void rcu_request(void)
{
	if (LOAD_RELAXED(&wanted) || __atomic_exchange_n(&wanted, 1, __ATOMIC_SEQ_CST))
		return;
	if (__atomic_load_n(&helper_asleep, __ATOMIC_SEQ_CST)) {
		STORE_RELAXED(&helper_asleep, 0);
		syscall(SYS_futex, &helper_asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
}

/* Runs functions in order while they were deferred at a count of 'upto' or less. They may defer more. */
static void run_deferred(uint64_t upto)
{
	struct deferred *d;
	while ((d = first) && d->epoch <= upto) {
		first = d->next;
		if (!first)
			last = &first;
		d->fn(d->p);
		free(d);
	}
}

void rcu_defer(void (*fn)(void *), void *p)
{
	struct deferred *d = malloc(sizeof(*d));
	if (!d) {
		log_error("out of memory");
		abort();
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* what the caller unlinked, before the count is read */
	*d = (struct deferred){ .epoch = rcu_epoch(), .fn = fn, .p = p };
	*last = d;
	last = &d->next;
	rcu_request();
}

void rcu_poll_deferred(void)
{
	if (__atomic_load_n(&n_threads, __ATOMIC_SEQ_CST) == registered) {
		/* alone: offline meanwhile, because the helper may hold the lock and wait for this thread */
		bool was = online;
		rcu_offline();
		grace_period();
		if (was)
			rcu_online();
	} else {
		pthread_once(&helper_once, helper_start);
		if (first)
			rcu_request();
		rcu_quiescent();
	}
	uint64_t e = rcu_epoch();
	if (e >= 2)
		run_deferred(e - 2);
}

void rcu_wait(void)
{
	bool was = online;
	uint64_t before = rcu_epoch();
	rcu_offline();
	grace_period();
	grace_period();
	if (was)
		rcu_online();
	run_deferred(before);
}
