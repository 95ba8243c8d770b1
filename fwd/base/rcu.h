/* SPDX-License-Identifier: BSD-2-Clause */
/* The QSBR flavour of liburcu behind our own names; no other file includes urcu headers.
 *
 * A registered, online thread is inside a read-side section at all times. It passes a quiescent state once per loop and
 * goes offline before it sleeps. The control thread is registered too and goes offline around epoll_wait.
 * Nobody waits for a grace period while holding a lock; workers never wait for one: they retire through limbo lists
 * (tables/table.h) that read rcu_epoch(). */
#pragma once

#include "fwd/base/util.h"

void rcu_thread_register(void);
void rcu_thread_unregister(void);
void rcu_online(void);
void rcu_offline(void);
void rcu_quiescent(void);

/* Control thread only: waits until all that was unlinked, retired or deferred before the call may be reused (two grace
 * periods, offline meanwhile), and runs what was deferred. */
void rcu_wait(void);
/* Control thread only: calls fn(p) after a grace period, from rcu_poll_deferred() or rcu_wait(). Never blocks. */
void rcu_defer(void (*fn)(void *), void *p);
/* Control thread, once per loop: starts and finishes grace periods without blocking, runs what is due, advances rcu_epoch().
 * Calling it is a quiescent state of the caller. */
void rcu_poll_deferred(void);
/* Number of completed grace periods, seen by every thread. What a thread unlinked while the value was e may be reused
 * once rcu_epoch() >= e + 2. In unit tests without a control thread call rcu_poll_deferred() from the test. */
uint64_t rcu_epoch(void);
/* Any thread, after it unlinked something and read rcu_epoch(): asks for the next two grace periods. Cheap: at most one
 * futex wake per grace period. pool_retire() calls it. */
void rcu_request(void);
