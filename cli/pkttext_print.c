/* SPDX-License-Identifier: BSD-2-Clause */
/* Frame to text (pkttext.h). Control thread and tests.
 *
 * Each header is printed in words as far as they reach; then the text is parsed, and if it does not give the same bytes the
 * innermost header is printed as hex instead, until it does. So the printer may be optimistic. */
#include <stdarg.h>

#include "cli/pkttext.h"
#include "fwd/base/net.h"

enum { LAYERS_ALL = 32, DATA_MIN = 1 };

struct printer {
	char *text;
	size_t n;
	unsigned layers, max; /* printed in words, at most */
	bool pad_done;
};

struct span {
	const uint8_t *p;
	uint32_t n;
};

/* The IP header in front of a layer, for its checksum. */
struct above {
	const uint8_t *src, *dst;
	bool v6, quoted;
	uint8_t mac_src[6], mac_dst[6]; /* eth of this scope */
};

static void print_ethertype(struct printer *t, unsigned type, struct span s, struct above *a);
static void print_ip(struct printer *t, struct span s, struct above *a);

__attribute__((format(printf, 2, 3))) static void say(struct printer *t, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(t->text + t->n, PKTTEXT_MAX - t->n, fmt, ap);
	va_end(ap);
	t->n = MIN(t->n + (size_t)MAX(n, 0), (size_t)PKTTEXT_MAX - 1);
}

/* Begins a layer; false when it is to be hex. */
static bool begin(struct printer *t, const char *name)
{
	if (t->layers >= t->max)
		return false;
	say(t, "%s%s", t->layers++ ? " | " : "", name);
	return true;
}

static struct span after(struct span s, uint32_t n)
{
	return (struct span){ s.p + n, s.n - n };
}

static void print_data(struct printer *t, struct span s)
{
	bool pattern = s.n >= DATA_MIN;
	if (s.n == 0)
		return;
	for (uint32_t i = 0; i < s.n && pattern; i++)
		pattern = s.p[i] == (uint8_t)i;
	if (t->n)
		say(t, " | ");
	if (pattern && t->n) {
		say(t, "data %u", s.n);
		return;
	}
	say(t, "hex ");
	for (uint32_t i = 0; i < s.n; i++)
		say(t, "%02x", s.p[i]);
}

static void print_pad(struct printer *t, uint32_t n)
{
	if (n && !t->pad_done)
		say(t, " | pad %u", n);
	t->pad_done |= n > 0;
}

static void say_if(struct printer *t, const char *key, uint32_t v, uint32_t usual)
{
	if (v != usual)
		say(t, " %s=%u", key, v);
}

static void say_ip(struct printer *t, const uint8_t *p, bool v6)
{
	char b[IP_STRLEN];
	struct ipaddr a = v6 ? ip_from6(p) : ip_from4(ld32(p));
	if (v6 && ip_is4(&a))
		say(t, "::ffff:%s", ip_print(&a, b));
	else
		say(t, "%s", ip_print(&a, b));
}

static void say_mac(struct printer *t, const uint8_t *p)
{
	char b[MAC_STRLEN];
	say(t, "%s", mac_print((const struct mac *)p, b));
}

static uint64_t pseudo(const struct above *a, uint8_t proto, uint32_t n)
{
	if (!a->src || proto == PROTO_ICMP)
		return 0;
	return csum_pseudo(a->src, a->dst, a->v6 ? 16 : 4, proto, n);
}

/* Field 'at' of a layer of 's.n' bytes whose checksum should come out right. */
static void say_checksum(struct printer *t, struct span s, uint32_t at, uint8_t proto, const struct above *a)
{
	uint16_t have = ld16(s.p + at);
	uint64_t ps = pseudo(a, proto, s.n);
	/* without the field itself: a sum of all words cannot tell 0 from ffff */
	uint16_t want = (uint16_t)~csum_fold(csum_add(s.p, s.n, ps) + (uint16_t)~have);
	if (proto == PROTO_UDP && want == 0)
		want = 0xffff;
	if (have == want)
		return;
	if (a->src && have == csum_fold(ps))
		say(t, " csum=partial");
	else
		say(t, have ? " csum=0x%04x" : " csum=0", rd16(s.p + at));
}

/* ---- L4 ---- */

