/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP windows, for 'ct tcp strict': which segments a connection's two ends can have meant, by RFC 9293 3.10.7.4 as somebody in
 * the middle can know it (van Rooij, "Real Stateful TCP Packet Filtering in IP Filter"). Their state lies beside the
 * connections, a line each, and only when it was asked for at start. Workers call it; the two directions may be on two
 * workers, so each line has a lock. */
#pragma once

#include "tables/ct.h"

enum { CT_SCALE_UNKNOWN, CT_SCALE_NONE, CT_SCALE /* + shift */, CT_SHIFT_MAX = 14 };

/* What counts of a TCP segment; host order. */
struct ct_segment {
	uint32_t seq, ack;
	uint32_t sack; /* highest right edge of its SACK option; 'ack' when it has none */
	uint32_t len;  /* bytes of data */
	uint16_t win;
	uint8_t flags;
	uint8_t scale; /* of a SYN: CT_SCALE_NONE or CT_SCALE + shift */
	bool more;     /* first fragment: there are more data than 'len' */
};

/* Memory for both families, when ct_strict is set: once, after ct_init() and before workers run. 0, -ENOMEM. */
int ct_window_open(struct err *e);
void ct_window_close(void); /* ct_fini() calls it */

/* The first segment of a connection that is not published yet. */
void ct_window_begin(const struct ct *c, uint32_t conn, const struct ct_segment *s);
/* Does the segment fit? Unless 'dry', windows move with it. For segments that the TCP machine takes in the connection's present
 * state, asked before it moves; not for a SYN that starts a finished connection anew. '*why' is set when it does not fit.
 * Of connections whose beginning was not seen no window scale is known: they are held to the largest one. */
enum ct_window_verdict {
	CT_WINDOW_FITS,
	/* Forwarded, but the TCP machine must not hear of it: only the other end can tell, and will answer with a challenge
	 * (RFC 5961). A SYN to an established connection, an ACK that answers a SYN, a reset that is not quite the next byte. */
	CT_WINDOW_ASIDE,
	CT_WINDOW_OUTSIDE
};
enum ct_window_verdict ct_window(const struct ct *c, uint32_t conn, bool reply, const struct ct_segment *s, bool dry,
				 const char **why);
