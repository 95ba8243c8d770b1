/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by export.c (life, visits, counts) and export_promote.c (promotion). Control thread, but for what export.h lets others call. */
#pragma once

#include "fwd/export.h"
#include "fwd/export_record.h"

/* A connection in the kernel's table. */
struct export_pair {
	uint32_t conn; /* 0: free */
	uint32_t next; /* free list */
	uint32_t at;   /* place in export_kernel.list */
	bool v6;
	uint32_t number[2];
	uint64_t packets[2], bytes[2]; /* of the kernel's counters: what was taken over already */
	uint64_t since, read_ns;       /* packets when 'rate' was found last, and when that was */
	uint32_t rate;                 /* packets a second; UINT32_MAX: not known yet, nobody takes its place */
	uint32_t used_s;               /* second of its last packet */
};

/* Beside each connection; 'pair' counts only with CONN_OFFLOADED in its flags. */
struct export_look {
	uint32_t packets; /* of both records when the window began */
	uint32_t at_ms;   /* when that was; 0: nobody looked yet */
	uint32_t pair;
};

struct export_kernel {
	struct replay_conf *conf;  /* NULL: no kernel side */
	struct export_pair *pairs; /* 1..n_pairs */
	uint32_t *list;            /* the 'used' ones in use, in no order: a few among many are found at once */
	uint32_t n_pairs, free, used, visit, sample;
	uint32_t allowed; /* REPLAY_BY_* by the setting */
};
struct export_family {
	struct export_look *look;
	struct export_count (*counted)[2];
	uint32_t bar; /* packets a second that this tick's candidates must have at least */
};
/* The window of a connection begins: what it moves from here on counts. */
INLINE void export_look_begin(struct export_look *l, uint32_t packets, uint64_t now_ns)
{
	const uint32_t now_ms = (uint32_t)(now_ns / 1000000);
	l->packets = packets;
	l->at_ms = now_ms ? now_ms : 1;
}
extern struct export_kernel export_kernel;
extern struct export_family export_families[2];
extern struct export_totals export_totals;

INLINE uint32_t export_record_packets(const struct ct *c, uint32_t conn)
{
	if (c->v6)
		return LOAD_RELAXED(&ct_flow6(2 * conn)->packets) + LOAD_RELAXED(&ct_flow6(2 * conn + 1)->packets);
	return LOAD_RELAXED(&ct_flow4(2 * conn)->packets) + LOAD_RELAXED(&ct_flow4(2 * conn + 1)->packets);
}

INLINE bool export_is_offloaded(const struct ct *c, uint32_t conn)
{
	return LOAD_ACQUIRE(&ct_conn(c, conn)->flags) & CONN_OFFLOADED;
}

/* ---- export.c ---- */
/* Takes pair 'i' out of the kernel's table; counts stay. */
void export_demote(uint32_t i, uint64_t now_ns);
/* Writes direction 'd' of a pair; false: no room. */
bool export_write_record(struct export_pair *p, unsigned d, const union export_record *k, uint64_t now_ns);
/* export_record_path() of what was copied, and where its answer goes. */
uint16_t export_path_of(bool v6, const union export_record *k, const char **why);
void export_set_flags(bool v6, union export_record *k, uint16_t flags);

/* ---- export_promote.c ---- */
/* Both directions copied, ready to be written; or why not. */
bool export_is_eligible(const struct ct *c, uint32_t conn, union export_record k[2], const char **why);
/* At the connections of which workers replayed packets since the last time; true when there were any. */
bool export_look(uint64_t now_ns);
