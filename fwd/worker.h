/* SPDX-License-Identifier: BSD-2-Clause */
/* Workers: threads that forward. Each polls the queues it owns, hands bursts to the engine, flushes what the engine staged,
 * passes a quiescent state, ages a slice of connections, and sleeps in poll(2) (RCU offline) when idle.
 *
 * Lock order: none is ever held by a worker but the bucket locks of tables/ (address order) and the frame stack's.
 * Counters are plain stores by the owning worker; readers sum them. */
#pragma once

#include "fwd/drop.h"
#include "fwd/port/port.h"
#include "tables/neighbor.h"

struct counter {
	uint64_t packets, bytes;
};
/* By the owning worker only: plain moves, but a reader beside it never sees half a value. */
INLINE void counter_add(struct counter *c, uint64_t packets, uint64_t bytes)
{
	STORE_RELAXED(&c->packets, c->packets + packets);
	STORE_RELAXED(&c->bytes, c->bytes + bytes);
}
struct port_counter {
	struct counter rx, tx, dropped; /* dropped: by ingress port */
	uint64_t held;                  /* gauge: packets that came in by this port and wait */
};

/* Worker -> control thread. */
enum request_kind { REQUEST_RESOLVE, REQUEST_LEARN_MAC, REQUEST_NEIGHBOR_SEEN, REQUEST_ADDRESS_SEEN };
struct request {
	uint32_t kind;
	uint32_t endpoint;       /* LEARN_MAC */
	struct mac mac;          /* LEARN_MAC, NEIGHBOR_SEEN, ADDRESS_SEEN */
	struct neighbor_key key; /* RESOLVE, NEIGHBOR_SEEN (ARP reply or NA that came over a tunnel), ADDRESS_SEEN */
};

enum { TX_BURST = 64, HELD_MAX = 256, HELD_PER_NEIGHBOR = 3 };
struct held {
	struct pkt pkt;
	struct neighbor_key key;
	uint64_t deadline_ns;
};

/* A VXLAN sender that was found to be one of ours: outer source, destination and UDP port with the VNI -> 'in'. Good while
 * gen_changes stands still. */
enum { OUTER_CACHE = 128 };
struct outer {
	union {
		struct {
			be32 src, dst;
			be16 dport, zero;
			be32 vni; /* as in the header, reserved byte cleared */
		};
		__m128i key;
	};
	uint32_t in, flags; /* FLOW_IN_REMOTE | index; PKT_VNI_CLAIM in identity mode */
	uint32_t changes;
	uint32_t zone8; /* of the VNI, << 8 */
};

enum { SAMPLES = 1024, SAMPLES_MAX = 4 };
#define SAMPLE_V6 0x80000000u
#define SAMPLE_NO_DF 0x40000000u /* IPv4 */
#define SAMPLE_RECORD 0x3fffffffu

struct worker {
	uint16_t id;    /* 0.. */
	uint16_t slot;  /* thread slot of tables/ */
	uint32_t now_s; /* CLOCK_MONOTONIC seconds, read once per loop */
	uint64_t now_ns;
	uint64_t random; /* xorshift state */
	struct frame_cache frames;
	struct txd tx[PORTS_MAX][TX_BURST]; /* staged */
	uint32_t tx_n[PORTS_MAX];
	uint32_t tx_dirty; /* bit per port with staged frames */
	uint32_t n_held;
	uint32_t n_frags; /* fragments that wait (fwd/frag_queue.c) */
	uint32_t held_epoch;
	struct held held[HELD_MAX];
	struct counter drops[256];
	struct port_counter port[PORTS_MAX];
	uint64_t replayed, decided, loops, sleeps;
	/* Of loops that moved something: packets (received, or handed over by others), cycles (TSC) of the whole loop, and
	 * those of them spent at ports and rings: receiving, sending, reaping. Measured a burst at a time. */
	uint64_t packets_busy, cycles_busy, cycles_io;
	/* Records (| SAMPLE_V6, _NO_DF) of some packets of each burst, the latest last: of those the kernel is to replay some. The control
	 * thread reads it; what it reads may be overwritten meanwhile by another one. */
	uint32_t samples[SAMPLES], n_samples;
	uint32_t cpu; /* it ran on last, looked at once a millisecond */
	struct pkt burst[BURST_MAX];
	struct outer outer[OUTER_CACHE];
	struct explain *say;         /* observe.c: told what each step of a decision answers; NULL: nobody asks */
	bool handed;                 /* what runs now came from another worker, which has seen it */
	struct worker_private *priv; /* thread, rings, poll set: worker.c */
} __attribute__((aligned(64)));

