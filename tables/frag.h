/* SPDX-License-Identifier: BSD-2-Clause */
/* Fragmented datagrams that pass: the ports that only their first fragment has, and which bytes were seen.
 *
 * Nothing is put together. A row is found by (source, destination, identification, protocol) and the way that its fragments
 * come in by, as a flow record is: else a node could spoil other senders' datagrams by fragments in their names. For IPv6 the
 * protocol is 0, because later fragments may name another one (RFC 8200 4.5). A row belongs to one worker, the datagram's owner
 * (frag_owner), and only it writes; others read 'ports' (frag_ports_find). Each owner has its share of the rows in the order
 * they were made, so that the oldest one goes in O(1). Layout: keys and values hold no pointer and no index of another table;
 * the order and what waits are the process's own. */
#pragma once

#include "tables/table.h"

enum { FRAG_CAPACITY = 8 * 1024, FRAG_ROWS = 2 * FRAG_CAPACITY + FRAG_CAPACITY / 8 + 65, FRAG_RANGES = 49 };

struct frag_key {
	struct ipaddr src, dst;
	uint32_t id;   /* host order; IPv4: 16 bits */
	uint32_t in;   /* FLOW_IN_* that its fragments come by */
	uint16_t zone; /* of where its fragments come in */
	uint8_t proto;
	uint8_t zero[5];
};
enum frag_state {
	FRAG_WAITS,  /* the first fragment has not come */
	FRAG_OPEN,   /* ports known */
	FRAG_REFUSED /* what comes is dropped for 'reason' */
};
/* One word, so that another worker never sees half of it. */
struct frag_ports {
	be16 sport, dport; /* ICMP echo: as in the flow key */
	uint8_t proto, tcp_flags;
	uint8_t state, reason;
};
struct frag_range {
	uint16_t start, end; /* units of 8 bytes */
};
struct frag_value {
	union {
		struct frag_ports p;
		uint64_t word;
	} ports;
	uint32_t created; /* second */
	uint32_t out_id;  /* identification it leaves with, where 'renamed' */
	uint32_t got;     /* payload bytes seen */
	uint32_t end;     /* payload bytes in all, 0 = the last fragment has not come */
	uint16_t renamed, n;
	struct frag_range range[FRAG_RANGES]; /* seen, ascending */
};
_Static_assert(sizeof(struct frag_key) == 48 && sizeof(struct frag_ports) == 8, "no padding");
_Static_assert(sizeof(struct frag_value) == 28 + 4 * FRAG_RANGES, "no padding");

extern struct table frag_table;
/* Called before a row goes or begins anew, by its owner. Set once. */
extern void (*frag_on_delete)(unsigned slot, uint32_t row);

int frag_init(struct err *e);
void frag_fini(void);

/* The worker, of 'n', that all fragments between two addresses go to: so none overtakes another of its datagram. */
unsigned frag_owner(const struct frag_key *k, unsigned n);
INLINE struct frag_value *frag_at(uint32_t row)
{
	return table_value(&frag_table, row);
}
INLINE const struct frag_key *frag_key_at(uint32_t row)
{
	return table_key(&frag_table, row);
}
INLINE bool frag_complete(const struct frag_value *v)
{
	return v->end && v->got == v->end;
}
/* The owner's row for 'k', made when there is none, begun anew when the datagram it stood for is complete or older than
 * 'timeout' seconds (identifications come again: RFC 4963). 'share': rows an owner may have; the oldest goes. 0: no memory
 * free for the moment. */
uint32_t frag_row(unsigned slot, uint32_t share, const struct frag_key *k, uint32_t now_s, uint32_t timeout);
void frag_delete(unsigned slot, uint32_t row); /* by its owner */
void frag_clear(unsigned slot);                /* all of an owner's */
/* For readers that are not the owner: false when unknown or refused. */
bool frag_ports_find(const struct frag_key *k, struct frag_ports *p);
void frag_ports_set(struct frag_value *v, const struct frag_ports *p);

enum frag_fit {
	FRAG_FITS,
	FRAG_AGAIN, /* exactly this fragment was seen before */
	FRAG_CLASH  /* overlaps another, lies behind the end, or leaves more holes than a row can tell */
};
/* Bytes 'start' (a multiple of 8) to 'start' + 'len' of the payload; 'more' follow. */
enum frag_fit frag_add(struct frag_value *v, uint32_t start, uint32_t len, bool more);
/* Takes back what frag_add took. */
void frag_sub(struct frag_value *v, uint32_t start, uint32_t len, bool more);

/* An identification that 'src' has not used toward 'dst' for as long as can be (RFC 6864 4.2, RFC 7739 5.2): counters that
 * begin at random, chosen by a keyed hash of the three. One atomic addition in 16 datagrams. */
uint32_t frag_new_id(const struct ipaddr *src, const struct ipaddr *dst, uint8_t proto);

/* Datagrams that got one, so that errors about them can name them as their sender did: 'flow' is the key hash of their tuple as they
 * left (fwd/base/net.h), 'id' what they left with. Of some thousand, for as long as others do not take
 * their places; of a flow that changed its worker a former round of identifications may answer. Any worker. */
void frag_id_note(uint64_t flow, uint32_t id, uint32_t was);
bool frag_id_was(uint64_t flow, uint32_t id, uint32_t *was);

/* A row that is in the table becomes the youngest of its owner's: adoption, before workers run (tables/frag_adopt.c). */
void frag_join(unsigned slot, uint32_t row);

uint32_t frag_count(void);
uint32_t frag_next(uint32_t after); /* walk of rows, any thread */
