/* SPDX-License-Identifier: BSD-2-Clause */
/* Step policy: egress at a local source, ingress at a local destination, always of the original direction, whichever way
 * this packet goes: a rule that is removed stops replies too (design section 6, step 6). */
#include "fwd/decide.h"
#include "fwd/replay.h"

struct side {
	const char *name;
	uint32_t set;
	enum policy_direction direction;
	uint32_t identity;
	const struct ipaddr *peer;
	bool from_host; /* opened by way of the box's kernel */
};

/* The type of an echo stands for the port; that of the original direction. */
static uint16_t policy_port(const struct decision *d, uint8_t proto)
{
	return proto == PROTO_ICMP ? 8 : proto == PROTO_ICMP6 ? 128 : ntohs(d->odport);
}

static enum step check(struct decision *d, const struct side *s, uint32_t *rule)
{
	static const char *const verdicts[] = { "allowed", "refused", "redirected" };
	struct policy_result r;
	const uint8_t proto = d->conn ? d->conn->proto : d->p->proto; /* an ICMP error is judged as its connection */
	policy_check(s->set, s->direction, s->identity, s->peer, proto, policy_port(d, proto), &r);
	*rule = r.rule;
	const struct policy_rule *row = r.rule ? policy_rule_at(r.rule) : NULL;
	const char *name = row && row->name[0] ? row->name : "";
	if (!r.enforced)
		decide_say(d, "policy", "%s: allowed, no rule selects this direction", s->name);
	else if (!r.rule)
		decide_say(d, "policy", "%s: refused by default: no rule of set %u allows identity %u", s->name, s->set,
			   s->identity);
	else
		decide_say(d, "policy", "%s: %s by rule %u%s%s", s->name, verdicts[r.verdict], r.rule, *name ? " " : "",
			   name);
	/* The first of both directions has it. What the box itself opens may be a proxy's own connection: it goes on. */
	if (r.verdict == POLICY_REDIRECT && !d->proxy_port && !s->from_host)
		d->proxy_port = r.redirect_port;
	if (r.verdict != POLICY_DENY)
		return STEP_ON; /* counted by decide once it goes on: a held packet comes here again */
	if (r.rule && !d->x)
		policy_count(r.rule, d->w->slot);
	if (d->conn && !d->x) { /* cut: it lives on for the transitory time only, unless allowed again */
		STORE_RELAXED(&d->conn->state, CT_REFUSED);
		STORE_RELAXED(&d->conn->identity, d->src_identity); /* replies are judged by it */
		record_stop_both(d->ct, d->record);
	}
	return decide_drop(d, r.explicit_deny ? DROP_POLICY_DENY : DROP_POLICY);
}

/* The rules of the box itself cover endpoints and overlay, not its uplinks (design section 7, Host). Mode always closes
 * endpoints; the box, which must go on reaching them, is closed by rules of its own only. */
static bool host_policed(uint32_t other_in)
{
	return (other_in & 0xff000000) != FLOW_IN_UPLINK && policy_host_set();
}

enum step step_policy(struct decision *d)
{
	enum step s;
	const struct route *dst = d->reply ? &d->from : &d->to;
	uint32_t src_in = d->reply || d->record ? LOAD_RELAXED(&d->conn->in) : d->p->in;
	if (d->hairpin) {
		decide_say(d, "policy", "allowed: it reaches itself");
		return STEP_ON;
	}
	bool src_host = src_in == FLOW_IN_HOST && d->src_identity == ID_HOST && !d->src_endpoint;
	bool dst_host = dst->kind == ROUTE_HOST && dst->identity == ID_HOST;
	const bool by_host = src_in == FLOW_IN_HOST;
	struct side out = { "egress", 0, POLICY_EGRESS, d->dst_identity, &d->odst, by_host };
	struct side in = { "ingress", 0, POLICY_INGRESS, d->src_identity, &d->osrc, by_host };
	if (d->src_endpoint || (src_host && host_policed(dst->in))) {
		out.set = d->src_endpoint ? d->src_endpoint->policy_set : policy_host_set();
		if ((s = check(d, &out, &d->rule_egress)) != STEP_ON)
			return s;
	}
	if (d->dst_endpoint && src_host && settings.policy_allow_host) {
		decide_say(d, "policy", "ingress: allowed, the box may reach its endpoints (policy allow-host on)");
	} else if (d->dst_endpoint || (dst_host && host_policed(src_in))) {
		in.set = d->dst_endpoint ? d->dst_endpoint->policy_set : policy_host_set();
		if ((s = check(d, &in, &d->rule_ingress)) != STEP_ON)
			return s;
	}
	return STEP_ON;
}
