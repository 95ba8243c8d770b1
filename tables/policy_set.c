/* SPDX-License-Identifier: BSD-2-Clause */
/* The compiled form of a set of policy rules and its look-up, in workers once per decided packet.
 *
 * Every rule becomes one cell, a port range one for each of its prefixes, found by exact key {direction, peer kind and
 * prefix length, peer, protocol, port bits, port}. A direction knows its 'shapes', the peer kinds and lengths that
 * occur, and for each the port lengths that occur there: those combinations are probed and no others, 1 to 10 in a
 * usual set. A cell keeps the best deny and the best other rule of its key, with scores that order rules across cells.
 * Probes mostly miss: a miss compares eight 16-bit tags at once and takes no branch that depends on how full a bucket
 * is (open addressing would mispredict on every other probe). No bucket overflows: the compiler
 * sees to it. The hash is a plain multiply: keys come from the configuration alone, packets cannot fill a bucket. */
#include "tables/policy_set.h"

#include <immintrin.h>
#include <stdlib.h>

/* How much of protocol and port a key holds: nothing, the protocol, the protocol and 'k' leading bits of the port. */
enum port_len { PORT_NONE = 0, PORT_PROTO = 1, PORT_LENS = 18 };
enum peer_kind { KIND_ANY, KIND_IDENTITY, KIND_CIDR4, KIND_CIDR6 };
enum { SHAPES_4 = 2 + 33, SHAPES_6 = 2 + 129, BUCKET_TAGS = 8 };

struct cell {
	uint64_t peer[2];
	uint64_t meta;
	uint64_t deny_score, allow_score;
	uint32_t deny_rule, allow_rule; /* 0 = none */
	uint16_t redirect_port;
	uint8_t redirect;
	uint8_t pad[5];
};
_Static_assert(sizeof(struct cell) == 56, "no padding");

struct shape {
	uint64_t mask[2];
	uint64_t meta;  /* direction, kind, length at their places */
	uint32_t ports; /* bit per port_len in use */
	uint32_t kind;
};

struct dir {
	bool enforced;
	uint64_t protos[4];   /* protocols that some rule names */
	uint32_t n_shapes[2]; /* [is IPv6] */
	struct shape *shapes[2];
};

struct policy_set {
	struct dir dir[2];
	uint32_t n_cells, mask; /* number of buckets - 1 */
	uint16_t (*tags)[BUCKET_TAGS];
	uint32_t *first; /* of a bucket: its cells lie together, in the order of their tags */
	struct cell *cells;
	struct shape *shapes; /* of all directions and families */
};

