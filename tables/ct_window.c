/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP windows (contract in ct_window.h). Each side has sent up to 'end' and may send up to 'max_end', the highest ACK + window of
 * its peer. A segment must begin no later than that; it must not end a whole window before 'end', which is where the oldest
 * retransmission lies; what it acknowledges was sent, and not long ago. Comparisons are serial (RFC 1982): windows are smaller
 * than 2^30.
 *
 * Resets lie in the same bounds; only at the next byte that the receiver waits for, or where the sender had come to, do they end
 * the connection (RFC 5961 3.2). */
#include "tables/ct_window.h"

#include <sched.h>

enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };
enum {
	WINDOW_MAX = 65535 << CT_SHIFT_MAX, /* also: of whom nothing is known */
	OLD_ACK = 66000,      /* as old an ACK may be at least: a segment of the largest size, and a little */
	RESET_PICKED = 65535, /* where scales are not known, a reset has this much room, not WINDOW_MAX */
};

struct side {
	uint32_t first;   /* sequence number of its SYN, or of what was seen first */
	uint32_t end;     /* behind the last byte it sent */
	uint32_t max_end; /* behind the last byte it may send */
	uint32_t max_win; /* largest window it announced */
	uint32_t max_ack; /* highest ACK it sent, when 'acked' */
};
struct windows {
	uint32_t challenge;      /* ACK that answered a SYN (RFC 5961 4): the reset it provokes has this number */
	bool challenged, picked; /* picked: the beginning was not seen */
	bool known[2], acked[2]; /* known: sent something that counted */
	uint8_t scale[2];        /* CT_SCALE_* */
	struct side side[2];     /* by direction */
};
struct line {
	uint32_t lock;
	struct windows w;
	uint32_t zero[2];
};
_Static_assert(sizeof(struct line) == CACHE_LINE, "a line each");

bool ct_strict;

int ct_window_open(struct err *e)
{
	for (unsigned v6 = 0; v6 < 2 && ct_strict; v6++) {
		struct ct *c = ct_of(v6);
		const size_t n = (size_t)c->conns.capacity + 1;
		int r = arena_open(&c->windows, NULL, 0, n, n * sizeof(struct line), e);
		if (r)
			return r;
	}
	return 0;
}

void ct_window_close(void)
{
	arena_close(&ct4.windows);
	arena_close(&ct6.windows);
}

static struct line *line_of(const struct ct *c, uint32_t conn)
{
	return c->windows.base ? (struct line *)c->windows.base + conn : NULL;
}

static void lock(uint32_t *l)
{
	for (unsigned n = 1; __atomic_exchange_n(l, 1, __ATOMIC_ACQUIRE); n++)
		if (n % 64 == 0)
			sched_yield(); /* the holder may have lost its processor */
		else
			__builtin_ia32_pause();
}

/* ---- serial numbers ---- */

static bool after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

static bool between(uint32_t low, uint32_t x, uint32_t high)
{
	return !after(low, x) && !after(x, high);
}

static uint32_t later(uint32_t a, uint32_t b)
{
	return after(a, b) ? a : b;
}

/* ---- one segment ---- */

static uint32_t end_of(const struct ct_segment *s)
{
	return s->seq + s->len + !!(s->flags & SYN) + !!(s->flags & FIN);
}

/* A scale counts only when both SYNs had one (RFC 7323 2.2), and not for the SYNs themselves. */
static uint32_t window_in(const struct windows *w, unsigned d, const struct ct_segment *s)
{
	uint32_t shift = 0;
	if (!(s->flags & SYN) && w->scale[0] != CT_SCALE_NONE && w->scale[1] != CT_SCALE_NONE)
		shift = w->scale[d] == CT_SCALE_UNKNOWN ? CT_SHIFT_MAX : w->scale[d] - CT_SCALE;
	return (uint32_t)s->win << MIN(shift, (uint32_t)CT_SHIFT_MAX);
}

