/* SPDX-License-Identifier: BSD-2-Clause */
/* The TCP machine, loose: it follows flags only, never windows, so that asymmetric and adopted connections work (design
 * section 5). Called by workers for the packets that leave replay: SYN, FIN, RST, and for what meets a connection that
 * is not established. Datagram protocols have the two-state machine at the end.
 *
 * The machine is one constant table [state][direction][event]. What it cannot say, how many sides have sent a FIN,
 * stands in conn->fin_seen: FIN_WAIT with both is CLOSING. Two workers may feed one connection, hence the
 * compare-and-swap. */
#include "tables/ct.h"

enum tcp_event { EV_SYN, EV_SYNACK, EV_ACK, EV_FIN, EV_RST, EVENTS, EV_NONSENSE = EVENTS };
enum { TH_FIN = 1, TH_SYN = 2, TH_RST = 4, TH_ACK = 16 };

const char *const ct_state_names[CT_STATES] = {
	[CT_NEW] = "new",
	[CT_SYN_SENT] = "syn-sent",
	[CT_SYN_RECV] = "syn-recv",
	[CT_ESTABLISHED] = "established",
	[CT_FIN_WAIT] = "fin-wait",
	[CT_CLOSING] = "closing",
	[CT_TIME_WAIT] = "time-wait",
	[CT_RST_SEEN] = "rst-seen",
	[CT_UNREPLIED] = "unreplied",
	[CT_REPLIED] = "replied",
	[CT_REFUSED] = "refused",
};

/* Cells: the next state, XX = not a valid packet here, RO = reopen. */
#define XX 0xff
#define RO 0xfe
#define SS CT_SYN_SENT
#define SR CT_SYN_RECV
#define ES CT_ESTABLISHED
#define FW CT_FIN_WAIT
#define CL CT_CLOSING
#define TW CT_TIME_WAIT
#define RS CT_RST_SEEN

/* clang-format off */
static const uint8_t machine[CT_STATES][2][EVENTS] = {
	/*		      SYN SYN+ACK ACK FIN RST */
	/* An ACK or FIN out of the blue is picked up: the connection is older than this process. A SYN+ACK or RST is
	 * not: it would let backscatter of spoofed SYNs make connections. */
	[CT_NEW] =         { { SS, XX, ES, FW, XX }, { XX, XX, XX, XX, XX } },
	/* An ACK alone answers a SYN when the peer still holds an old connection (RFC 5961 section 4): it proves
	 * nothing. SYN against SYN: simultaneous open (RFC 5382 REQ-2). */
	[CT_SYN_SENT] =    { { SS, XX, SS, FW, RS }, { SR, SR, SS, XX, RS } },
	/* The original side sends SYN+ACK in a simultaneous open only; no bare ACK follows then (RFC 9293 figure 8). */
	[CT_SYN_RECV] =    { { SR, ES, ES, FW, RS }, { SR, SR, SR, FW, RS } },
	/* A SYN in here is answered by a challenge ACK, not by us. */
	[CT_ESTABLISHED] = { { ES, ES, ES, FW, RS }, { ES, ES, ES, FW, RS } },
	[CT_FIN_WAIT] =    { { FW, FW, FW, FW, RS }, { FW, FW, FW, FW, RS } },
	[CT_CLOSING] =     { { RO, CL, TW, CL, CL }, { RO, CL, TW, CL, CL } },
	[CT_TIME_WAIT] =   { { RO, TW, TW, TW, TW }, { RO, TW, TW, TW, TW } },
	/* Data restores it (RFC 7857 section 2.2); a SYN+ACK too, or a forged RST could stop an opening. */
	[CT_RST_SEEN] =    { { RO, SR, ES, FW, RS }, { RO, SR, ES, FW, RS } },
	[CT_UNREPLIED] =   { { XX, XX, XX, XX, XX }, { XX, XX, XX, XX, XX } },
	[CT_REPLIED] =     { { XX, XX, XX, XX, XX }, { XX, XX, XX, XX, XX } },
	[CT_REFUSED] =     { { RO, XX, XX, XX, XX }, { RO, XX, XX, XX, XX } },
};
/* clang-format on */

static enum tcp_event event_of(uint8_t flags)
{
	switch (flags & (TH_FIN | TH_SYN | TH_RST | TH_ACK)) {
	case TH_SYN:
		return EV_SYN;
	case TH_SYN | TH_ACK:
		return EV_SYNACK;
	case TH_ACK:
		return EV_ACK;
	case TH_FIN | TH_ACK:
		return EV_FIN;
	case TH_RST:
	case TH_RST | TH_ACK:
		return EV_RST;
	default: /* none, FIN without ACK, SYN with FIN or RST: scanners only */
		return EV_NONSENSE;
	}
}

/* What a cell means once it is known who has sent a FIN. An RST that was not the end does not undo a FIN. */
static uint8_t with_fins(uint8_t next, uint8_t fins)
{
	if (fins && (next == CT_ESTABLISHED || next == CT_FIN_WAIT))
		return fins == 3 ? CT_CLOSING : CT_FIN_WAIT;
	return next;
}

enum ct_tcp_verdict ct_tcp(struct conn *c, bool reply, uint8_t flags)
{
	enum tcp_event ev = event_of(flags);
	uint8_t old = LOAD_RELAXED(&c->state), next;

	if (ev == EV_NONSENSE)
		return CT_TCP_INVALID;
	do {
		next = machine[old][reply][ev];
		if (next == XX)
			return CT_TCP_INVALID;
		if (next == RO)
			return CT_TCP_REOPEN;
		uint8_t fins = LOAD_RELAXED(&c->fin_seen), mine = (uint8_t)(1 << reply);
		if (ev == EV_FIN && !(fins & mine))
			fins = __atomic_or_fetch(&c->fin_seen, mine, __ATOMIC_RELAXED);
		next = with_fins(next, fins);
		if (next == old)
			break;
	} while (!__atomic_compare_exchange_n(&c->state, &old, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return CT_TCP_OK;
}

enum ct_tcp_verdict ct_tcp_one_way(struct conn *c, uint8_t flags)
{
	const enum tcp_event ev = event_of(flags);
	uint8_t sent = CT_SYN_SENT;

	if (ev == EV_ACK || ev == EV_FIN)
		__atomic_compare_exchange_n(&c->state, &sent, CT_SYN_RECV, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	if (ev == EV_FIN)
		__atomic_fetch_or(&c->fin_seen, 2, __ATOMIC_RELAXED);
	return ct_tcp(c, false, flags);
}

void ct_datagram(struct conn *c, bool reply)
{
	uint8_t old = LOAD_RELAXED(&c->state);
	uint8_t next = reply ? CT_REPLIED : CT_UNREPLIED;

	/* A failed swap means that the other direction was faster: only 'replied' may follow 'unreplied'. */
	while (old == CT_NEW || (old == CT_UNREPLIED && reply))
		if (__atomic_compare_exchange_n(&c->state, &old, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			break;
}