static uint64_t mix(uint64_t a, uint64_t b)
{
	__uint128_t m = (__uint128_t)a * b;
	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint64_t hash_peer(uint64_t p0, uint64_t p1)
{
	return mix(p0 ^ 0xa0761d6478bd642full, p1 ^ 0xe7037ed1a0b428dbull);
}

static uint64_t hash_cell(uint64_t peer_hash, uint64_t meta)
{
	return mix(peer_hash ^ meta, 0x8ebc6af09c88c6e3ull);
}

static uint64_t meta_peer(unsigned direction, unsigned kind, unsigned len)
{
	return direction | kind << 1 | len << 8;
}

static uint64_t meta_port(unsigned port_len, uint8_t proto, uint16_t port)
{
	unsigned keep = port_len > PORT_PROTO ? 0xffff0000u >> (port_len - PORT_PROTO) & 0xffff : 0;
	uint64_t meta = (uint64_t)port_len << 16 | (uint64_t)(port & keep) << 32;

	return port_len == PORT_NONE ? meta : meta | (uint64_t)proto << 24;
}

/* Precedence, then length of protocol and port, then whether the peer is named, then redirect over allow. */
static uint64_t score_of(const struct policy_rule *r, unsigned port_len)
{
	return (uint64_t)r->precedence << 32 | (uint64_t)port_len << 8 | (r->peer != POLICY_PEER_ANY) << 1 |
	       (r->verdict == POLICY_REDIRECT);
}

/* ---- look-up ---- */

static uint16_t tag_of(uint64_t hash)
{
	return (uint16_t)(hash >> 48) | 1;
}

static const struct cell *find(const struct policy_set *s, const uint64_t peer[2], uint64_t peer_hash, uint64_t meta)
{
	uint64_t h = hash_cell(peer_hash, meta);
	uint32_t b = (uint32_t)h & s->mask;
	__m128i same = _mm_cmpeq_epi16(_mm_loadu_si128((const void *)s->tags[b]), _mm_set1_epi16((short)tag_of(h)));

	for (uint32_t m = (uint32_t)_mm_movemask_epi8(same) & 0x5555; unlikely(m); m &= m - 1) {
		const struct cell *c = &s->cells[s->first[b] + (unsigned)__builtin_ctz(m) / 2];
		if (c->meta == meta && c->peer[0] == peer[0] && c->peer[1] == peer[1])
			return c;
	}
	return NULL;
}

/* Best so far; equal scores go to the older rule so that the answer does not depend on the order of cells. */
struct best {
	const struct cell *deny, *allow;
};

static void consider(struct best *b, const struct cell *c)
{
	if (c->deny_rule && (!b->deny || c->deny_score > b->deny->deny_score ||
			     (c->deny_score == b->deny->deny_score && c->deny_rule < b->deny->deny_rule)))
		b->deny = c;
	if (c->allow_rule && (!b->allow || c->allow_score > b->allow->allow_score ||
			      (c->allow_score == b->allow->allow_score && c->allow_rule < b->allow->allow_rule)))
		b->allow = c;
}

void policy_set_check(const struct policy_set *s, enum policy_direction d, uint32_t identity, const struct ipaddr *peer,
		      uint8_t proto, uint16_t port, struct policy_result *r)
{
	const struct dir *dir = &s->dir[d];
	const bool v6 = !ip_is4(peer);
	const uint64_t of_kind[4][2] = {
		{ 0, 0 }, { identity, 0 }, { peer->d[0], peer->d[1] }, { peer->d[0], peer->d[1] }
	};
	const uint32_t lens = dir->protos[proto >> 6] >> (proto & 63) & 1 ? ~0u : 1u << PORT_NONE;
	struct best best = { 0 };

	for (uint32_t i = 0; i < dir->n_shapes[v6]; i++) {
		const struct shape *sh = &dir->shapes[v6][i];
		uint64_t key[2] = { of_kind[sh->kind][0] & sh->mask[0], of_kind[sh->kind][1] & sh->mask[1] };
		uint64_t h = hash_peer(key[0], key[1]);
		for (uint32_t m = sh->ports & lens; m; m &= m - 1) {
			unsigned port_len = (unsigned)__builtin_ctz(m);
			const struct cell *c = find(s, key, h, sh->meta | meta_port(port_len, proto, port));
			if (c)
				consider(&best, c);
		}
	}
	r->redirect_port = 0;
	r->rule = 0;
	r->explicit_deny = best.deny != NULL;
	r->verdict = POLICY_DENY;
	if (best.deny) {
		r->rule = best.deny->deny_rule;
	} else if (best.allow) {
		r->rule = best.allow->allow_rule;
		r->verdict = best.allow->redirect ? POLICY_REDIRECT : POLICY_ALLOW;
		r->redirect_port = best.allow->redirect_port;
	}
}

bool policy_set_enforces(const struct policy_set *s, enum policy_direction d)
{
	return s->dir[d].enforced;
}

/* ---- compiler ---- */

/* Longest port prefix that starts at 'lo' and does not pass 'hi'; its size in ports. */
static uint32_t prefix_at(uint32_t lo, uint32_t hi)
{
	uint32_t n = lo ? lo & -lo : 65536;

	while (n > hi - lo + 1)
		n /= 2;
	return n;
}

static uint32_t cells_of(const struct policy_rule *r)
{
	uint32_t n = 0;

	if (!r->has_port)
		return 1;
	for (uint32_t p = r->port_lo; p <= r->port_hi; p += prefix_at(p, r->port_hi))
		n++;
	return n;
}

static void length_mask(unsigned len, uint64_t mask[2])
{
	struct ipaddr ones = { .d = { ~0ull, ~0ull } };

	ones = ip_mask(&ones, len);
	mask[0] = ones.d[0];
	mask[1] = ones.d[1];
}

static void add_shape(struct dir *d, bool v6, unsigned kind, unsigned len, uint64_t meta, unsigned port_len)
{
	struct shape *sh = d->shapes[v6], *end = sh + d->n_shapes[v6];

	while (sh < end && sh->meta != meta)
		sh++;
	if (sh == end) {
		*sh = (struct shape){ .meta = meta, .kind = kind };
		length_mask(len, sh->mask);
		d->n_shapes[v6]++;
	}
	sh->ports |= 1u << port_len;
}

/* What exists only while rules are being added: cells in order of appearance, found by open addressing. */
struct draft {
	struct policy_set *set;
	struct cell *cells;
	uint32_t *slots; /* cell + 1; 0 = free */
	uint32_t mask;
};

static uint64_t hash_of(const struct cell *c)
{
	return hash_cell(hash_peer(c->peer[0], c->peer[1]), c->meta);
}

static struct cell *cell_for(struct draft *d, const uint64_t peer[2], uint64_t meta)
{
	struct cell fresh = { .peer = { peer[0], peer[1] }, .meta = meta }, *c;
	uint32_t i = (uint32_t)hash_of(&fresh) & d->mask;

	for (; d->slots[i]; i = (i + 1) & d->mask) {
		c = &d->cells[d->slots[i] - 1];
		if (c->meta == meta && c->peer[0] == peer[0] && c->peer[1] == peer[1])
			return c;
	}
	c = &d->cells[d->set->n_cells++];
	*c = fresh;
	d->slots[i] = d->set->n_cells;
	return c;
}

static void offer(struct cell *c, const struct policy_rule *r, unsigned port_len)
{
	uint64_t score = score_of(r, port_len);

	if (r->verdict == POLICY_DENY) {
		if (!c->deny_rule || score > c->deny_score || (score == c->deny_score && r->id < c->deny_rule)) {
			c->deny_score = score;
			c->deny_rule = r->id;
		}
	} else if (!c->allow_rule || score > c->allow_score || (score == c->allow_score && r->id < c->allow_rule)) {
		c->allow_score = score;
		c->allow_rule = r->id;
		c->redirect = r->verdict == POLICY_REDIRECT;
		c->redirect_port = r->redirect_port;
	}
}

static void add_cell(struct draft *draft, const struct policy_rule *r, unsigned port_len, uint16_t port)
{
	struct dir *d = &draft->set->dir[r->direction];
	bool v6 = r->peer == POLICY_PEER_CIDR && !(r->peer_cidr.len >= 96 && ip_is4(&r->peer_cidr.addr));
	unsigned kind = r->peer == POLICY_PEER_ANY        ? KIND_ANY
			: r->peer == POLICY_PEER_IDENTITY ? KIND_IDENTITY
			: v6                              ? KIND_CIDR6
							  : KIND_CIDR4;
	unsigned len = kind == KIND_ANY ? 0 : kind == KIND_IDENTITY ? 128 : r->peer_cidr.len;
	uint64_t peer[2] = { 0 }, meta = meta_peer(r->direction, kind, len);

	if (kind == KIND_IDENTITY) {
		peer[0] = r->peer_identity;
	} else if (kind != KIND_ANY) {
		struct ipaddr a = ip_mask(&r->peer_cidr.addr, len);
		peer[0] = a.d[0];
		peer[1] = a.d[1];
	}
	if (kind != KIND_CIDR6)
		add_shape(d, false, kind, len, meta, port_len);
	if (kind != KIND_CIDR4)
		add_shape(d, true, kind, len, meta, port_len);
	if (port_len != PORT_NONE)
		d->protos[r->proto >> 6] |= 1ull << (r->proto & 63);
	offer(cell_for(draft, peer, meta | meta_port(port_len, r->proto, port)), r, port_len);
}

static void add_rule(struct draft *d, const struct policy_rule *r)
{
	d->set->dir[r->direction].enforced = true;
	if (!r->has_port) {
		add_cell(d, r, r->proto ? PORT_PROTO : PORT_NONE, 0);
		return;
	}
	for (uint32_t p = r->port_lo, n; p <= r->port_hi; p += n) {
		n = prefix_at(p, r->port_hi);
		add_cell(d, r, PORT_PROTO + 16 - (unsigned)__builtin_ctz(n), (uint16_t)p);
	}
}

/* Moves the shapes out of the scratch area, which holds the most there can be. */
static bool keep_shapes(struct policy_set *s)
{
	struct shape *to;
	uint32_t n = 1;

	for (unsigned i = 0; i < 4; i++)
		n += s->dir[i / 2].n_shapes[i & 1];
	to = s->shapes = calloc(n, sizeof(*to));
	for (unsigned i = 0; to && i < 4; i++) {
		struct dir *d = &s->dir[i / 2];
		memcpy(to, d->shapes[i & 1], d->n_shapes[i & 1] * sizeof(*to));
		d->shapes[i & 1] = to;
		to += d->n_shapes[i & 1];
	}
	return to != NULL;
}

/* Buckets for the draft's cells, so many that none overflows: one for each cell does it nearly always. False: no
 * memory. */
static bool size_buckets(struct policy_set *s, const struct cell *cells)
{
	uint64_t n = 1;

	while (n < s->n_cells)
		n *= 2;
	for (bool fits = false; !fits; n *= 2) {
		if (n > 1u << 30)
			return false;
		free(s->first);
		s->first = calloc(n, sizeof(*s->first));
		if (!s->first)
			return false;
		s->mask = (uint32_t)n - 1;
		fits = true;
		for (uint32_t i = 0; i < s->n_cells && fits; i++)
			fits = ++s->first[hash_of(&cells[i]) & s->mask] <= BUCKET_TAGS;
	}
	return true;
}

/* Lays the draft's cells out by bucket. */
static bool keep_cells(struct policy_set *s, const struct cell *cells)
{
	uint32_t sum = 0;

	if (!size_buckets(s, cells))
		return false;
	s->tags = calloc((size_t)s->mask + 1, sizeof(*s->tags));
	s->cells = malloc((s->n_cells + 1) * sizeof(*s->cells));
	if (!s->tags || !s->cells)
		return false;
	for (uint32_t b = 0; b <= s->mask; b++) {
		uint32_t n = s->first[b];
		s->first[b] = sum;
		sum += n;
	}
	for (uint32_t i = 0; i < s->n_cells; i++) {
		uint64_t h = hash_of(&cells[i]);
		uint32_t b = (uint32_t)h & s->mask, k = 0;
		while (s->tags[b][k])
			k++;
		s->tags[b][k] = tag_of(h);
		s->cells[s->first[b] + k] = cells[i];
	}
	return true;
}

static bool draft_open(struct draft *d, struct policy_set *s, const struct policy_rule *const *rules, uint32_t n)
{
	static struct shape scratch[2][SHAPES_4 + SHAPES_6]; /* control thread */
	uint32_t cells = 0, slots = 4;

	for (uint32_t i = 0; i < n; i++)
		cells += cells_of(rules[i]);
	while (slots < 2 * cells)
		slots *= 2;
	*d = (struct draft){ .set = s, .mask = slots - 1 };
	d->slots = calloc(slots, sizeof(*d->slots));
	d->cells = calloc((size_t)cells + 1, sizeof(*d->cells));
	for (unsigned i = 0; i < 2; i++) {
		s->dir[i].shapes[0] = scratch[i];
		s->dir[i].shapes[1] = scratch[i] + SHAPES_4;
	}
	return d->slots && d->cells;
}

struct policy_set *policy_set_compile(const struct policy_rule *const *rules, uint32_t n)
{
	struct policy_set *s = calloc(1, sizeof(*s));
	struct draft d;
	bool ok;

	if (!s)
		return NULL;
	ok = draft_open(&d, s, rules, n);
	for (uint32_t i = 0; ok && i < n; i++)
		add_rule(&d, rules[i]);
	ok = ok && keep_cells(s, d.cells) && keep_shapes(s);
	free(d.slots);
	free(d.cells);
	if (ok)
		return s;
	policy_set_free(s);
	return NULL;
}

void policy_set_free(struct policy_set *s)
{
	if (!s)
		return;
	free(s->tags);
	free(s->first);
	free(s->cells);
	free(s->shapes);
	free(s);
}
