/* SPDX-License-Identifier: BSD-2-Clause */
/* The hold queue of a worker (RFC 1122 2.3.2.2: keep at least one packet per unresolved neighbour). */
#include "fwd/hold.h"

#include "fwd/base/clock.h"
#include "fwd/decide.h"
#include "fwd/engine.h"
#include "fwd/frag.h"
#include "fwd/icmp.h"

#define HOLD_NS (3 * NS_PER_S)

static void ask(struct worker *w, const struct neighbor_key *key)
{
	struct request r = { .kind = REQUEST_RESOLVE, .key = *key };
	worker_request(w, &r); /* full ring: asked again with the next packet */
}

/* Takes packet 'i' out of the queue. */
static struct pkt take(struct worker *w, uint32_t i)
{
	struct pkt p = w->held[i].pkt;
	memmove(&w->held[i], &w->held[i + 1], (w->n_held - i - 1) * sizeof(w->held[0]));
	w->n_held--;
	w->port[p.port].held--;
	return p;
}

void hold_packet(struct worker *w, struct pkt *p, const struct neighbor_key *key, bool failed)
{
	unsigned same = 0;
	uint32_t oldest = 0;
	(void)failed;
	for (uint32_t i = w->n_held; i-- > 0;)
		if (memcmp(&w->held[i].key, key, sizeof(*key)) == 0) {
			same++;
			oldest = i;
		}
	if (same == 0)
		ask(w, key);
	if (same >= HELD_PER_NEIGHBOR) { /* the latest are worth most: RFC 4861 7.2.2, RFC 1122 2.3.2.2 */
		struct pkt old = take(w, oldest);
		worker_drop(w, &old, DROP_HOLD_FULL);
	}
	if (w->n_held == HELD_MAX) {
		worker_drop(w, p, DROP_HOLD_FULL);
		return;
	}
	if (w->n_held == 0)
		w->held_epoch = LOAD_ACQUIRE(&neighbor_epoch) - 1; /* it may have been resolved since the look-up */
	w->held[w->n_held++] = (struct held){ .pkt = *p, .key = *key, .deadline_ns = w->now_ns + HOLD_NS };
	w->port[p->port].held++;
}

void engine_held(struct worker *w)
{
	uint32_t epoch = LOAD_ACQUIRE(&neighbor_epoch), n = w->n_held;
	bool changed = epoch != w->held_epoch;
	if (w->n_frags)
		frag_expire(w);
	w->held_epoch = epoch;
	/* decided again, a packet may go back to the end of the queue, even in another's place: look at the first 'n' only, in order */
	for (uint32_t i = 0, seen = 0; seen < n && i < w->n_held; seen++) {
		const struct held *h = &w->held[i];
		if (unlikely(!ports[h->pkt.port])) { /* closed meanwhile: decisions read the port a packet came by */
			struct pkt p = take(w, i);
			worker_drop(w, &p, DROP_NO_PORT);
			continue;
		}
		if (w->now_ns >= h->deadline_ns) {
			struct pkt p = take(w, i);
			parse_frame(&p);
			struct decision d = { .w = w, .p = &p };
			if (step_entry(&d) == STEP_ON)
				icmp_error(w, &p, ICMP_HOST_UNREACHABLE, 0);
			worker_drop(w, &p, DROP_NO_NEIGHBOR);
			continue;
		}
		const struct neighbor *nb = changed ? neighbor_find(&h->key) : NULL;
		bool gate = h->key.dev == PORT_GATE; /* endpoints have no neighbour row */
		if (changed && (gate || (nb && nb->state != NEIGHBOR_INCOMPLETE))) {
			uint64_t deadline = h->deadline_ns;
			uint32_t before = w->n_held;
			struct pkt p = take(w, i);
			decide(w, &p);
			if (w->n_held == before) /* it went back: it has waited before */
				w->held[w->n_held - 1].deadline_ns = deadline;
			continue;
		}
		i++;
	}
}
