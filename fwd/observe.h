/* SPDX-License-Identifier: BSD-2-Clause */
/* Watching traffic: what 'trace', 'monitor' and 'capture' ask for. An observer says what it wants; workers copy what matches into
 * a ring of their own, bounded, and the control thread hands it out. What does not fit is counted as lost, nobody waits.
 *
 * While nobody observes, workers read one word per burst, per flush of a port, per drop and per new or ending connection. */
#pragma once

#include "fwd/worker.h"

enum observe_kind { OBSERVE_TRACE = 1, OBSERVE_DROPS = 2, OBSERVE_FLOWS = 4, OBSERVE_FRAMES = 8 };
enum {
	OBSERVERS_MAX = 8,
	OBSERVE_SNAP = 1792 + 256,
	OBSERVE_RATE = 1000 /* drops a second of each worker, for each observer */
};

/* What has to match; 0 of each: anything. */
struct observe_filter {
	uint32_t set; /* bits of enum observe_field */
	struct ipnet src, dst, host;
	uint16_t sport, dport;
	uint8_t proto, reason;
	uint16_t port; /* engine port */
	uint32_t endpoint;
};
/* FIELD(SYMBOL, "word", "value", kinds that know it) */
#define OBSERVE_FIELDS(FIELD)                                                                                          \
	FIELD(SRC, "src", "address or prefix", 15)                                                                     \
	FIELD(DST, "dst", "address or prefix", 15)                                                                     \
	FIELD(HOST, "host", "address or prefix, of either end", 15)                                                    \
	FIELD(SPORT, "sport", "port number", 15)                                                                       \
	FIELD(DPORT, "dport", "port number", 15)                                                                       \
	FIELD(PROTO, "proto", "protocol", 15)                                                                          \
	FIELD(PORT, "port", "port of the box, as in 'show ports'", OBSERVE_TRACE | OBSERVE_DROPS | OBSERVE_FRAMES)     \
	FIELD(ENDPOINT, "endpoint", "endpoint id", 15)                                                                 \
	FIELD(REASON, "reason", "number or symbol of a drop reason", OBSERVE_DROPS)
enum observe_field {
#define FIELD(sym, ...) OBSERVE_##sym,
	OBSERVE_FIELDS(FIELD)
#undef FIELD
		OBSERVE_N_FIELDS
};
/* One FIELD=VALUE of the operator's into 'f'. 0, or -EINVAL with a sentence. */
int observe_filter_add(struct observe_filter *f, enum observe_kind kind, const char *field, const char *value,
		       struct err *e);

/* A connection, as it began or ended. */
struct observed_flow {
	struct ipaddr src, dst, reply_src, reply_dst;
	uint16_t sport, dport, reply_sport, reply_dport; /* host order */
	uint8_t proto, state;
	bool end;
	uint32_t in, identity, dst_identity, rule;
	uint64_t packets, bytes, reply_packets, reply_bytes;
};
/* A record in a ring; behind it 'cap' bytes of the frame, then what the kind has. */
struct observed {
	uint32_t size; /* all of it, multiple of 8; UINT32_MAX: the rest of the ring is empty */
	uint8_t kind;  /* enum observe_kind, one of them */
	uint8_t reason;
	uint8_t out;       /* FRAMES: it leaves; TRACE: frames that left, each a struct observed_out */
	uint8_t verdict;   /* TRACE */
	uint16_t port;     /* engine port it came or leaves by */
	uint16_t worker;   /* thread slot */
	uint32_t mask;     /* observers that want it */
	uint32_t len, cap; /* of the frame */
	uint32_t record;   /* TRACE: replayed by it; 0 = decided */
	uint32_t text;     /* TRACE: bytes of "step\0text\0" pairs */
	uint64_t time_ns;  /* CLOCK_MONOTONIC of the worker's loop */
};
struct observed_out {
	uint16_t port, cap; /* bytes of the frame behind it, padded to 8 */
	uint32_t len;
};
enum observed_verdict { OBSERVED_FORWARDED, OBSERVED_DROPPED, OBSERVED_KEPT, OBSERVED_VERDICTS };
INLINE uint32_t observed_pad(uint32_t n)
{
	return (n + 7) & ~7u;
}

/* Bits of enum observe_kind that somebody asked for. */
extern uint32_t observe_on;
INLINE bool observing(uint32_t kinds)
{
	return unlikely(LOAD_RELAXED(&observe_on) & kinds);
}

/* ---- control thread ---- */
int observe_init(struct err *e);
void observe_fini(void); /* workers stand still */
int observe_fd(void);    /* readable when there is something in a ring */
/* A new observer: its number, or -errno (-EBUSY: OBSERVERS_MAX of them). 'left': that many packets, 0 = no limit (TRACE). */
int observe_start(enum observe_kind kind, const struct observe_filter *f, uint32_t left, struct err *e);
void observe_stop(unsigned number);
uint64_t observe_lost(unsigned number);
/* Hands each record to 'fn' and empties the rings; of one worker in order. What an observer gets may have begun before it. */
void observe_drain(void (*fn)(const struct observed *o));

/* ---- workers, and any thread that has a slot ---- */
/* The burst, packet by packet, with what the observers want of each; 'core' does the work. */
void observe_burst(struct worker *w, struct pkt *p, unsigned n,
		   void (*core)(struct worker *w, struct pkt *p, unsigned n));
void observe_sent(struct worker *w, uint16_t port, const struct txd *d, unsigned n); /* about to leave */
void observe_drops(struct worker *w, const struct txd *d, unsigned n, enum drop reason);
void observe_conn(unsigned slot, bool v6, uint32_t conn, bool end);
