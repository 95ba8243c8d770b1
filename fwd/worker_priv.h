/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by worker.c (threads, loop, sleep) and handoff.c (staging, rings between threads). */
#pragma once

#include <poll.h>
#include <pthread.h>

#include "fwd/ring.h"
#include "fwd/worker.h"

/* HANDOFF_RING: as deep as a port's fill ring; with 512 a TCP stream over two workers that shared their cores with others
 * lost many segments. It still overflows under contention (235). */
enum {
	HANDOFF_RING = 2048,
	INJECT_RING = 512,
	REQUEST_RING = 256,
	FROM_CONTROL = WORKERS_MAX,
	MAX_QUEUES = PORTS_MAX * QUEUES_MAX
};

enum { HANDOFF_ENGINE = 0xffff }; /* 'out' of a frame that is to go through the engine there */
struct handoff {
	struct txd d;
	uint16_t out;
};

struct worker_private {
	pthread_t thread;
	bool running; /* control thread */
	int wake_fd;  /* eventfd: something came while asleep */
	uint32_t asleep
		__attribute__((aligned(64))); /* worker sets, whoever wakes it clears: senders touch this line */
	unsigned n_from __attribute__((aligned(64)));
	unsigned from[WORKERS_MAX + 1];  /* senders that have a ring to this worker */
	struct ring in[WORKERS_MAX + 1]; /* by sender; FROM_CONTROL is the control thread's */
	struct ring requests;
	uint64_t age_ns;      /* when the next slice of ageing is due */
	uint64_t aged_ns;     /* when the last one was */
	uint32_t age_owed[2]; /* looks of ageing that are due, by family */
	bool age_more;        /* there are some: no sleep */
	uint32_t epoch;       /* neighbor_epoch when the hold queue was looked at last */
	bool pending;         /* a port still has to send what it took */
	bool must_poll;       /* owns a queue whose packets wake nobody */
	bool spins;           /* owns one that says so */
	unsigned n_queues;
	struct port_queue *queue[MAX_QUEUES]; /* owned; control writes while workers are paused */
	struct pollfd fds[MAX_QUEUES + 1];    /* [0] is wake_fd */
	unsigned n_fds;
};

/* Memory of worker 'w' among 'n'. */
int handoff_init(struct worker *w, unsigned n);
void handoff_fini(struct worker *w);
/* eventfd of requests; once, before the workers. */
int requests_init(struct err *e);
void requests_fini(void);
/* Stages what others handed to 'w'; returns how many frames. */
unsigned handoff_receive(struct worker *w);
bool handoff_waiting(const struct worker *w);
/* Sends or hands over everything that is staged. */
void handoff_flush(struct worker *w);
/* After something was put where 'w' looks: wakes it if it sleeps. */
void worker_wake(struct worker *w);
/* Frees the control thread's cache. */
void inject_fini(void);
