/* SPDX-License-Identifier: BSD-2-Clause */
/* Policy rules as configuration. Control thread. The rule's key is all of it but precedence and name. */
#include "cli/config.h"

#include <errno.h>

#include "fwd/resolve.h"
#include "tables/policy.h"

/* False: not a word of the subject. */
static bool set_subject(struct policy_rule *r, const struct arg *a)
{
	if (!strcmp(a->label, "host")) {
		r->subject = POLICY_HOST;
		return true;
	}
	if (!strcmp(a->label, "endpoint"))
		r->subject = POLICY_ENDPOINT;
	else if (!strcmp(a->label, "identity"))
		r->subject = POLICY_IDENTITY;
	else
		return false;
	r->subject_id = (uint32_t)a->n;
	return true;
}

/* False: not a word of the peer. */
static bool set_peer(struct policy_rule *r, const struct arg *a)
{
	if (!strcmp(a->label, "identity")) {
		r->peer = POLICY_PEER_IDENTITY;
		r->peer_identity = (uint32_t)a->n;
	} else if (!strcmp(a->label, "cidr")) {
		r->peer = POLICY_PEER_CIDR;
		r->peer_cidr = a->net;
	} else if (!strcmp(a->label, "any")) {
		r->peer = POLICY_PEER_ANY;
	} else {
		return false;
	}
	return true;
}

/* What the words allow and the product does not. */
static int check_words(const struct policy_rule *r, struct err *e)
{
	if (r->verdict == POLICY_REDIRECT && r->subject == POLICY_HOST)
		return err_set(e, -EINVAL,
			       "policy: the box's own connections are not redirected: name an endpoint or an identity");
	if (r->verdict == POLICY_REDIRECT && r->proto && r->proto != PROTO_TCP && r->proto != PROTO_UDP)
		return err_set(e, -EINVAL, "policy: redirect takes tcp or udp, not %s", proto_name(r->proto));
	if (r->has_port && (r->proto == PROTO_ICMP || r->proto == PROTO_ICMP6) && r->port_hi > 255)
		return err_set(e, -EINVAL, "policy: ICMP type %u does not exist: types go from 0 to 255", r->port_hi);
	return 0;
}

/* Words are read in order: 'identity' stands for the subject before the direction and for the peer after it. */
static int parse(const struct parse *p, void *data, struct err *e)
{
	struct policy_rule *r = data;
	bool direction = false;

	for (unsigned i = 1; i < p->n; i++) {
		const struct arg *a = &p->arg[i];
		const char *l = a->label;
		if (direction ? set_peer(r, a) : set_subject(r, a))
			continue;
		if (!strcmp(l, "ingress") || !strcmp(l, "egress")) {
			r->direction = *l == 'e' ? POLICY_EGRESS : POLICY_INGRESS;
			direction = true;
		} else if (!strcmp(l, "allow")) {
			r->verdict = POLICY_ALLOW;
		} else if (!strcmp(l, "deny")) {
			r->verdict = POLICY_DENY;
		} else if (!strcmp(l, "redirect")) {
			r->verdict = POLICY_REDIRECT;
			r->redirect_port = (uint16_t)a->n;
		} else if (!strcmp(l, "port")) {
			r->has_port = true;
			r->port_lo = a->range.lo;
			r->port_hi = a->range.hi;
		} else if (!strcmp(l, "precedence")) {
			r->precedence = (uint32_t)a->n;
		} else if (!strcmp(l, "name")) {
			if (strlen(a->text) >= sizeof(r->name))
				return err_set(e, -ENAMETOOLONG, "policy: a name has at most %zu characters",
					       sizeof(r->name) - 1);
			snprintf(r->name, sizeof(r->name), "%s", a->text);
		} else if (proto_by_name(l)) {
			r->proto = proto_by_name(l);
		}
	}
	return check_words(r, e);
}

