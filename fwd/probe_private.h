/* SPDX-License-Identifier: BSD-2-Clause */
/* Between probe.c (who is asked, and what follows) and probe_io.c (one question and its answer). */
#pragma once

#include "fwd/probe.h"

/* What is asked, all of it: equal ones are the same probe. No padding: compared as bytes. */
struct target {
	struct ipaddr addr;
	struct service_key host; /* http: whom clients ask; else zero */
	struct probe_conf conf;  /* port: the one that is asked, 0 for icmp; path only of http */
};
_Static_assert(sizeof(struct target) % 8 == 0, "as hash_key() takes it");

struct verdict {
	uint8_t health; /* enum backend_health */
	uint8_t streak; /* results in a row that speak against it */
};
/* A result more. True: 'health' changed. Unknown is as good as up and takes 'fall' bad ones too, but one good one is enough. */
bool verdict_add(struct verdict *v, bool good, unsigned rise, unsigned fall);

enum answer {
	ANSWER_NONE, /* not yet */
	ANSWER_GOOD,
	ANSWER_BAD,
	ANSWER_UNASKED /* the box had no socket, memory or right for it: says nothing of the backend */
};
struct heard {
	void *owner;
	enum answer answer;
	char reason[PROBE_REASON]; /* unless good */
};

/* So many questions at a time: file descriptors, and what a burst of them costs. */
enum { PROBE_ASKING_MAX = 256 };

int probe_io_init(struct err *e);
void probe_io_fini(void);
int probe_io_fd(void);
bool probe_io_full(void);
/* Asks, unless probe_io_full(); 'h' has the answer if there is one at once, else ANSWER_NONE and 'owner' is heard of later. */
void probe_io_ask(const struct target *t, void *owner, uint64_t deadline_ns, struct heard *h);
/* Answers that came, and of those whose deadline is not after 'now_ns' that none did: each question's one. How many. */
unsigned probe_io_hear(uint64_t now_ns, struct heard h[static PROBE_ASKING_MAX]);
void probe_io_forget(const void *owner); /* whatever it asked */
