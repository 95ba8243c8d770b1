/* SPDX-License-Identifier: BSD-2-Clause */
/* The rules an operator wrote, by number, by what they say (to refuse doubles) and by subject; and their packet
 * counters.
 *
 * The control thread owns all of it. Workers touch the counters alone: one block for each 4096 rule numbers, with a
 * run of counters for each thread slot, so that no two threads write one line; pages of slots that never count are
 * never backed. */
#include "tables/policy_rules.h"

#include <stdlib.h>

#include "fwd/base/hash.h"

enum { CHUNK = 4096, CHUNKS = POLICY_RULES_MAX / CHUNK + 1, SUBJECT_BUCKETS = 64 * 1024 };
/* Deleted numbers wait until so many others were deleted. */
enum { REUSE_AFTER = 4096 };

struct rule {
	struct policy_rule r;
	uint32_t next_key;   /* same bucket of 'keys'; when deleted: next in line for reuse */
	uint32_t prev, next; /* same subject */
	bool used;
	struct subject *subject;
	uint64_t counted_before; /* by former rules of this number */
};

struct rule_key {
	uint8_t subject, direction, verdict, peer, proto, has_port, cidr_len, reserved;
	uint32_t subject_id, peer_identity;
	struct ipaddr cidr;
	uint16_t redirect_port, port_lo, port_hi, reserved2;
};
_Static_assert(sizeof(struct rule_key) == 40, "no padding");

static struct rule *chunks[CHUNKS];
static uint64_t *counters[CHUNKS];  /* [slot * CHUNK + id % CHUNK]; workers count */
static uint32_t *keys, n_keys;      /* buckets, a power of two */
static uint32_t n_rules, n_numbers; /* numbers 1..n_numbers were given out */
static struct subject *subjects[SUBJECT_BUCKETS], *dirty;

/* Deleted numbers in the order they may return, and those whose deletion is not yet committed. */
struct line {
	uint32_t first, last, n;
};
static struct line ripe, unripe;

static struct rule *rule_at(uint32_t id)
{
	return &chunks[id / CHUNK][id % CHUNK];
}

int policy_rules_init(struct err *e)
{
	n_keys = 1024;
	keys = calloc(n_keys, sizeof(*keys));
	n_rules = n_numbers = 0;
	ripe = unripe = (struct line){ 0 };
	return keys ? 0 : err_set(e, -ENOMEM, "policy: out of memory");
}

void policy_rules_fini(void)
{
	for (uint32_t i = 0; i < CHUNKS; i++) {
		free(chunks[i]);
		free(counters[i]);
		chunks[i] = NULL;
		counters[i] = NULL;
	}
	for (uint32_t i = 0; i < SUBJECT_BUCKETS; i++)
		for (struct subject *s = subjects[i], *next; s; s = next) {
			next = s->next;
			free(s);
		}
	memset(subjects, 0, sizeof(subjects));
	dirty = NULL;
	free(keys);
	keys = NULL;
	n_rules = 0;
	n_numbers = 0;
}

/* ---- subjects ---- */

static struct subject **subject_place(uint8_t kind, uint32_t id)
{
	struct subject **p = &subjects[(id * 4u + kind) * 0x9e3779b1u >> 16];

	while (*p && !((*p)->kind == kind && (*p)->id == id))
		p = &(*p)->next;
	return p;
}

struct subject *subject_find(uint8_t kind, uint32_t id)
{
	return *subject_place(kind, id);
}

bool subject_dirty(uint8_t kind, uint32_t id)
{
	const struct subject *s = dirty ? subject_find(kind, id) : NULL;

	return s && s->dirty;
}

const char *subject_print(const struct subject *s, char buf[static SUBJECT_STRLEN])
{
	static const char *const words[] = { "endpoint", "identity", "host" };

	if (s->kind == POLICY_HOST)
		snprintf(buf, SUBJECT_STRLEN, "host");
	else
		snprintf(buf, SUBJECT_STRLEN, "%s %u", words[s->kind], s->id);
	return buf;
}

static void touch(struct subject *s)
{
	if (s->dirty)
		return;
	s->dirty = true;
	s->next_dirty = dirty;
	dirty = s;
}

uint32_t policy_collect(const struct subject *s, uint32_t *ids, uint32_t n)
{
	for (uint32_t i = s ? s->first : 0; i; i = rule_at(i)->next)
		ids[n++] = i;
	return n;
}

static void append(struct line *to, struct line *from)
{
	if (!from->n)
		return;
	if (to->n)
		rule_at(to->last)->next_key = from->first;
	else
		to->first = from->first;
	to->last = from->last;
	to->n += from->n;
	*from = (struct line){ 0 };
}

void policy_rules_committed(void)
{
	struct subject *s;

	while ((s = dirty)) {
		dirty = s->next_dirty;
		s->dirty = false;
		if (!s->n) {
			*subject_place(s->kind, s->id) = s->next;
			free(s);
		}
	}
	append(&ripe, &unripe);
}

