/* SPDX-License-Identifier: BSD-2-Clause */
/* Identity policy: rules are compiled into immutable sets; endpoints point to one, equal sets are shared (design section 6).
 *
 * Order among matching rules: any deny; else the highest precedence; then the longest protocol/port prefix; then identity or
 * cidr over any; then redirect over allow. A direction is default-deny once the set has a rule in it (mode default), always
 * (always) or never enforced (never). Workers evaluate lock-free; the control thread adds rules and compiles. */
#pragma once

#include "tables/endpoint.h"
#include "tables/gen.h"

enum policy_subject { POLICY_ENDPOINT, POLICY_IDENTITY, POLICY_HOST };
enum policy_direction { POLICY_INGRESS = 0, POLICY_EGRESS = 1 };
enum policy_verdict { POLICY_ALLOW, POLICY_DENY, POLICY_REDIRECT };
enum policy_peer { POLICY_PEER_ANY, POLICY_PEER_IDENTITY, POLICY_PEER_CIDR };
enum policy_mode { POLICY_MODE_DEFAULT, POLICY_MODE_ALWAYS, POLICY_MODE_NEVER };
enum { POLICY_RULES_MAX = 1024 * 1024, POLICY_SET_RULES_MAX = 16 * 1024, POLICY_NAME_MAX = 64 };

/* One configured rule: the row an operator wrote. Identity of a rule for add/del: all members but precedence, name, id. */
struct policy_rule {
	uint8_t subject, direction, verdict, peer;
	uint32_t subject_id;    /* endpoint id or identity */
	uint32_t peer_identity; /* POLICY_PEER_IDENTITY */
	struct ipnet peer_cidr; /* POLICY_PEER_CIDR */
	uint16_t redirect_port;
	uint8_t proto;              /* 0 = any */
	bool has_port;              /* ICMP: the type */
	uint16_t port_lo, port_hi;  /* inclusive, host order */
	uint32_t precedence;        /* default 0 */
	char name[POLICY_NAME_MAX]; /* "" = none */
	uint32_t id;                /* filled in by policy_add: row number for counters and explain, > 0 */
};

int policy_init(struct err *e);
void policy_fini(void);
/* 0 with r->id set; -EEXIST (same rule; err text says when name or precedence differ: use set), -ENOSPC. Nothing takes
 * effect before policy_commit. */
int policy_add(struct policy_rule *r, struct err *e);
int policy_del(const struct policy_rule *r, struct err *e); /* -ENOENT */
/* Compiles what changed: for every endpoint (and the host) its set = rules of its id + rules of its identity; stores it by
 * endpoint_set()'s policy_set, bumps the generations of what changed. -ENOSPC names the set over its limit; then nothing
 * changed and the last adds and dels are to be undone by the caller. Also call after endpoints were added or changed. */
int policy_commit(struct err *e);
/* The set an endpoint with this id and identity gets: what the last commit gave it, and for one that no commit has seen a set
 * compiled now from the present rules, so that a new endpoint is never without. 0 = no rules. Control thread. */
uint32_t policy_set_of(uint32_t endpoint_id, uint32_t identity);
uint32_t policy_host_set(void);
uint16_t policy_host_gen(void); /* generation counter bumped when the host's set changes */
extern uint8_t policy_mode;     /* enum policy_mode; whoever changes it bumps the extra counter */

struct policy_result {
	enum policy_verdict verdict;
	bool explicit_deny; /* a deny rule, not the default */
	bool enforced;      /* false: no rule in this direction, allowed by default */
	uint32_t rule;      /* id of the deciding rule, 0 = the default */
	uint16_t redirect_port;
};
/* 'port' is the destination port in host order (ICMP: the type); 'peer' the other side's address, 'identity' its identity.
 * Must be RCU online. */
void policy_check(uint32_t set, enum policy_direction d, uint32_t identity, const struct ipaddr *peer, uint8_t proto,
		  uint16_t port, struct policy_result *r);
/* Counts one packet on rule 'id' (per thread slot, no shared line). */
void policy_count(uint32_t id, unsigned slot);
uint64_t policy_packets(uint32_t id);
const struct policy_rule *policy_rule_at(uint32_t id); /* NULL when gone */
uint32_t policy_next(uint32_t after_id);
uint32_t policy_rule_count(void);
