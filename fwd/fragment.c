/* SPDX-License-Identifier: BSD-2-Clause */
/* IPv4 fragmentation. Fragments leave in order (RFC 4787 REQ-13a); the first keeps the received frame, the others are new
 * ones and count as made by the engine. */
#include "fwd/fragment.h"

#include "fwd/replay.h"

static void set_header(uint8_t *l3, uint16_t total, uint16_t frag)
{
	wr16(l3 + 2, total);
	wr16(l3 + 6, frag);
	st16(l3 + 10, 0);
	st16(l3 + 10, (uint16_t)~csum_fold(csum_add(l3, IP4_HLEN, 0)));
}

void fragment_and_emit(struct worker *w, struct pkt *p, uint32_t adj)
{
	const uint16_t mtu = adj_at(adj)->mtu;
	if (p->flags & (PKT_IP6 | PKT_OPTIONS | PKT_FRAG) || mtu < 68) {
		worker_drop(w, p, DROP_MTU);
		return;
	}
	const uint16_t payload = (uint16_t)(p->l3_len - IP4_HLEN), step = (uint16_t)((mtu - IP4_HLEN) & ~7);
	uint8_t *frames[40]; /* enough: frames are shorter than 1792 bytes and 'step' is at least 48 */
	unsigned n = 0;
	for (uint16_t at = step; at < payload && n < ARRAY_LEN(frames); at = (uint16_t)(at + step)) {
		uint16_t len = (uint16_t)MIN(step, payload - at);
		uint8_t *f = worker_new_frame(w);
		if (!f) { /* a datagram that is not whole is of no use */
			for (unsigned i = 0; i < n; i++)
				worker_consume(w, &(struct pkt){ .data = frames[i] });
			worker_drop(w, p, DROP_NO_FRAME);
			return;
		}
		memcpy(f, p->l3, IP4_HLEN);
		memcpy(f + IP4_HLEN, p->l3 + IP4_HLEN + at, len);
		set_header(f, (uint16_t)(IP4_HLEN + len), (uint16_t)(at / 8 | (at + len < payload ? 0x2000 : 0)));
		frames[n++] = f;
	}
	set_header(p->l3, (uint16_t)(IP4_HLEN + step), 0x2000);
	p->l3_len = (uint16_t)(IP4_HLEN + step);
	uint64_t hash = p->hash;
	emit(w, p, adj);
	for (unsigned i = 0; i < n; i++)
		emit_l3(w, frames[i], rd16(frames[i] + 2), false, adj, PORT_CONTROL, hash);
}
