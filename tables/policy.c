/* SPDX-License-Identifier: BSD-2-Clause */
/* The control thread's side of policy: the rules as configured, which of them each endpoint gets, and the compiled
 * sets.
 *
 * Rules hang on subjects (an endpoint id, an identity, the host). A commit visits the endpoints whose subjects
 * changed, finds or compiles their sets, and only then switches them over: what can fail comes first. Sets are named
 * by number and shared between endpoints with the same rules; a set without users is freed after a grace period.
 * A rule's number returns for new rules only after the commit that dropped it, and late: counters and connections name
 * it. */
#include "tables/policy.h"

#include <stdlib.h>

#include "fwd/base/rcu.h"
#include "tables/policy_rules.h"
#include "tables/policy_set.h"

/* Twice what can be in use (each endpoint and the host), for those that a commit replaces. */
enum { SETS_MAX = 2 * (ENDPOINT_ID_MAX + 2), SET_BUCKETS = 64 * 1024 };

struct set {
	uint32_t number, refs, n_rules, next; /* next of the same bucket */
	uint32_t born;                        /* number of the commit that compiled it */
	uint64_t hash;
	uint32_t *rules; /* sorted ids */
	struct policy_set *compiled;
};

uint8_t policy_mode = POLICY_MODE_DEFAULT;

static struct policy_set *compiled[SETS_MAX]; /* RCU: what workers see */
static struct set *sets[SETS_MAX];
static uint32_t buckets[SET_BUCKETS];
static uint32_t free_sets[SETS_MAX], n_free_sets, n_sets_ever, n_sets_ripening;
static uint32_t commit_number;

/* What the last commit gave to an endpoint. */
struct given {
	uint32_t identity, set;
	bool present;
};
static struct given given[ENDPOINT_ID_MAX + 1];
static uint32_t host_set;

struct change {
	uint32_t endpoint, set; /* endpoint 0: the host */
};

int policy_init(struct err *e)
{
	commit_number = 0;
	n_free_sets = 0;
	n_sets_ever = 0;
	return policy_rules_init(e);
}

static void set_free(void *p)
{
	struct set *s = p;

	compiled[s->number] = NULL;
	sets[s->number] = NULL;
	free_sets[n_free_sets++] = s->number;
	n_sets_ripening--;
	policy_set_free(s->compiled);
	free(s->rules);
	free(s);
}

static void unlink_set(struct set *s)
{
	uint32_t *p = &buckets[s->hash % SET_BUCKETS];

	while (*p != s->number)
		p = &sets[*p]->next;
	*p = s->next;
}

/* Nobody gets it from now on; workers that still use it have until the grace period. */
static void set_retire(struct set *s)
{
	unlink_set(s);
	n_sets_ripening++;
	s->refs = UINT32_MAX;
	rcu_defer(set_free, s);
}

void policy_fini(void)
{
	rcu_wait();
	for (uint32_t i = 1; i <= n_sets_ever; i++)
		if (sets[i]) {
			n_sets_ripening++;
			set_free(sets[i]);
		}
	memset(buckets, 0, sizeof(buckets));
	memset(given, 0, sizeof(given));
	host_set = 0;
	policy_rules_fini();
}

/* ---- sets ---- */

static uint64_t hash_rules(const uint32_t *ids, uint32_t n)
{
	uint64_t h = n;

	for (uint32_t i = 0; i < n; i++)
		h = (h ^ ids[i]) * 0x9e3779b97f4a7c15ull, h ^= h >> 29;
	return h;
}

static struct set *set_find(const uint32_t *ids, uint32_t n, uint64_t hash)
{
	for (uint32_t i = buckets[hash % SET_BUCKETS]; i; i = sets[i]->next)
		if (sets[i]->hash == hash && sets[i]->n_rules == n && !memcmp(sets[i]->rules, ids, n * sizeof(*ids)))
			return sets[i];
	return NULL;
}

static uint32_t set_number(void)
{
	if (!n_free_sets && n_sets_ever == SETS_MAX - 1 && n_sets_ripening)
		rcu_wait();
	if (n_free_sets)
		return free_sets[--n_free_sets];
	return n_sets_ever < SETS_MAX - 1 ? ++n_sets_ever : 0;
}

