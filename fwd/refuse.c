/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers for a listener that is not there (refuse.h). */
#include "fwd/refuse.h"

#include "fwd/gate.h"
#include "fwd/icmp.h"
#include "fwd/reset.h"

static void reset(struct worker *w, const struct pkt *p)
{
	const struct mac from = gate_stamp(GATE_HOST, 0);
	struct tcp_reset x;
	uint8_t *f = tcp_reset_answer(p, &x) ? worker_new_frame(w) : NULL;
	if (!f)
		return;
	memcpy(f, gate_gateway_mac.b, 6);
	memcpy(f + 6, from.b, 6);
	wr16(f + 12, ip_is4(&x.t.src) ? ET_IP4 : ET_IP6);
	struct pkt answer = { .data = f, .len = ETH_HLEN_ + tcp_reset_write(f + ETH_HLEN_, &x), .port = PORT_GATE };
	decide(w, &answer);
}

void refuse(struct worker *w, const struct pkt *p)
{
	if (p->proto == PROTO_TCP)
		reset(w, p);
	else
		icmp_error(w, p, ICMP_PORT_UNREACHABLE, 0);
}
