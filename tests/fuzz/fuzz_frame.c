/* SPDX-License-Identifier: BSD-2-Clause */
/* The whole engine: the first byte chooses the ingress port, the rest is a frame. It is sent twice, so that what can be
 * replayed is; then whoever got it answers, by the next bits of the first byte with an ICMP error about it. Properties: every frame is counted once; nothing ill-formed leaves; checksums that
 * were right leave right; both times the same comes out where the packet is replayed. */
#include <stdlib.h>
#include <string.h>

#include "cli/pkttext.h"
#include "tables/abi/gate.h"
#include "tests/support/check.h"
#include "tests/support/fixed.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fixed_open();
	return 0;
}

static void wrong(const char *what, const uint8_t *in, uint32_t in_len, const uint8_t *out, uint32_t out_len)
{
	char text[PKTTEXT_MAX];
	fprintf(stderr, "%s\n  in:  %s\n", what, pkttext_print(in, in_len, text));
	if (out)
		fprintf(stderr, "  out: %s\n", pkttext_print(out, out_len, text));
	abort();
}

/* Of the last frame: what came out, to be answered. */
static struct left {
	struct port *port;
	uint32_t len;
	uint8_t frame[BOX_FRAME_MAX];
} left[4];
static unsigned n_left;

/* All frames that came out, judged; a hash of their bytes. */
static uint64_t judge(const uint8_t *in, uint32_t n, bool veth)
{
	uint8_t out[BOX_FRAME_MAX];
	uint64_t hash = 14695981039346656037ull;
	unsigned was = check_frame(in, n);
	n_left = 0;
	bool l4_right = !(was & (FRAME_L4_CSUM | FRAME_FRAGMENT | FRAME_OTHER | (veth ? 0 : FRAME_PARTIAL)));
	for (unsigned p = 0; p < FIXED_PORTS; p++)
		for (uint32_t len; (len = box_take(fixed_ports[p], out));) {
			unsigned is = check_frame(out, len);
			if (is & FRAME_SHORT || (is & FRAME_INNER && !(was & FRAME_INNER)))
				wrong("an ill-formed frame left", in, n, out, len);
			if (is & FRAME_IP_CSUM)
				wrong("a wrong IPv4 header checksum left", in, n, out, len);
			if (l4_right && is & (FRAME_L4_CSUM | FRAME_PARTIAL))
				wrong("a checksum that was right left wrong", in, n, out, len);
			if (n_left < ARRAY_LEN(left)) {
				left[n_left] = (struct left){ .port = fixed_ports[p], .len = len };
				memcpy(left[n_left++].frame, out, len);
			}
			for (uint32_t i = 0; i < len; i++)
				hash = (hash ^ out[i]) * 1099511628211ull;
			hash = (hash ^ p) * 1099511628211ull;
		}
	return hash;
}

static void swap(uint8_t *a, uint8_t *b, unsigned n)
{
	uint8_t t[16];
	memcpy(t, a, n);
	memcpy(a, b, n);
	memcpy(b, t, n);
}

/* A word and the checksum over it. */
static void change(uint8_t *word, uint16_t value, uint8_t *csum)
{
	const uint16_t was = ld16(word);
	wr16(word, value);
	st16(csum, csum_update(ld16(csum), was, ld16(word)));
}

/* 'f' is one that left, so it is well-formed. It becomes the other end's answer to it: sums stay as they are when words change
 * places. False: not IP, or nothing that is answered. */
static bool turn(uint8_t *f, uint32_t n)
{
	const bool v6 = rd16(f + 12) == ET_IP6;
	if (!v6 && rd16(f + 12) != ET_IP4)
		return false;
	uint8_t *h = f + ETH_HLEN_, *l4 = h + (v6 ? IP6_HLEN : (h[0] & 15) * 4);
	const uint8_t proto = v6 ? h[6] : h[9];
	const uint32_t room = n - (uint32_t)(l4 - f);
	swap(f, f + 6, 6);
	swap(h + (v6 ? 8 : 12), h + (v6 ? 24 : 16), v6 ? 16 : 4);
	if (!v6 && rd16(h + 6) & 0x1fff)
		return true;
	if (proto == PROTO_UDP && room >= UDP_HLEN + VXLAN_HLEN + ETH_HLEN_ + IP6_HLEN + TCP_HLEN &&
	    (rd16(l4 + 2) == 8472 || rd16(l4 + 2) == 4789))
		return turn(l4 + UDP_HLEN + VXLAN_HLEN, room - UDP_HLEN - VXLAN_HLEN);
	if ((proto == PROTO_TCP && room >= TCP_HLEN) || ((proto == PROTO_UDP || proto == PROTO_SCTP) && room >= 8))
		swap(l4, l4 + 2, 2);
	if (proto == PROTO_TCP && room >= TCP_HLEN)
		change(l4 + 12, (uint16_t)(l4[12] << 8 | (l4[13] == 2 ? 0x12 : 0x10)), l4 + 16);
	else if (proto == (v6 ? PROTO_ICMP6 : PROTO_ICMP) && room >= ICMP_HLEN && l4[0] == (v6 ? 128 : 8))
		change(l4, (uint16_t)((v6 ? 129 : 0) << 8), l4 + 2);
	return true;
}