static struct policy_set *compile(const uint32_t *ids, uint32_t n)
{
	static const struct policy_rule *rules[POLICY_SET_RULES_MAX];

	for (uint32_t i = 0; i < n; i++)
		rules[i] = policy_rule_at(ids[i]);
	return policy_set_compile(rules, n);
}

static struct set *set_make(const uint32_t *ids, uint32_t n, uint64_t hash)
{
	struct set *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->rules = malloc(n * sizeof(*ids));
	s->compiled = s->rules ? compile(ids, n) : NULL;
	s->number = s->compiled ? set_number() : 0;
	if (!s->number) {
		policy_set_free(s->compiled);
		free(s->rules);
		free(s);
		return NULL;
	}
	memcpy(s->rules, ids, n * sizeof(*ids));
	s->n_rules = n;
	s->hash = hash;
	s->born = commit_number;
	s->next = buckets[hash % SET_BUCKETS];
	buckets[hash % SET_BUCKETS] = s->number;
	sets[s->number] = s;
	STORE_RELEASE(&compiled[s->number], s->compiled);
	return s;
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The set for rules of subjects 'own' and 'identity' (either may be NULL), compiled if there is none; '*number' 0: no
 * rules. */
static int set_for(struct subject *own, struct subject *identity, uint32_t *number, struct err *e)
{
	static uint32_t ids[POLICY_SET_RULES_MAX];
	uint32_t n = (own ? own->n : 0) + (identity ? identity->n : 0);
	char a[SUBJECT_STRLEN], b[SUBJECT_STRLEN];
	struct set *s;
	uint64_t hash;

	*number = 0;
	if (!n)
		return 0;
	/* Endpoints without rules of their own share what their identity got in this commit. */
	if ((!own || !own->n) && identity->set_of == commit_number && identity->set) {
		*number = identity->set;
		return 0;
	}
	if (n > POLICY_SET_RULES_MAX)
		return err_set(e, -ENOSPC,
			       "policy of %s%s%s: %u rules, and a set holds %d: delete some or join them by ranges and "
			       "prefixes",
			       own ? subject_print(own, a) : "", own && identity ? " with " : "",
			       identity ? subject_print(identity, b) : "", n, POLICY_SET_RULES_MAX);
	n = policy_collect(own, ids, 0);
	n = policy_collect(identity, ids, n);
	qsort(ids, n, sizeof(*ids), compare_ids);
	hash = hash_rules(ids, n);
	s = set_find(ids, n, hash);
	if (!s)
		s = set_make(ids, n, hash);
	if (!s)
		return err_set(e, -ENOMEM, "policy: no memory for a set of %u rules", n);
	*number = s->number;
	if (identity && (!own || !own->n)) {
		identity->set = s->number;
		identity->set_of = commit_number;
	}
	return 0;
}

static int set_of_endpoint(uint32_t id, uint32_t identity, uint32_t *number, struct err *e)
{
	return set_for(subject_find(POLICY_ENDPOINT, id), subject_find(POLICY_IDENTITY, identity), number, e);
}

uint32_t policy_set_of(uint32_t endpoint_id, uint32_t identity)
{
	uint32_t number;

	if (endpoint_id <= ENDPOINT_ID_MAX && given[endpoint_id].present && given[endpoint_id].identity == identity)
		return given[endpoint_id].set;
	commit_number++; /* what identities remember is of the last commit */
	return set_of_endpoint(endpoint_id, identity, &number, NULL) ? 0 : number;
}

uint32_t policy_host_set(void)
{
	return LOAD_ACQUIRE(&host_set);
}

uint16_t policy_host_gen(void)
{
	return gen_number(GEN_POLICY, 0);
}

/* ---- commit ---- */

static void hold(uint32_t number)
{
	if (number)
		sets[number]->refs++;
}

static void release(uint32_t number)
{
	if (number)
		sets[number]->refs--;
}

/* Whether the endpoint may need another set than it has. */
static bool affected(const struct endpoint *ep)
{
	const struct given *g = &given[ep->id];

	return !g->present || g->identity != ep->identity || g->set != ep->policy_set ||
	       subject_dirty(POLICY_ENDPOINT, ep->id) || subject_dirty(POLICY_IDENTITY, ep->identity);
}

struct changes {
	struct change *c;
	uint32_t n, room;
};

static int note(struct changes *list, uint32_t endpoint, uint32_t set, struct err *e)
{
	if (list->n == list->room) {
		uint32_t room = list->room ? 2 * list->room : 64;
		struct change *c = realloc(list->c, room * sizeof(*c));
		if (!c)
			return err_set(e, -ENOMEM, "policy: out of memory");
		list->c = c;
		list->room = room;
	}
	list->c[list->n++] = (struct change){ .endpoint = endpoint, .set = set };
	hold(set);
	return 0;
}

/* Everything that can fail. */
static int prepare(struct changes *list, struct err *e)
{
	uint32_t set;
	int r = 0;

	if (subject_dirty(POLICY_HOST, 0) || subject_dirty(POLICY_IDENTITY, 1)) {
		r = set_for(subject_find(POLICY_HOST, 0), subject_find(POLICY_IDENTITY, 1), &set, e);
		if (!r)
			r = note(list, 0, set, e);
	}
	for (uint32_t id = endpoint_next(0); id && !r; id = endpoint_next(id)) {
		if (!affected(endpoint_by_id(id)))
			continue;
		r = set_of_endpoint(id, endpoint_by_id(id)->identity, &set, e);
		if (!r)
			r = note(list, id, set, e);
	}
	return r;
}

static void undo(struct changes *list)
{
	for (uint32_t i = 0; i < list->n; i++)
		release(list->c[i].set);
	/* Older sets without references may already be in the hands of an endpoint that no commit has seen yet. */
	for (uint32_t i = 1; i <= n_sets_ever; i++)
		if (sets[i] && !sets[i]->refs && sets[i]->born == commit_number)
			set_retire(sets[i]);
}

static int give(uint32_t id, uint32_t set, struct err *e)
{
	struct endpoint ep = *endpoint_by_id(id);
	struct given *g = &given[id];
	int r = 0;

	if (ep.policy_set != set) {
		ep.policy_set = set;
		r = endpoint_set(&ep, e);
	}
	if (g->present)
		release(g->set);
	*g = (struct given){ .identity = ep.identity, .set = set, .present = true };
	return r;
}

static void forget_gone_endpoints(void)
{
	for (uint32_t id = 1; id <= ENDPOINT_ID_MAX; id++)
		if (given[id].present && !endpoint_by_id(id)) {
			release(given[id].set);
			given[id] = (struct given){ 0 };
		}
}

int policy_commit(struct err *e)
{
	struct changes list = { 0 };
	int r;

	commit_number++;
	r = prepare(&list, e);
	if (r) {
		undo(&list);
		free(list.c);
		return r;
	}
	for (uint32_t i = 0; i < list.n; i++) {
		uint32_t set = list.c[i].set;
		if (list.c[i].endpoint) {
			int failed = give(list.c[i].endpoint, set, e);
			r = r ? r : failed;
		} else {
			release(host_set);
			if (set != host_set) {
				STORE_RELEASE(&host_set, set);
				gen_bump(policy_host_gen());
			}
		}
	}
	forget_gone_endpoints();
	for (uint32_t i = 1; i <= n_sets_ever; i++)
		if (sets[i] && !sets[i]->refs)
			set_retire(sets[i]);
	policy_rules_committed();
	free(list.c);
	return r;
}

/* ---- workers ---- */

void policy_check(uint32_t set, enum policy_direction d, uint32_t identity, const struct ipaddr *peer, uint8_t proto,
		  uint16_t port, struct policy_result *r)
{
	const struct policy_set *s = set < SETS_MAX ? LOAD_ACQUIRE(&compiled[set]) : NULL;
	uint8_t mode = LOAD_RELAXED(&policy_mode);

	*r = (struct policy_result){ .verdict = POLICY_ALLOW };
	if (mode == POLICY_MODE_NEVER)
		return;
	/* A number without a set cannot be; should it ever, nothing passes. */
	r->enforced = mode == POLICY_MODE_ALWAYS || (s ? policy_set_enforces(s, d) : set != 0);
	if (!r->enforced)
		return;
	r->verdict = POLICY_DENY;
	if (s)
		policy_set_check(s, d, identity, peer, proto, port, r);
}
