/* SPDX-License-Identifier: BSD-2-Clause */
/* SCTP's verification tags (contract in ct_tags.h). Index d: of packets that travel in direction d. */
#include "tables/ct_tags.h"

struct tags {
	uint32_t now[2];  /* 0: not known */
	uint32_t next[2]; /* of a handshake that is under way */
};

int ct_tags_open(struct ct *c, struct err *e)
{
	const size_t n = (size_t)c->conns.capacity + 1;
	return arena_open(&c->tags, NULL, 0, n, n * sizeof(struct tags), e);
}

static struct tags *tags_of(const struct ct *c, uint32_t conn)
{
	return (struct tags *)c->tags.base + conn;
}

static void set(uint32_t *to, uint32_t tag)
{
	if (LOAD_RELAXED(to) != tag)
		STORE_RELAXED(to, tag);
}

/* The handshake is done: its tags are the association's. Of one whose answers went another way only this one is known. */
static void agree(struct tags *t, bool d, uint32_t tag)
{
	set(&t->now[!d], LOAD_RELAXED(&t->next[!d]));
	STORE_RELEASE(&t->now[d], tag);
	set(&t->next[0], 0);
	set(&t->next[1], 0);
}

static void learn(struct tags *t, bool d, const struct ct_tagged *p)
{
	switch (p->kind) {
	case CT_TAG_INIT:
	case CT_TAG_INIT_ACK:
		set(&t->next[!d], p->initiate);
		break;
	case CT_TAG_COOKIE_ECHO: /* one that comes again has nothing new */
		if (LOAD_RELAXED(&t->now[d]) != p->tag)
			agree(t, d, p->tag);
		break;
	case CT_TAG_OTHER:
		if (!LOAD_RELAXED(&t->now[d]) && !LOAD_RELAXED(&t->next[d]))
			set(&t->now[d], p->tag);
		break;
	default:
		break;
	}
}

void ct_tags_begin(const struct ct *c, uint32_t conn, const struct ct_tagged *p)
{
	struct tags *t = tags_of(c, conn);
	for (unsigned d = 0; d < 2; d++) {
		STORE_RELAXED(&t->now[d], 0);
		STORE_RELAXED(&t->next[d], 0);
	}
	learn(t, false, p);
}

/* RFC 9260 8.5.1 */
static bool fits(const struct tags *t, bool d, const struct ct_tagged *p)
{
	const uint32_t next = LOAD_RELAXED(&t->next[d]), now = LOAD_ACQUIRE(&t->now[d]);
	const uint32_t peer = LOAD_RELAXED(&t->now[!d]);

	if (p->kind == CT_TAG_INIT)
		return p->tag == 0 && p->initiate; /* (A); 3.3.2: 0 is none */
	if (!p->tag)
		return false;
	switch (p->kind) {
	case CT_TAG_INIT_ACK: /* there was an INIT; none when it went another way */
		return p->initiate && (next ? p->tag == next : !now || p->tag == now);
	case CT_TAG_END: /* (B), (C); a new handshake that is refused ends nothing */
		return p->tag == (now ? now : next) || !(now | next);
	case CT_TAG_END_BY_PEER: /* it reflects a tag; an INIT has none */
		return peer ? p->tag == peer : !(next | LOAD_RELAXED(&t->next[!d]));
	default:
		return p->tag == now || p->tag == next || !(now | next);
	}
}

bool ct_tags(const struct ct *c, uint32_t conn, bool reply, const struct ct_tagged *p, bool dry)
{
	struct tags *t = tags_of(c, conn);
	if (!fits(t, reply, p))
		return false;
	if (!dry)
		learn(t, reply, p);
	return true;
}
