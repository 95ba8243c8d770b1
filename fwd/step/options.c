/* SPDX-License-Identifier: BSD-2-Clause */
/* Step options: what the IPv4 header's options ask for. The engine acts on none of them. A source route makes a packet go where
 * its destination address does not say, past every rule here: such packets are dropped (RFC 7126 4.3, 4.4), which the operator
 * may change to "as if the option were not there". All others are forwarded unseen. Workers only. */
#include "fwd/decide.h"

enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_LSRR = 131, OPTION_SSRR = 137 };

enum drop options_check(const uint8_t *l3, uint8_t *where)
{
	const unsigned hl = (l3[0] & 15) * 4u;
	for (unsigned at = IP4_HLEN, len; at < hl && l3[at] != OPTION_END; at += len) {
		const uint8_t type = l3[at];
		len = 1;
		if (type == OPTION_NOP)
			continue;
		*where = (uint8_t)at;
		len = at + 1 < hl ? l3[at + 1] : 0;
		if (len < 2 || at + len > hl)
			return DROP_IP4_HEADER;
		if ((type == OPTION_LSRR || type == OPTION_SSRR) && !settings.source_route_ignore)
			return DROP_SOURCE_ROUTE;
	}
	return DROP_NONE;
}

enum step step_options(struct decision *d)
{
	const struct pkt *p = d->p;
	uint8_t at;
	if (!(p->flags & PKT_OPTIONS) || p->flags & PKT_IP6)
		return STEP_ON;
	const enum drop why = options_check(p->l3, &at);
	if (why == DROP_NONE)
		return STEP_ON;
	if (why == DROP_SOURCE_ROUTE)
		decide_say(d, "options", "a source route is refused (set ip source-route)");
	else
		d->bad_field = at; /* RFC 1812 4.3.3.5 */
	return decide_drop(d, why);
}
