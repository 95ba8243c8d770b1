/* SPDX-License-Identifier: BSD-2-Clause */
/* Step size: longer than the adjacency takes after encapsulation (design section 6, step 9). With DF, and for IPv6 always,
 * the sender is told the MTU (RFC 1191, RFC 8201); without DF the packet goes on in fragments (replay_one). */
#include "fwd/decide.h"

enum step step_size(struct decision *d)
{
	const struct pkt *p = d->p;
	uint16_t mtu = adj_at(d->to.adj)->mtu;
	if (!mtu) /* it went away since 'route' */
		return decide_drop(d, DROP_NO_NEIGHBOR);
	if (p->l3_len <= mtu)
		return STEP_ON;
	bool may_fragment = !(p->flags & PKT_IP6) && !(p->l3[6] & 0x40);
	decide_say(d, "size", "%u bytes, %u fit: %s", p->l3_len, mtu,
		   may_fragment ? "fragmented" : "the sender is told");
	d->cut = may_fragment && !(p->flags & PKT_FRAG);
	return may_fragment ? STEP_ON : decide_drop(d, DROP_MTU);
}
