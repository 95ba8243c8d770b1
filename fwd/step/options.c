/* SPDX-License-Identifier: BSD-2-Clause */
/* Step options: what the IPv4 header's options ask for. The engine acts on none of them. A source route makes a packet go where
 * its destination address does not say, past every rule here: such packets are dropped (RFC 7126 4.3, 4.4), which the operator
 * may change to "as if the option were not there". All others are forwarded unseen. Workers only. */
#include "fwd/decide.h"

enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_LSRR = 131, OPTION_SSRR = 137 };

enum step step_options(struct decision *d)
{
	const struct pkt *p = d->p;
	if (!(p->flags & PKT_OPTIONS) || p->flags & PKT_IP6)
		return STEP_ON;
	const unsigned hl = (p->l3[0] & 15) * 4u;
	for (unsigned at = IP4_HLEN, len; at < hl && p->l3[at] != OPTION_END; at += len) {
		const uint8_t type = p->l3[at];
		len = 1;
		if (type == OPTION_NOP)
			continue;
		len = at + 1 < hl ? p->l3[at + 1] : 0;
		if (len < 2 || at + len > hl) {
			d->bad_field = (uint8_t)at; /* RFC 1812 4.3.3.5 */
			return decide_drop(d, DROP_IP4_HEADER);
		}
		if ((type == OPTION_LSRR || type == OPTION_SSRR) && !settings.source_route_ignore) {
			decide_say(d, "options", "a source route is refused (set ip source-route)");
			return decide_drop(d, DROP_SOURCE_ROUTE);
		}
	}
	return STEP_ON;
}
