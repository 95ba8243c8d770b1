/* SPDX-License-Identifier: BSD-2-Clause */
/* Adoption of fragmented datagrams (contract in adopt.h). Control thread, at start.
 *
 * Only a datagram whose ports are known comes back: of another one the pieces that waited are lost. Its later fragments go
 * through the connection's policy again; a refused one that begins anew is judged anew. What the row says of bytes seen is
 * believed only as a whole, because the engine computes with it. */
#include <stdlib.h>

#include "tables/adopt.h"
#include "tables/frag.h"
#include "tables/tunnel.h"

enum { PAYLOAD_MAX = 65535 };

/* Can frag_add() have left it so? The last piece may end inside its unit of 8. */
static bool bytes_fit(const struct frag_value *v)
{
	uint32_t seen = 0, at = 0;

	if (!v->n || v->n > FRAG_RANGES || v->end > PAYLOAD_MAX)
		return false;
	for (unsigned i = 0; i < v->n; i++) {
		const struct frag_range *r = &v->range[i];
		if (r->start < at || r->end <= r->start)
			return false;
		at = r->end;
		seen += (r->end - r->start) * 8u;
	}
	if (v->end)
		return at == (v->end + 7) / 8 && v->got == seen - (at * 8 - v->end);
	return v->got == seen && at * 8 <= PAYLOAD_MAX;
}

static bool key_fits(const struct frag_key *k, const struct frag_ports *said)
{
	static const uint8_t none[sizeof(k->zero)];
	const uint8_t proto = said->proto;
	const bool v4 = ip_is4(&k->src);

	return v4 == ip_is4(&k->dst) && k->proto == (v4 ? proto : 0) && !(v4 && k->id > UINT16_MAX) &&
	       memcmp(k->zero, none, sizeof(none)) == 0 && !ip_is_zero(&k->src) && !ip_is_multicast(&k->src) &&
	       (proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP ||
		proto == (v4 ? PROTO_ICMP : PROTO_ICMP6) ||
		(!v4 && proto != PROTO_ICMP && !(said->sport | said->dport))); /* of all that has no ports */
}

static bool take(struct former *remotes, const struct frag_key *k, const struct frag_value *o, uint32_t now_s)
{
	struct frag_value v = *o;
	struct frag_key now = *k;

	if (v.ports.p.state != FRAG_OPEN || v.created > now_s || v.renamed > 1 || !key_fits(k, &v.ports.p) ||
	    !bytes_fit(&v) || frag_complete(&v) || adopt_in(remotes, k->in, &now.in))
		return false;
	v.ports.p.reason = 0;
	return table_insert(&frag_table, SLOT_CONTROL, &now, &v, NULL) == 0;
}

static int by_age(const void *a, const void *b)
{
	const uint32_t x = frag_at(*(const uint32_t *)a)->created, y = frag_at(*(const uint32_t *)b)->created;
	return (x > y) - (x < y);
}

void frag_adopt(unsigned n_owners, uint32_t now_s)
{
	static uint32_t rows[FRAG_ROWS];
	struct former f, remotes;
	uint32_t n = 0;

	if (former_open_pool(&f, "frag", sizeof(struct frag_key) + sizeof(struct frag_value)))
		return;
	remotes_former(&remotes);
	for (uint32_t i = former_next(&f, 0); i; i = former_next(&f, i)) {
		const struct frag_key *k = former_at(&f, i);
		if (k)
			take(&remotes, k, (const void *)(k + 1), now_s);
	}
	for (uint32_t i = frag_next(0); i; i = frag_next(i))
		rows[n++] = i;
	qsort(rows, n, sizeof(rows[0]), by_age);
	for (uint32_t i = 0; i < n; i++)
		frag_join(frag_owner(frag_key_at(rows[i]), n_owners), rows[i]);
	adoption.datagrams = n;
	former_close(&remotes);
	former_close(&f);
}