/* ---- keys ---- */

static struct rule_key key_of(const struct policy_rule *r)
{
	struct rule_key k = { .subject = r->subject,
			      .direction = r->direction,
			      .verdict = r->verdict,
			      .peer = r->peer,
			      .proto = r->proto,
			      .has_port = r->has_port };

	if (r->subject != POLICY_HOST)
		k.subject_id = r->subject_id;
	if (r->peer == POLICY_PEER_IDENTITY)
		k.peer_identity = r->peer_identity;
	if (r->peer == POLICY_PEER_CIDR) {
		k.cidr = ip_mask(&r->peer_cidr.addr, r->peer_cidr.len);
		k.cidr_len = r->peer_cidr.len;
	}
	if (r->has_port) {
		k.port_lo = r->port_lo;
		k.port_hi = r->port_hi;
	}
	if (r->verdict == POLICY_REDIRECT)
		k.redirect_port = r->redirect_port;
	return k;
}

static uint32_t *key_place(const struct policy_rule *r)
{
	struct rule_key k = key_of(r), other;
	uint32_t *p = &keys[hash_key40(&k) & (n_keys - 1)];

	for (; *p; p = &rule_at(*p)->next_key) {
		other = key_of(&rule_at(*p)->r);
		if (!memcmp(&k, &other, sizeof(k)))
			break;
	}
	return p;
}

/* Doubling keeps chains at one rule on average; without memory they only grow longer. */
static void grow_keys(void)
{
	uint32_t *bigger, n = 2 * n_keys;

	if (n_rules < n_keys)
		return;
	bigger = calloc(n, sizeof(*bigger));
	if (!bigger)
		return;
	free(keys);
	keys = bigger;
	n_keys = n;
	for (uint32_t id = 1; id <= n_numbers; id++) {
		struct rule *x = rule_at(id);
		struct rule_key k;
		if (!x->used)
			continue;
		k = key_of(&x->r);
		x->next_key = keys[hash_key40(&k) & (n - 1)];
		keys[hash_key40(&k) & (n - 1)] = id;
	}
}

/* ---- rules ---- */

static int check_ports(const struct policy_rule *r, struct err *e)
{
	bool icmp = r->proto == PROTO_ICMP || r->proto == PROTO_ICMP6;

	if (!r->has_port)
		return 0;
	if (!icmp && r->proto != PROTO_TCP && r->proto != PROTO_UDP && r->proto != PROTO_SCTP)
		return err_set(e, -EINVAL, "policy: a port needs tcp, udp or sctp before it (icmp, icmpv6: the type)");
	if (r->port_lo > r->port_hi)
		return err_set(e, -EINVAL, "policy: port range %u-%u is backwards: write %u-%u", r->port_lo, r->port_hi,
			       r->port_hi, r->port_lo);
	if (icmp && r->port_hi > 255)
		return err_set(e, -EINVAL, "policy: ICMP type %u does not exist: types go from 0 to 255", r->port_hi);
	return 0;
}

static int check(const struct policy_rule *r, struct err *e)
{
	if (r->subject > POLICY_HOST || r->direction > POLICY_EGRESS || r->verdict > POLICY_REDIRECT ||
	    r->peer > POLICY_PEER_CIDR)
		return err_set(e, -EINVAL, "policy: no such subject, direction, verdict or peer");
	if (r->subject == POLICY_ENDPOINT && (r->subject_id < 1 || r->subject_id > ENDPOINT_ID_MAX))
		return err_set(e, -EINVAL, "policy endpoint %u: ids go from 1 to %d", r->subject_id, ENDPOINT_ID_MAX);
	if (r->subject == POLICY_IDENTITY && r->subject_id > 0xffffff)
		return err_set(e, -EINVAL, "policy identity %u: the largest identity is %u", r->subject_id, 0xffffffu);
	if (r->peer == POLICY_PEER_IDENTITY && r->peer_identity > 0xffffff)
		return err_set(e, -EINVAL, "policy: peer identity %u: the largest identity is %u", r->peer_identity,
			       0xffffffu);
	if (r->peer == POLICY_PEER_CIDR && r->peer_cidr.len > 128)
		return err_set(e, -EINVAL, "policy: cidr prefix length %u is too long", r->peer_cidr.len);
	if (r->verdict == POLICY_REDIRECT && !r->redirect_port)
		return err_set(e, -EINVAL, "policy: redirect needs the port of the proxy, 1 to 65535");
	return check_ports(r, e);
}

