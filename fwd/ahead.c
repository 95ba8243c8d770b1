/* SPDX-License-Identifier: BSD-2-Clause */
/* Looking ahead for the decision path: asks for the cache lines that the first packets of a burst's new connections will
 * need, before decide() takes them one by one. Called by engine_burst on its worker.
 *
 * A new connection touches six cold lines, and three of them are known only from the one before: mapping bucket, mapping,
 * permit and reply bucket. One packet alone waits for each in turn; here all packets wait together, a pass for each link of the
 * chain. Everything is a guess without a side effect: a wrong one costs a prefetch. */
#include "fwd/decide.h"
#include "fwd/gate.h"
#include "tables/nat.h"

struct guess {
	struct flow_key4 key;
	struct nat_ahead nat;
	bool on, masqueraded;
};

/* Does this frame look like a first packet that we can foresee? IPv4 TCP or UDP without options. */
static bool plain(const struct pkt *p, struct flow_key4 *k)
{
	const uint8_t *f = p->data, *l3 = f + ETH_HLEN_, *l4 = l3 + IP4_HLEN;
	if (p->len < ETH_HLEN_ + IP4_HLEN + UDP_HLEN || ld16(f + 12) != htons(ET_IP4) || l3[0] != 0x45 ||
	    !(l3[9] == PROTO_TCP || l3[9] == PROTO_UDP))
		return false;
	*k = (struct flow_key4){ ld32(l3 + 12), ld32(l3 + 16), ld16(l4), ld16(l4 + 2),
				 FLOW_ZP(port_zone(p->port), l3[9]) };
	return true;
}

static void prefetch_reply(const struct flow_key4 *k, be32 outside, be16 port)
{
	const struct flow_key4 reply = { k->dst, outside, k->dport, port, k->zp };
	hidx_prefetch(&ct4.idx, hash_key(&reply, sizeof(reply)));
}

static void first(const struct pkt *p, struct guess *g)
{
	uint32_t id;
	g->on = plain(p, &g->key);
	g->masqueraded = false;
	if (!g->on)
		return;
	hidx_prefetch(&ct4.idx, hash_key(&g->key, sizeof(g->key)));
	if (p->port == PORT_GATE && gate_stamp_read(p->data + 6, &id) == GATE_ENDPOINT) {
		const struct ipaddr src = ip_from4(g->key.src);
		g->masqueraded = nat_ahead_begin(&g->nat, &src, ntohs(g->key.sport), (uint8_t)g->key.zp);
	}
	if (!g->masqueraded)
		prefetch_reply(&g->key, g->key.src, g->key.sport);
}

static void last(struct guess *g)
{
	struct ipaddr outside;
	uint16_t port;
	if (!g->masqueraded)
		return;
	const struct ipaddr remote = ip_from4(g->key.dst);
	nat_ahead_end(&g->nat, &remote, ntohs(g->key.dport), &outside, &port);
	prefetch_reply(&g->key, outside.w[3], htons(port));
}

void decide_ahead(const struct pkt *const *miss, unsigned n)
{
	struct guess g[BURST_MAX];
	for (unsigned i = 0; i < n; i++)
		first(miss[i], &g[i]);
	for (unsigned i = 0; i < n; i++)
		if (g[i].masqueraded)
			nat_ahead_next(&g[i].nat);
	for (unsigned i = 0; i < n; i++)
		last(&g[i]);
}