/* 'f' is one that left; it becomes an error about itself, from the end it went to. Its new length, 0: not IP. */
static uint32_t complain(uint8_t *f, uint32_t n, unsigned kind)
{
	static const uint8_t types[2][4] = { { 3, 11, 12, 3 }, { 1, 2, 3, 4 } };
	const bool v6 = rd16(f + 12) == ET_IP6;
	const uint32_t head = v6 ? IP6_HLEN : IP4_HLEN, room = n - ETH_HLEN_, quoted = MIN(room, 8 + 60 * (kind + 1)),
		       len = ICMP_HLEN + quoted;
	uint8_t *h = f + ETH_HLEN_, *i = h + head, dst[16];
	if (!v6 && rd16(f + 12) != ET_IP4)
		return 0;
	memmove(i + ICMP_HLEN, h, quoted);
	memcpy(dst, i + ICMP_HLEN + (v6 ? 8 : 12), v6 ? 16 : 4);
	memset(h, 0, head + ICMP_HLEN);
	i[0] = types[v6][kind];
	i[1] = kind == 3 && !v6 ? 4 : 0;
	wr32(i + 4, kind == 3 && !v6 ? 1400 : v6 && kind == 1 ? 1300 : 0);
	if (v6) {
		h[0] = 0x60;
		wr16(h + 4, (uint16_t)len);
		h[6] = PROTO_ICMP6;
		h[7] = 64;
		memcpy(h + 8, i + ICMP_HLEN + 24, 16);
		memcpy(h + 24, dst, 16);
	} else {
		h[0] = 0x45;
		wr16(h + 2, (uint16_t)(head + len));
		h[8] = 64;
		h[9] = PROTO_ICMP;
		memcpy(h + 12, i + ICMP_HLEN + 16, 4);
		memcpy(h + 16, dst, 4);
		st16(h + 10, (uint16_t)~csum_fold(csum_add(h, IP4_HLEN, 0)));
	}
	st16(i + 2, (uint16_t)~csum_fold(csum_add(i, len, v6 ? csum_pseudo(h + 8, h + 24, 16, PROTO_ICMP6, len) : 0)));
	swap(f, f + 6, 6);
	return ETH_HLEN_ + head + len;
}

/* 'how': 0 to 3 an answer, else an error. */
static void answer(struct left *l, unsigned how)
{
	struct err e;
	const bool gate = l->port == fixed_ports[FIXED_GATE];
	if (l->len < ETH_HLEN_ + IP6_HLEN || l->len > FRAME_ROOM - IP6_HLEN - ICMP_HLEN)
		return;
	if (how >= 4)
		l->len = complain(l->frame, l->len, how - 4);
	else if (!turn(l->frame, l->len))
		return;
	if (!l->len)
		return;
	if (gate && l->frame[7] == (GATE_MAC1 | GATE_PROXY)) /* the listener, not the gate */
		memcpy(l->frame + 6, (uint8_t[]){ GATE_MAC0, GATE_MAC1 | GATE_HOST, 0, 0, 0, 0 }, 6);
	if (box_send(l->port, l->frame, l->len))
		return;
	box_run();
	judge(l->frame, l->len, l->port == fixed_ports[FIXED_UP1]);
	if (!box_balanced(&e))
		wrong(e.text, l->frame, l->len, NULL, 0);
}

static void answer_all(unsigned how)
{
	static struct left l[ARRAY_LEN(left)];
	const unsigned n = n_left;
	memcpy(l, left, sizeof(l));
	for (unsigned i = 0; i < n; i++)
		answer(&l[i], how);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e;
	if (size < 1 || size - 1 > FRAME_ROOM)
		return 0;
	struct port *p = fixed_ports[data[0] % FIXED_PORTS];
	const uint8_t *frame = data + 1;
	uint32_t n = (uint32_t)size - 1;
	uint64_t hash[2], replayed = workers[0]->replayed;
	for (unsigned i = 0; i < 2; i++) {
		if (box_send(p, frame, n))
			wrong("the port is full", frame, n, NULL, 0);
		box_run();
		hash[i] = judge(frame, n, p == fixed_ports[FIXED_UP1]);
		if (!box_balanced(&e))
			wrong(e.text, frame, n, NULL, 0);
	}
	if (workers[0]->replayed > replayed + 1)
		wrong("replayed without a decision", frame, n, NULL, 0);
	if (workers[0]->replayed == replayed + 1 && hash[0] != hash[1])
		wrong("replay gives other bytes than the decision", frame, n, NULL, 0);
	answer_all(data[0] / FIXED_PORTS % 8);
	fixed_clear();
	return 0;
}