static void print_tcp(struct printer *t, struct span s, struct above *a)
{
	static const char letters[] = "FSRPAUEC";
	uint8_t h[TCP_HLEN] = { 0 };
	memcpy(h, s.p, MIN(s.n, (uint32_t)TCP_HLEN));
	uint32_t hl = (h[12] >> 4) * 4u;
	if (!begin(t, "tcp")) {
		print_data(t, s);
		return;
	}
	say(t, " %u > %u ", rd16(h), rd16(h + 2));
	for (unsigned i = 0; i < 8; i++)
		if (h[13] & 1u << i)
			say(t, "%c", letters[i]);
	if (h[13] == 0)
		t->n--;
	say_if(t, "seq", rd32(h + 4), 0);
	say_if(t, "ack", rd32(h + 8), 0);
	if (s.n >= 16)
		say_if(t, "win", rd16(h + 14), 64240);
	say_if(t, "urg", rd16(h + 18), 0);
	bool options = hl > TCP_HLEN && hl <= s.n;
	if (s.n >= TCP_HLEN && !options)
		say_if(t, "doff", hl / 4, 5);
	if (s.n >= 18)
		say_checksum(t, s, 16, PROTO_TCP, a);
	if (options) {
		say(t, " opt=");
		for (uint32_t i = TCP_HLEN; i < hl; i++)
			say(t, "%02x", s.p[i]);
	}
	if (s.n < TCP_HLEN)
		say(t, " | cut %u", s.n);
	else
		print_data(t, after(s, options ? hl : TCP_HLEN));
}

static void print_vxlan(struct printer *t, struct span s)
{
	if (s.n < VXLAN_HLEN + ETH_HLEN_ || !begin(t, "vxlan")) {
		print_data(t, s);
		return;
	}
	say(t, " vni=%u", rd32(s.p + 4) >> 8);
	if (s.p[0] != 8)
		say(t, " flags=0x%02x", s.p[0]);
	struct above a = { 0 };
	print_ethertype(t, ~0u, after(s, VXLAN_HLEN), &a);
}

static void print_udp(struct printer *t, struct span s, struct above *a)
{
	if (s.n < UDP_HLEN || !begin(t, "udp")) {
		print_data(t, s);
		return;
	}
	say(t, " %u > %u", rd16(s.p), rd16(s.p + 2));
	say_if(t, "len", rd16(s.p + 4), s.n);
	say_checksum(t, s, 6, PROTO_UDP, a);
	uint16_t port = rd16(s.p + 2);
	if (port == 8472 || port == 4789)
		print_vxlan(t, after(s, UDP_HLEN));
	else
		print_data(t, after(s, UDP_HLEN));
}

static void print_sctp(struct printer *t, struct span s)
{
	uint8_t copy[PKTTEXT_FRAME_MAX];
	if (s.n < 12 || s.n > sizeof(copy) || !begin(t, "sctp")) {
		print_data(t, s);
		return;
	}
	memcpy(copy, s.p, s.n);
	memset(copy + 8, 0, 4);
	say(t, " %u > %u", rd16(s.p), rd16(s.p + 2));
	say_if(t, "vtag", rd32(s.p + 4), 0);
	if (pkttext_crc32c(copy, s.n) != ld32(s.p + 8))
		say(t, " csum=0x%08x", rd32(s.p + 8));
	print_data(t, after(s, 12));
}

static bool is_error(const uint8_t *p, bool v6)
{
	return v6 ? p[0] >= 1 && p[0] <= 4 : p[0] == 3 || p[0] == 4 || p[0] == 5 || p[0] == 11 || p[0] == 12;
}

/* Type, code and the four bytes behind the checksum. */
static void say_icmp_header(struct printer *t, const uint8_t *p, bool v6)
{
	bool request = p[0] == (v6 ? 128 : 8), reply = p[0] == (v6 ? 129 : 0);
	if (request || reply) {
		say(t, reply ? " echo-reply" : " echo");
		say_if(t, "id", rd16(p + 4), 0);
		say_if(t, "seq", rd16(p + 6), 0);
	} else {
		say(t, " type=%u", p[0]);
		if (v6 ? p[0] == 2 : p[0] == 3 && p[1] == 4 && rd16(p + 4) == 0) {
			say(t, " code=%u mtu=%u", p[1], v6 ? rd32(p + 4) : rd16(p + 6));
			return;
		}
		if (rd32(p + 4))
			say(t, " rest=0x%08x", rd32(p + 4));
	}
	say_if(t, "code", p[1], 0);
}