/* A segment that fits, of a side that is known. */
static void move(struct windows *w, unsigned d, const struct ct_segment *s)
{
	struct side *me = &w->side[d], *peer = &w->side[!d];
	const uint32_t win = window_in(w, d, s), end = end_of(s);
	me->max_win = MAX(me->max_win, MAX(win, 1u));
	me->end = later(me->end, end);
	if (s->more) /* the rest of the datagram is not seen, but what goes beyond the window is not taken */
		me->end = later(me->end, after(s->seq + 65535, me->max_end) ? me->max_end : s->seq + 65535);
	if (after(end, me->max_end)) /* a probe of a closed window, or a peer that takes more than it says */
		peer->max_win = MIN(peer->max_win + (end - me->max_end), (uint32_t)WINDOW_MAX);
	if (!(s->flags & ACK))
		return;
	if (w->picked)
		peer->end = later(peer->end, s->ack);
	me->max_ack = w->acked[d] ? later(me->max_ack, s->ack) : s->ack;
	w->acked[d] = true;
	peer->max_end = later(peer->max_end, s->ack + win);
}

static void begin_side(struct windows *w, unsigned d, const struct ct_segment *s)
{
	struct side *me = &w->side[d];
	const uint32_t peer_win = w->known[!d] ? w->side[!d].max_win : 0;
	*me = (struct side){ .first = s->seq, .end = end_of(s), .max_win = 1 };
	me->max_end = later(me->end, s->seq + peer_win);
	w->known[d] = true;
	w->acked[d] = false;
	w->scale[d] = s->scale;
	move(w, d, s);
}

static void begin(struct windows *w, unsigned d, const struct ct_segment *s)
{
	*w = (struct windows){ 0 };
	if (s->flags & SYN && !(s->flags & ACK)) {
		begin_side(w, d, s);
		return;
	}
	w->picked = w->known[d] = true;
	w->scale[d] = s->flags & SYN ? s->scale : CT_SCALE_UNKNOWN;
	w->side[d] = (struct side){ .first = s->seq, .end = end_of(s), .max_end = end_of(s) + WINDOW_MAX };
	w->side[!d] = (struct side){ .first = s->ack, .end = s->ack, .max_end = s->ack };
	move(w, d, s);
}

/* ---- does it fit? ---- */

/* The largest window that side 'd' can have announced. */
static uint32_t window_of(const struct windows *w, unsigned d)
{
	return w->known[d] && !w->picked ? w->side[d].max_win : (uint32_t)WINDOW_MAX;
}

static enum ct_window_verdict outside(const char **why, const char *text)
{
	*why = text;
	return CT_WINDOW_OUTSIDE;
}

static enum ct_window_verdict judge_reset(const struct windows *w, unsigned d, const struct ct_segment *s,
					  const char **why)
{
	const struct side *me = &w->side[d], *peer = &w->side[!d];
	const uint32_t next = w->acked[!d] ? peer->max_ack : me->first;
	uint32_t back = window_of(w, !d), high = me->max_end;
	if (!w->known[d] && !w->picked) /* answers a SYN: RFC 9293 3.10.7.3 */
		return s->flags & ACK && between(peer->first + 1, s->ack, peer->end)
			       ? CT_WINDOW_FITS
			       : outside(why, "a reset that does not acknowledge the SYN");
	if (w->challenged && d == 0 && s->seq == w->challenge)
		return CT_WINDOW_FITS;
	if (w->picked) {
		back = RESET_PICKED;
		high = after(high, me->end + RESET_PICKED) ? me->end + RESET_PICKED : high;
	}
	if (s->seq == next || s->seq == me->end)
		return CT_WINDOW_FITS;
	/* lower ones answer segments that were on their way when the end came: there may be hundreds */
	return between(me->end - back, s->seq, high) ? CT_WINDOW_ASIDE : outside(why, "a reset outside the window");
}