static void print_key(const void *data, FILE *f)
{
	static const char *const verdicts[] = { "allow", "deny", "redirect" };
	const struct policy_rule *r = data;
	char b[IP_STRLEN];

	if (r->subject == POLICY_HOST)
		fputs("policy host", f);
	else
		fprintf(f, "policy %s %u", r->subject == POLICY_ENDPOINT ? "endpoint" : "identity", r->subject_id);
	fprintf(f, " %s %s", r->direction == POLICY_EGRESS ? "egress" : "ingress", verdicts[r->verdict]);
	if (r->verdict == POLICY_REDIRECT)
		fprintf(f, " %u", r->redirect_port);
	if (r->peer == POLICY_PEER_IDENTITY)
		fprintf(f, " identity %u", r->peer_identity);
	else if (r->peer == POLICY_PEER_CIDR)
		fprintf(f, " cidr %s", ipnet_print(&r->peer_cidr, b));
	else
		fputs(" any", f);
	if (r->proto)
		fprintf(f, " %s", proto_name(r->proto));
	if (r->has_port && r->port_lo == r->port_hi)
		fprintf(f, " port %u", r->port_lo);
	else if (r->has_port)
		fprintf(f, " port %u-%u", r->port_lo, r->port_hi);
}

static void print_options(const void *data, FILE *f)
{
	const struct policy_rule *r = data;

	if (r->precedence)
		fprintf(f, " precedence %u", r->precedence);
	if (r->name[0]) {
		fputs(" name ", f);
		word_print(f, r->name);
	}
}

/* "endpoint 10" is also the endpoint's key: the rule needs it. */
static void subject_word(const struct policy_rule *r, char buf[static 40])
{
	if (r->subject == POLICY_HOST)
		snprintf(buf, 40, "=rules host");
	else
		snprintf(buf, 40, "%s %u", r->subject == POLICY_ENDPOINT ? "endpoint" : "=rules identity",
			 r->subject_id);
}

static void needs(const void *data, config_word_fn *fn, void *arg)
{
	char word[40];

	subject_word(data, word);
	fn(arg, word);
}

/* A rule that no packet can match looks as if it did something. */
static void warn_family(struct config_tx *tx, const struct policy_rule *r)
{
	const bool v4 = ip_is4(&r->peer_cidr.addr);
	char b[IP_STRLEN];

	if (r->peer == POLICY_PEER_CIDR && r->proto == (v4 ? PROTO_ICMP6 : PROTO_ICMP))
		config_warn(tx, "policy: %s never matches %s, which is IPv%c: for that say %s", proto_name(r->proto),
			    ipnet_print(&r->peer_cidr, b), v4 ? '4' : '6', v4 ? "icmp" : "icmpv6");
}

/* What an endpoint's own rules and those of its identity make together is known when the endpoint is checked; port
 * ranges count more than once when they are compiled, so policy_commit has the last word. */
static int check(struct config_tx *tx, const void *old, const void *now, struct err *e)
{
	char word[40];

	(void)old;
	if (!now)
		return 0;
	if (config_tx_count(tx, &kind_policy) > POLICY_RULES_MAX)
		return err_set(e, -ENOSPC, "policy: more than %d rules", POLICY_RULES_MAX);
	warn_family(tx, now);
	subject_word(now, word);
	if (config_tx_needed(tx, word) > POLICY_SET_RULES_MAX)
		return err_set(e, -ENOSPC, "policy: more than %d rules for %s", POLICY_SET_RULES_MAX,
			       word + (*word == '=' ? 7 : 0));
	return 0;
}

static int apply(const void *old, const void *now, struct err *e)
{
	struct policy_rule r;
	int rc;

	if (!now)
		return policy_del(old, e);
	r = *(const struct policy_rule *)now;
	if (r.verdict == POLICY_REDIRECT && (rc = resolve_proxy_port(r.redirect_port, e)))
		return rc;
	return policy_add(&r, e);
}

static void notify(const void *old, const void *now)
{
	(void)old;
	(void)now;
	if (config_hooks.policy_changed)
		config_hooks.policy_changed();
}

const struct config_kind kind_policy = {
	.name = "policy",
	.key = "policy (endpoint ID|identity IDENTITY|host) ingress|egress (allow|deny|redirect PORT) "
	       "(identity N:0-16777215|cidr PREFIX|any) ~ [tcp|udp|sctp|icmp|icmpv6 [port RANGE]]",
	.options = "[precedence N:0-4294967295] [name TEXT]",
	.help = "what an endpoint, all endpoints of an identity, or the host may talk to",
	.size = sizeof(struct policy_rule),
	.parse = parse,
	.print_key = print_key,
	.print_options = print_options,
	.needs = needs,
	.check = check,
	.apply = apply,
	.notify = notify,
};