static void print_icmp(struct printer *t, struct span s, struct above *a)
{
	if (s.n < ICMP_HLEN || !begin(t, "icmp")) {
		print_data(t, s);
		return;
	}
	say_icmp_header(t, s.p, a->v6);
	say_checksum(t, s, 2, a->v6 ? PROTO_ICMP6 : PROTO_ICMP, a);
	struct above quoted = { .quoted = true };
	if (is_error(s.p, a->v6) && s.n > ICMP_HLEN)
		print_ip(t, after(s, ICMP_HLEN), &quoted);
	else
		print_data(t, after(s, ICMP_HLEN));
}

/* "ns A > TARGET" for a solicitation or advertisement of the usual form; 's' begins at the IPv6 header. */
static bool print_nd(struct printer *t, struct span s)
{
	const uint8_t *h = s.p, *i = h + IP6_HLEN;
	if (s.n < IP6_HLEN + 24 || rd16(h + 4) + (uint32_t)IP6_HLEN > s.n || rd32(h) != 0x60000000 ||
	    h[6] != PROTO_ICMP6)
		return false;
	uint32_t n = rd16(h + 4);
	bool ask = i[0] == 135,
	     option = n == 32 && i[24] == (ask ? 1 : 2) && i[25] == 1 && (ld32(i + 26) || ld16(i + 30));
	if ((!ask && i[0] != 136) || i[1] || (n != 24 && !option) || rd32(i + 4) & (ask ? UINT32_MAX : 0x1fffffff))
		return false;
	struct above a = { .src = h + 8, .dst = h + 24, .v6 = true };
	if (!begin(t, ask ? "ns " : "na "))
		return false;
	say_ip(t, h + 8, true);
	say(t, " > ");
	say_ip(t, ask ? i + 8 : h + 24, true);
	const uint8_t group[16] = { 0xff, 2, [11] = 1, 0xff, i[21], i[22], i[23] };
	if (ask && memcmp(group, h + 24, 16) != 0) {
		say(t, " dst=");
		say_ip(t, h + 24, true);
	}
	if (!ask && memcmp(i + 8, h + 8, 16) != 0) {
		say(t, " target=");
		say_ip(t, i + 8, true);
	}
	if (!ask)
		say_if(t, "flags", i[4] >> 5, 7);
	say_if(t, "hlim", h[7], 255);
	if (option) {
		say(t, ask ? " sll=" : " tll=");
		say_mac(t, i + 26);
	}
	say_checksum(t, (struct span){ i, n }, 2, PROTO_ICMP6, &a);
	print_pad(t, s.n - n - IP6_HLEN);
	return true;
}

/* ---- L3 ---- */

/* Has a payload of that protocol words of its own? */
static bool has_words(unsigned proto, bool v6, struct span s, const struct above *a)
{
	switch (proto) {
	case PROTO_TCP:
		return s.n >= (a->quoted ? 8 : TCP_HLEN);
	case PROTO_UDP:
		return s.n >= UDP_HLEN;
	case PROTO_SCTP:
		return s.n >= 12;
	case PROTO_ICMP:
		return !v6 && s.n >= ICMP_HLEN;
	case PROTO_ICMP6:
		return v6 && s.n >= ICMP_HLEN;
	case PROTO_HOPOPTS:
	case PROTO_DSTOPTS:
	case PROTO_ROUTING:
	case PROTO_FRAGMENT:
		return v6 && s.n >= 8 && (proto == PROTO_FRAGMENT || (s.p[1] + 1u) * 8 <= s.n);
	default:
		return false;
	}
}

/* Says proto= or nh= where the next layer will not tell; returns whether it has words. */
static bool say_next(struct printer *t, const char *key, unsigned proto, struct span s, const struct above *a,
		     bool later)
{
	bool words = !later && t->layers < t->max && has_words(proto, a->v6, s, a);
	if (!words)
		say_if(t, key, proto, PKTTEXT_PROTO);
	return words;
}

static void print_payload(struct printer *t, unsigned proto, struct span s, struct above *a);

