/* SPDX-License-Identifier: BSD-2-Clause */
/* Between fib.c (answers, look-up), fib_record.c (all routes the kernel told of) and fib_addr.c. Control thread only. */
#pragma once

#include "fwd/fib.h"

enum { FIB_HOPS_MAX = 16, FIB_TABLE_LOCAL = 255 };

struct fib_answer; /* fib.c */
struct fib_zoned {
	struct fib_zoned *next;
	uint32_t zone; /* set of the LPM */
	const struct fib_answer *answer;
};
struct fib_node;
struct fib_record {
	struct fib_record *next; /* of the same prefix, best first */
	struct fib_node *node;
	uint64_t seq; /* age; renewed by a re-dump, so that its order holds */
	uint32_t index, epoch, metric, table;
	uint8_t kind, protocol, n;
	int8_t pref;
	struct fib_nexthop nh[];
};
struct fib_node {
	struct fib_node *chain;
	struct ipnet prefix;
	struct fib_record *first;
	const struct fib_answer *answer; /* what the LPM holds; NULL: no entry */
	struct fib_zoned *zoned;         /* the same among routes by ports of one zone, for zones but 0 */
};

/* Of the present re-dump; what was not told again since it grew is swept. */
extern uint32_t fib_epoch;

/* ---- fib_record.c ---- */
int fib_records_init(void);
void fib_records_fini(void);
struct fib_node *fib_node_find(const struct ipnet *p);
struct fib_node *fib_node_get(const struct ipnet *p); /* found or made; NULL: out of memory */
void fib_node_drop(struct fib_node *n);
struct fib_node *
fib_node_next(const struct fib_node *after); /* walk; the next one may be taken before 'after' is dropped */
struct fib_record *fib_record_new(struct fib_node *node, const struct fib_route *r); /* not linked yet */
void fib_record_link(struct fib_record *x); /* at its place, behind its equals */
void fib_record_unlink(struct fib_record *x);
void fib_record_free(struct fib_record *x);
const struct fib_record *fib_record_next(uint32_t after); /* walk by index */
void fib_count_users(const struct fib_record *r, int by); /* around a change of its hops */
bool fib_same_identity(const struct fib_record *a, const struct fib_route *r);
bool fib_same_hop(const struct fib_nexthop *a, const struct fib_nexthop *b);
bool fib_same_hops(const struct fib_record *a, const struct fib_route *r,
		   bool strict); /* strict: weight and state, too */
bool fib_record_equal(const struct fib_record *a, const struct fib_route *r);

/* ---- fib_addr.c ---- */
void fib_addrs_sweep(void);
void fib_addrs_fini(void);