static int exists(const struct policy_rule *r, uint32_t id, struct err *e)
{
	const struct policy_rule *x = &rule_at(id)->r;

	if (x->precedence != r->precedence)
		return err_set(e, -EEXIST, "policy: this rule exists with precedence %u: use 'set' to change it",
			       x->precedence);
	if (strcmp(x->name, r->name))
		return err_set(e, -EEXIST, "policy: this rule exists with the name \"%s\": use 'set' to change it",
			       x->name);
	return err_set(e, -EEXIST, "policy: this rule exists already");
}

/* Memory for rule number 'id' and its counters. */
static bool chunk_ready(uint32_t id)
{
	uint32_t c = id / CHUNK;
	uint64_t *n;

	if (!chunks[c])
		chunks[c] = calloc(CHUNK, sizeof(struct rule));
	if (!chunks[c] || counters[c])
		return chunks[c] != NULL;
	n = calloc((size_t)THREADS * CHUNK, sizeof(*n));
	STORE_RELEASE(&counters[c], n);
	return n != NULL;
}

/* A free rule number, 0 = none. */
static uint32_t number(void)
{
	uint32_t id;

	if (ripe.n > REUSE_AFTER || (ripe.n && n_numbers == POLICY_RULES_MAX)) {
		id = ripe.first;
		ripe.first = rule_at(id)->next_key;
		ripe.n--;
		return id;
	}
	if (n_numbers == POLICY_RULES_MAX || !chunk_ready(n_numbers + 1))
		return 0;
	return ++n_numbers;
}

static struct subject *subject_make(uint8_t kind, uint32_t id)
{
	struct subject **p = subject_place(kind, id);

	if (!*p) {
		*p = calloc(1, sizeof(**p));
		if (*p) {
			(*p)->kind = kind;
			(*p)->id = id;
		}
	}
	return *p;
}

static void link_rule(uint32_t id, struct rule *x, struct subject *s)
{
	x->subject = s;
	x->prev = 0;
	x->next = s->first;
	if (s->first)
		rule_at(s->first)->prev = id;
	s->first = id;
	s->n++;
	touch(s);
}

int policy_add(struct policy_rule *r, struct err *e)
{
	uint32_t *place, id;
	struct subject *s;
	struct rule *x;
	int bad = check(r, e);

	if (bad)
		return bad;
	if (r->subject == POLICY_HOST)
		r->subject_id = 0;
	r->name[POLICY_NAME_MAX - 1] = 0;
	grow_keys();
	place = key_place(r);
	if (*place) {
		r->id = *place;
		return exists(r, *place, e);
	}
	s = subject_make(r->subject, r->subject_id);
	id = s ? number() : 0;
	if (!id) {
		if (s)
			touch(s); /* the next commit frees it if it stays empty */
		return err_set(e, -ENOSPC, "policy: no room for another rule beside %u (the limit is %d): delete some",
			       n_rules, POLICY_RULES_MAX);
	}
	r->id = id;
	x = rule_at(id);
	*x = (struct rule){ .r = *r, .used = true };
	x->counted_before = policy_packets(id);
	*place = id;
	link_rule(id, x, s);
	n_rules++;
	return 0;
}

int policy_del(const struct policy_rule *r, struct err *e)
{
	uint32_t *place = key_place(r), id = *place;
	struct subject *s;
	struct rule *x;

	if (!id)
		return err_set(e, -ENOENT, "policy: there is no such rule: 'show policy' lists what there is");
	x = rule_at(id);
	s = x->subject;
	*place = x->next_key;
	if (x->next)
		rule_at(x->next)->prev = x->prev;
	if (x->prev)
		rule_at(x->prev)->next = x->next;
	else
		s->first = x->next;
	s->n--;
	touch(s);
	x->used = false;
	n_rules--;
	append(&unripe, &(struct line){ .first = id, .last = id, .n = 1 });
	return 0;
}

const struct policy_rule *policy_rule_at(uint32_t id)
{
	return id && id <= n_numbers && rule_at(id)->used ? &rule_at(id)->r : NULL;
}

uint32_t policy_next(uint32_t after_id)
{
	for (uint32_t id = after_id + 1; id <= n_numbers; id++)
		if (rule_at(id)->used)
			return id;
	return 0;
}

uint32_t policy_rule_count(void)
{
	return n_rules;
}

/* ---- counters ---- */

void policy_count(uint32_t id, unsigned slot)
{
	uint64_t *c = id && id <= POLICY_RULES_MAX ? LOAD_ACQUIRE(&counters[id / CHUNK]) : NULL;

	if (likely(c != NULL)) {
		c += slot * CHUNK + id % CHUNK;
		STORE_RELAXED(c, *c + 1);
	}
}

uint64_t policy_packets(uint32_t id)
{
	uint64_t sum = 0;

	if (!id || id > n_numbers)
		return 0;
	for (unsigned slot = 0; slot < THREADS; slot++)
		sum += LOAD_RELAXED(&counters[id / CHUNK][slot * CHUNK + id % CHUNK]);
	return sum - rule_at(id)->counted_before;
}