static void print_ext(struct printer *t, unsigned proto, struct span s, struct above *a)
{
	const uint8_t *p = s.p;
	const uint32_t size = proto == PROTO_FRAGMENT ? 8 : (p[1] + 1u) * 8;
	begin(t, proto == PROTO_FRAGMENT  ? "frag"
		 : proto == PROTO_ROUTING ? "routing"
		 : proto == PROTO_HOPOPTS ? "hopopts"
					  : "dstopts");
	struct span rest = after(s, size);
	bool later = false;
	if (proto == PROTO_FRAGMENT) {
		say_if(t, "off", rd16(p + 2) & 0xfff8, 0);
		if (p[3] & 1)
			say(t, " mf");
		say_if(t, "id", rd32(p + 4), 0);
		later = rd16(p + 2) & 0xfff8;
	} else {
		if (size != 8)
			say(t, " %u", size);
		if (proto == PROTO_ROUTING) {
			say_if(t, "type", p[2], 2);
			say_if(t, "left", p[3], 0);
		}
	}
	if (say_next(t, "nh", p[0], rest, a, later))
		print_payload(t, p[0], rest, a);
	else
		print_data(t, rest);
}

static void print_payload(struct printer *t, unsigned proto, struct span s, struct above *a)
{
	switch (proto) {
	case PROTO_TCP:
		print_tcp(t, s, a);
		break;
	case PROTO_UDP:
		print_udp(t, s, a);
		break;
	case PROTO_SCTP:
		print_sctp(t, s);
		break;
	case PROTO_ICMP:
	case PROTO_ICMP6:
		print_icmp(t, s, a);
		break;
	default:
		print_ext(t, proto, s, a);
		break;
	}
}

static void print_ip4(struct printer *t, struct span s, struct above *a)
{
	const uint8_t *h = s.p;
	uint32_t hl = (h[0] & 15) * 4u, total = rd16(h + 2), off = rd16(h + 6);
	bool options = hl > IP4_HLEN && hl <= s.n;
	if (!begin(t, "ip ")) {
		print_data(t, s);
		return;
	}
	uint32_t head = options ? hl : IP4_HLEN, pad = total >= head && total < s.n && !a->quoted ? s.n - total : 0;
	struct span rest = { h + head, s.n - head - pad };
	*a = (struct above){ .src = h + 12, .dst = h + 16, .quoted = a->quoted };
	say_ip(t, h + 12, false);
	say(t, " > ");
	say_ip(t, h + 16, false);
	say_if(t, "ttl", h[8], 64);
	say_if(t, "tos", h[1], 0);
	say_if(t, "id", rd16(h + 4), 0);
	if (off & 0x4000)
		say(t, " df");
	if (off & 0x2000)
		say(t, " mf");
	if (off & 0x8000)
		say(t, " rf");
	say_if(t, "off", (off & 0x1fffu) * 8, 0);
	bool words = say_next(t, "proto", h[9], rest, a, off & 0x1fff);
	say_if(t, "len", total, s.n - pad);
	if (!options)
		say_if(t, "ihl", hl / 4, 5);
	say_if(t, "ver", h[0] >> 4, 4);
	if (csum_fold(csum_add(h, MIN(hl, s.n - pad), 0)) != 0xffff)
		say(t, " csum=0x%04x", rd16(h + 10));
	if (options) {
		say(t, " opt=");
		for (uint32_t i = IP4_HLEN; i < hl; i++)
			say(t, "%02x", h[i]);
	}
	if (words)
		print_payload(t, h[9], rest, a);
	else
		print_data(t, rest);
	print_pad(t, pad);
}

static void print_ip6(struct printer *t, struct span s, struct above *a)
{
	const uint8_t *h = s.p;
	uint32_t total = rd16(h + 4) + (uint32_t)IP6_HLEN, first = rd32(h);
	if (!a->quoted && print_nd(t, s))
		return;
	if (!begin(t, "ip ")) {
		print_data(t, s);
		return;
	}
	uint32_t pad = total < s.n && !a->quoted ? s.n - total : 0;
	struct span rest = { h + IP6_HLEN, s.n - IP6_HLEN - pad };
	*a = (struct above){ .src = h + 8, .dst = h + 24, .v6 = true, .quoted = a->quoted };
	say_ip(t, h + 8, true);
	say(t, " > ");
	say_ip(t, h + 24, true);
	say_if(t, "hlim", h[7], 64);
	say_if(t, "tc", first >> 20 & 255, 0);
	say_if(t, "flow", first & 0xfffff, 0);
	say_if(t, "ver", h[0] >> 4, 6);
	bool words = say_next(t, "nh", h[6], rest, a, false);
	say_if(t, "plen", rd16(h + 4), s.n - pad - IP6_HLEN);
	if (words)
		print_payload(t, h[6], rest, a);
	else
		print_data(t, rest);
	print_pad(t, pad);
}

