/* SPDX-License-Identifier: BSD-2-Clause */
/* IPv4 fragmentation, of whole packets and of fragments. Fragments leave in order (RFC 4787 REQ-13a); the first keeps the
 * received frame, the others are new ones and count as made by the engine. */
#include "fwd/fragment.h"

#include "fwd/replay.h"

enum { IP4_HLEN_MAX = 60, OPTION_COPIED = 0x80, OPTION_END = 0, OPTION_NOP = 1 };

/* The header of all pieces but the first: options that are marked as to be copied (RFC 791 3.1), padded. Its length; options
 * that run past their header are left out. */
static unsigned later_header(const uint8_t *l3, uint8_t *h)
{
	unsigned hl = (l3[0] & 15) * 4u, n = IP4_HLEN;
	memcpy(h, l3, IP4_HLEN);
	for (unsigned at = IP4_HLEN; at < hl && l3[at] != OPTION_END;) {
		if (l3[at] == OPTION_NOP) {
			at++;
			continue;
		}
		unsigned len = at + 1 < hl ? l3[at + 1] : 0;
		if (len < 2 || at + len > hl)
			break;
		if (l3[at] & OPTION_COPIED) {
			memcpy(h + n, l3 + at, len);
			n += len;
		}
		at += len;
	}
	while (n % 4)
		h[n++] = OPTION_END;
	h[0] = (uint8_t)(0x40 | n / 4);
	return n;
}

static void set_header(uint8_t *l3, uint32_t payload, uint32_t frag)
{
	unsigned hl = (l3[0] & 15) * 4u;
	wr16(l3 + 2, (uint16_t)(hl + payload));
	wr16(l3 + 6, (uint16_t)frag);
	st16(l3 + 10, 0);
	st16(l3 + 10, (uint16_t)~csum_fold(csum_add(l3, hl, 0)));
}

void fragment_and_emit(struct worker *w, struct pkt *p, uint32_t adj)
{
	const uint16_t mtu = adj_at(adj)->mtu;
	if (p->flags & PKT_IP6 || p->l3[6] & 0x40 || mtu < 68) { /* the MTU may have shrunk since the caller's look */
		worker_drop(w, p, DROP_MTU);
		return;
	}
	if (p->l3_len <= mtu) { /* it has grown since the caller's look */
		emit(w, p, adj);
		return;
	}
	uint8_t header[IP4_HLEN_MAX];
	const unsigned hl = (p->l3[0] & 15) * 4u, later_hl = later_header(p->l3, header);
	/* of a fragment: its own offset, and whether others follow it; all get the reserved bit (RFC 1812 5.2.5) */
	const uint32_t was = rd16(p->l3 + 6), base = was & 0x9fff, more = was & 0x2000;
	const uint32_t payload = p->l3_len - hl, first = (mtu - hl) & ~7u, step = (mtu - later_hl) & ~7u;
	uint8_t *frames[BIG_ROOM / 8]; /* enough: 'step' is at least 8 */
	unsigned n = 0;
	for (uint32_t at = first; at < payload; at += step) {
		uint32_t len = MIN(step, payload - at);
		uint8_t *f = worker_new_frame_for(w, later_hl + len);
		if (!f) { /* a datagram that is not whole is of no use */
			for (unsigned i = 0; i < n; i++)
				worker_consume(w, &(struct pkt){ .data = frames[i] });
			worker_drop(w, p, DROP_NO_FRAME);
			return;
		}
		memcpy(f, header, later_hl);
		memcpy(f + later_hl, p->l3 + hl + at, len);
		set_header(f, len, (base + at / 8) | (at + len < payload ? 0x2000 : more));
		frames[n++] = f;
	}
	set_header(p->l3, first, base | 0x2000);
	p->l3_len = (uint16_t)(hl + first);
	uint64_t hash = p->hash;
	emit(w, p, adj);
	for (unsigned i = 0; i < n; i++)
		emit_l3(w, frames[i], rd16(frames[i] + 2), false, adj, PORT_CONTROL, hash);
}
