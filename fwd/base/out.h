/* SPDX-License-Identifier: BSD-2-Clause */
/* One writer for everything 'show' prints: rows of named columns, rendered as an aligned text table or as a JSON array of
 * objects. Column names are JSON member names (stable interface, design section 8).
 *
 * Use: for each row: out_row(o); out_str(o, "proto", ...); out_u64(o, "packets", ...); ... and at the end out_end(o).
 * Every row of one table gives the same columns in the same order. Filters given to out_init are applied here, so that
 * each 'show TABLE FIELD=VALUE max N' works alike; an unknown FIELD is reported by out_declare, or else by out_end.
 * A filter VALUE matches a column whose text is equal, or, where VALUE is a prefix (10.0.0.0/8), an address inside it. */
#pragma once

#include "fwd/base/err.h"
#include "fwd/base/net.h"

struct out;
struct out_filter {
	const char *field, *value; /* owned by the caller until out_free */
};

/* 'max' 0: no limit. */
struct out *out_new(bool json, const struct out_filter *f, unsigned n_filters, unsigned max);
/* The columns of the rows to come, as in cli/show.def (tests/lint/columns.sh holds rows and declaration together). -EINVAL with err
 * text when a filter names another one, or a value that it never has. */
int out_declare(const struct out *o, const char *columns, struct err *e);
void out_row(struct out *o);
void out_str(struct out *o, const char *col, const char *v); /* NULL: empty in text, null in JSON */
void out_u64(struct out *o, const char *col, uint64_t v);
void out_bool(struct out *o, const char *col, bool v);
void out_ip(struct out *o, const char *col, const struct ipaddr *v);
void out_net(struct out *o, const char *col, const struct ipnet *v);
void out_mac(struct out *o, const char *col, const struct mac *v);
__attribute__((format(printf, 3, 4))) void out_fmt(struct out *o, const char *col, const char *fmt, ...);
/* true once 'max' rows matched: walkers may stop early. */
bool out_full(const struct out *o);
/* Finishes the last row; the text is malloc'ed, the caller frees it. Zero rows: "" in text, "[]" in JSON.
 * -EINVAL with err text when a filter named a column no row has (only checked if there was at least one row). */
int out_end(struct out *o, char **text, struct err *e);
void out_free(struct out *o);