/* A quoted packet: which IP it is, its first bits say. */
static void print_ip(struct printer *t, struct span s, struct above *a)
{
	if (s.n >= IP6_HLEN && s.p[0] >> 4 == 6)
		print_ip6(t, s, a);
	else if (s.n >= IP4_HLEN && s.p[0] >> 4 == 4)
		print_ip4(t, s, a);
	else
		print_data(t, s);
}

/* ---- L2 ---- */

static void print_arp(struct printer *t, struct span s, const struct above *a)
{
	static const uint8_t head[6] = { 0, 1, 8, 0, 6, 4 };
	const uint8_t *p = s.p, none[6] = { 0 };
	if (memcmp(p, head, 6) != 0 || !begin(t, "arp ")) {
		print_data(t, s);
		return;
	}
	unsigned op = rd16(p + 6);
	if (op == 1 || op == 2)
		say(t, op == 1 ? "request " : "reply ");
	say_ip(t, p + 14, false);
	say(t, " > ");
	say_ip(t, p + 24, false);
	if (op != 1 && op != 2)
		say(t, " op=%u", op);
	if (memcmp(p + 8, a->mac_src, 6) != 0) {
		say(t, " sha=");
		say_mac(t, p + 8);
	}
	if (memcmp(p + 18, op == 2 ? a->mac_dst : none, 6) != 0) {
		say(t, " tha=");
		say_mac(t, p + 18);
	}
	bool zero = true;
	for (uint32_t i = 28; i < s.n; i++)
		zero &= p[i] == 0;
	if (zero)
		print_pad(t, s.n - 28);
	else
		print_data(t, after(s, 28));
}

static bool known_type(unsigned type, struct span s)
{
	switch (type) {
	case ET_IP4:
		return s.n >= IP4_HLEN;
	case ET_IP6:
		return s.n >= IP6_HLEN;
	case ET_ARP:
		return s.n >= 28;
	case ET_VLAN:
		return s.n >= 4;
	default:
		return false;
	}
}

/* What follows an Ethernet type; type ~0: an Ethernet header. */
static void print_ethertype(struct printer *t, unsigned type, struct span s, struct above *a)
{
	uint32_t head = type == ~0u ? ETH_HLEN_ : 4;
	if (type != ~0u && type != ET_VLAN) {
		if (!known_type(type, s))
			print_data(t, s);
		else if (type == ET_IP4)
			print_ip4(t, s, a);
		else if (type == ET_IP6)
			print_ip6(t, s, a);
		else
			print_arp(t, s, a);
		return;
	}
	if (s.n < head || !begin(t, type == ET_VLAN ? "vlan" : "eth ")) {
		print_data(t, s);
		return;
	}
	if (type == ET_VLAN) {
		say(t, " %u", rd16(s.p) & 0xfff);
		say_if(t, "pcp", s.p[0] >> 5, 0);
		if (s.p[0] & 0x10)
			say(t, " dei");
	} else {
		say_mac(t, s.p + 6);
		say(t, " > ");
		say_mac(t, s.p);
		memcpy(a->mac_dst, s.p, 6);
		memcpy(a->mac_src, s.p + 6, 6);
	}
	unsigned next = rd16(s.p + head - 2);
	if ((!known_type(next, after(s, head)) || t->layers >= t->max) && next != PKTTEXT_ETHERTYPE)
		say(t, " type=0x%04x", next);
	print_ethertype(t, next, after(s, head), a);
}

const char *pkttext_print(const uint8_t *frame, uint32_t len, char *text)
{
	uint8_t back[PKTTEXT_FRAME_MAX];
	unsigned max = LAYERS_ALL;
	for (;;) {
		struct printer t = { .text = text, .max = max };
		struct above a = { 0 };
		text[0] = 0;
		print_ethertype(&t, ~0u, (struct span){ frame, len }, &a);
		if (t.layers == 0 || (pkttext_parse(text, back, NULL) == (int)len && memcmp(back, frame, len) == 0))
			return text;
		max = t.layers - 1;
	}
}