static enum ct_window_verdict judge_syn(struct windows *w, uint8_t state, unsigned d, const struct ct_segment *s)
{
	/* nobody answered yet: an opener may choose another number, and both may open at once */
	if (state == CT_SYN_SENT && (d == 0 || !w->known[d])) {
		begin_side(w, d, s);
		return CT_WINDOW_FITS;
	}
	return CT_WINDOW_ASIDE;
}

/* The next two: NULL when all is well. */
static const char *judge_ack(const struct windows *w, bool opening, unsigned d, const struct ct_segment *s)
{
	const struct side *peer = &w->side[!d];
	const uint32_t high = w->picked ? later(peer->end, peer->max_end) : peer->end;
	if ((!w->known[!d] && !w->picked) || after(s->ack, high) || after(s->sack, high))
		return "it acknowledges what was not sent";
	if (opening ? after(peer->first + 1, s->ack)
		    : after(peer->end - MAX(window_of(w, d), (uint32_t)OLD_ACK), s->ack))
		return "it acknowledges what was acknowledged long ago";
	return NULL;
}

static const char *judge_place(const struct windows *w, unsigned d, const struct ct_segment *s)
{
	const struct side *me = &w->side[d];
	if (after(s->seq, me->max_end))
		return "it begins behind the window";
	return after(me->end - window_of(w, !d), end_of(s)) ? "it ends before the window" : NULL;
}

/* Of a side that was not heard of before: a SYN+ACK, or an ACK that answers a SYN (RFC 9293 3.10.7.4, figure 9). */
static enum ct_window_verdict judge_first(struct windows *w, uint8_t state, unsigned d, const struct ct_segment *s,
					  const char **why)
{
	if (s->flags & SYN) {
		begin_side(w, d, s);
		return CT_WINDOW_FITS;
	}
	if (state != CT_SYN_SENT)
		return outside(why, "its side has not opened the connection");
	w->challenge = s->ack;
	w->challenged = true;
	return CT_WINDOW_ASIDE;
}

/* Moves windows when it fits. */
static enum ct_window_verdict judge(struct windows *w, uint8_t state, unsigned d, const struct ct_segment *s,
				    const char **why)
{
	const bool opening = (state == CT_SYN_SENT || state == CT_SYN_RECV) && !w->picked;
	const char *text;
	if (!w->known[0] && !w->known[1]) { /* taken over from a crash */
		if (!(s->flags & RST))
			begin(w, d, s);
		return CT_WINDOW_FITS;
	}
	if (s->flags & RST)
		return judge_reset(w, d, s, why);
	if ((s->flags & (SYN | ACK)) == SYN)
		return judge_syn(w, state, d, s);
	if (!w->known[d] && !w->picked && !(s->flags & SYN))
		return judge_first(w, state, d, s, why);
	if ((text = judge_ack(w, opening, d, s)))
		return outside(why, text);
	if (!w->known[d] && s->flags & SYN)
		return judge_first(w, state, d, s, why);
	if ((text = judge_place(w, d, s)))
		return outside(why, text);
	w->known[d] = true;
	move(w, d, s);
	return CT_WINDOW_FITS;
}

void ct_window_begin(const struct ct *c, uint32_t conn, const struct ct_segment *s)
{
	struct line *l = line_of(c, conn);
	if (l)
		begin(&l->w, 0, s);
}

enum ct_window_verdict ct_window(const struct ct *c, uint32_t conn, bool reply, const struct ct_segment *s, bool dry,
				 const char **why)
{
	struct line *l = line_of(c, conn);
	if (!l)
		return CT_WINDOW_FITS;
	lock(&l->lock);
	struct windows w = l->w;
	const enum ct_window_verdict v = judge(&w, LOAD_RELAXED(&ct_conn(c, conn)->state), reply, s, why);
	if (v != CT_WINDOW_OUTSIDE && !dry)
		l->w = w;
	STORE_RELEASE(&l->lock, 0);
	return v;
}