extern struct worker *workers[WORKERS_MAX];
extern unsigned n_workers;
extern uint32_t samples_wanted; /* of each burst: 1..SAMPLES_MAX. Written by the control thread */

/* Creates 'n' workers (no threads yet); after the tables and frames exist. */
int workers_init(unsigned n, struct err *e);
void workers_fini(void);
int workers_start(struct err *e); /* threads */
void workers_stop(void);
void workers_pause(void); /* returns when every worker stands still outside a burst; nests */
void workers_resume(void);
/* Distributes (port, queue) pairs over workers after ports changed (workers paused or not started). */
void workers_assign(void);
/* Counters of port 'index' start at zero (workers paused or not started): a new port has it. */
void workers_forget_port(unsigned index);
/* One loop of worker 'w' in the calling thread (tests, bench): rx, engine, tx, hold queue, ageing. Returns packets received. */
unsigned worker_run_once(struct worker *w);

/* ---- for the engine, on its own worker ---- */
void worker_flush(struct worker *w, unsigned out); /* what is staged for port 'out', may be nothing */
/* Stages a frame for port 'out'; the frame now belongs to the stage. Full stages flush at once. worker_stage leaves it to the
 * caller to set the port's bit in tx_dirty before the loop ends. */
INLINE void worker_stage(struct worker *w, uint16_t out, uint8_t *data, uint32_t len, uint16_t in_port)
{
	const uint32_t n = w->tx_n[out];
	w->tx[out][n] = (struct txd){ .data = data, .len = len, .in_port = in_port };
	w->tx_n[out] = n + 1;
	if (unlikely(n + 1 == TX_BURST))
		worker_flush(w, out);
}
INLINE void worker_tx(struct worker *w, uint16_t out, uint8_t *data, uint32_t len, uint16_t in_port)
{
	w->tx_dirty |= 1u << out;
	worker_stage(w, out, data, len, in_port);
}
INLINE void worker_sample(struct worker *w, uint32_t sample)
{
	const uint32_t n = w->n_samples;
	STORE_RELAXED(&w->samples[n % SAMPLES], sample);
	STORE_RELEASE(&w->n_samples, n + 1);
}
/* Hands a frame as it came to worker 'to', whose engine_burst gets it; drops it (235) when half of their ring is taken: the
 * other half is for frames that leave. */
void worker_hand_over(struct worker *w, unsigned to, const struct pkt *p);
/* Counts the drop (reason, ingress port) and frees the frame. */
void worker_drop(struct worker *w, const struct pkt *p, enum drop reason);
/* A new frame made by the engine (ICMP error, ARP request): counts as received on PORT_CONTROL. */
uint8_t *worker_new_frame(struct worker *w);
uint8_t *worker_new_frame_for(struct worker *w, uint32_t len); /* of 'len' bytes, headroom apart */
/* The engine made 'p' its own (an ARP reply it learned from): counts as sent to PORT_CONTROL, frees the frame. */
void worker_consume(struct worker *w, const struct pkt *p);
/* Bounded ring to the control thread; false when full (the caller goes on without). Wakes the control thread. */
bool worker_request(struct worker *w, const struct request *r);
uint32_t worker_random(struct worker *w);

/* ---- for the control thread ---- */
/* Next request of any worker; false when none. wakeup fd is readable when there may be some. */
bool workers_next_request(struct request *r);
int workers_request_fd(void);
/* Copies a frame and has a worker send it on port 'out' (counts as received on PORT_CONTROL). */
int workers_inject(uint16_t out, const void *frame, uint32_t len);
/* Something a held packet may wait for has changed: workers look at their hold queues. */
void workers_neighbor_changed(void);
extern uint32_t neighbor_epoch;

/* Sums over workers. */
struct counter workers_drops(unsigned reason);
struct port_counter workers_port(unsigned port);
