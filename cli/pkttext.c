/* SPDX-License-Identifier: BSD-2-Clause */
/* Text to frame (pkttext.h). Control thread and tests.
 *
 * Layers are appended as they are read, with what was not given left zero; then, from the innermost out, lengths, protocol
 * numbers and checksums are filled in. */
#include "cli/pkttext_private.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

__attribute__((format(printf, 2, 3))) static void fail(struct build *b, const char *fmt, ...)
{
	va_list ap;
	if (b->rc)
		return;
	b->rc = -EINVAL;
	va_start(ap, fmt);
	if (b->e)
		vsnprintf(b->e->text, sizeof(b->e->text), fmt, ap);
	va_end(ap);
}

static uint8_t *put(struct build *b, uint32_t n)
{
	if (n > PKTTEXT_FRAME_MAX - b->n) {
		fail(b, "the frame is longer than %d bytes", PKTTEXT_FRAME_MAX);
		memset(b->trash, 0, sizeof(b->trash));
		return b->trash;
	}
	uint8_t *p = b->f + b->n;
	memset(p, 0, n);
	b->n += n;
	return p;
}

/* ---- words ---- */

static const char *value(struct build *b, const char *key)
{
	size_t n = strlen(key);
	for (unsigned i = 1; i < b->n_words; i++)
		if (!(b->used & 1u << i) && strncmp(b->w[i], key, n) == 0 && b->w[i][n] == '=') {
			b->used |= 1u << i;
			return b->w[i] + n + 1;
		}
	return NULL;
}

static bool flag(struct build *b, const char *word)
{
	for (unsigned i = 1; i < b->n_words; i++)
		if (!(b->used & 1u << i) && strcmp(b->w[i], word) == 0) {
			b->used |= 1u << i;
			return true;
		}
	return false;
}

/* The next word that is no KEY=VALUE; NULL when there is none. */
static const char *positional(struct build *b)
{
	for (unsigned i = 1; i < b->n_words; i++)
		if (!(b->used & 1u << i) && !strchr(b->w[i], '=')) {
			b->used |= 1u << i;
			return b->w[i];
		}
	return NULL;
}

static uint32_t to_number(struct build *b, const char *s, uint32_t max)
{
	char *end;
	errno = 0;
	unsigned long long v = strtoull(s, &end, 0);
	if (!isdigit((unsigned char)*s) || *end || errno || v > max)
		fail(b, "%s: '%s' is not a number from 0 to %u", b->w[0], s, max);
	return b->rc ? 0 : (uint32_t)v;
}

/* KEY=N; 'v' stays as it is when absent. */
static bool number(struct build *b, const char *key, uint32_t max, uint32_t *v)
{
	const char *s = value(b, key);
	if (!s)
		return false;
	*v = to_number(b, s, max);
	return true;
}

static uint32_t number_or(struct build *b, const char *key, uint32_t max, uint32_t otherwise)
{
	number(b, key, max, &otherwise);
	return otherwise;
}

/* "A > B" at the start of a layer. */
static void pair(struct build *b, const char **from, const char **to)
{
	const char *arrow;
	*from = positional(b);
	arrow = positional(b);
	*to = positional(b);
	if (!*to || strcmp(arrow, ">") != 0) {
		fail(b, "%s: 'A > B' was expected", b->w[0]);
		*from = *to = "";
	}
}

static void ports(struct build *b, uint8_t *p)
{
	const char *from, *to;
	pair(b, &from, &to);
	wr16(p, (uint16_t)to_number(b, from, 65535));
	wr16(p + 2, (uint16_t)to_number(b, to, 65535));
}

static struct ipaddr to_ip(struct build *b, const char *s)
{
	struct ipaddr a = { .w = { 0 } };
	if (!b->rc && !ip_parse(s, &a))
		fail(b, "%s: '%s' is not an IP address", b->w[0], s);
	return a;
}

static struct mac to_mac(struct build *b, const char *s)
{
	struct mac m = { { 0 } };
	if (!b->rc && !mac_parse(s, &m))
		fail(b, "%s: '%s' is not a MAC address", b->w[0], s);
	return m;
}

static void put_hex(struct build *b, const char *s)
{
	for (; *s; s += 2) {
		if (!isxdigit((unsigned char)s[0]) || !isxdigit((unsigned char)s[1])) {
			fail(b, "%s: '%s' is not an even number of hex digits", b->w[0], s);
			return;
		}
		char digits[3] = { s[0], s[1], 0 };
		*put(b, 1) = (uint8_t)strtoul(digits, NULL, 16);
	}
}

static struct layer *add(struct build *b, enum kind kind)
{
	if (b->n_layers == LAYERS_MAX) {
		fail(b, "more than %d layers", LAYERS_MAX);
		b->n_layers--;
	}
	struct layer *l = &b->l[b->n_layers++];
	*l = (struct layer){ .kind = kind, .at = b->n, .scope = b->scope };
	return l;
}

static void checksum_word(struct build *b, struct layer *l, uint8_t *field)
{
	const char *s = value(b, "csum");
	if (!s)
		return;
	l->csum = true;
	l->partial = strcmp(s, "partial") == 0;
	if (!l->partial)
		wr16(field, (uint16_t)to_number(b, s, 65535));
}

/* ---- layers ---- */

static void eth_header(struct build *b, const struct mac *from, const struct mac *to)
{
	uint32_t type;
	b->scope++;
	struct layer *l = add(b, K_ETH);
	uint8_t *p = put(b, ETH_HLEN_);
	memcpy(p, to->b, 6);
	memcpy(p + 6, from->b, 6);
	l->type = number(b, "type", 0xffff, &type);
	if (l->type)
		wr16(p + 12, (uint16_t)type);
}

static void read_eth(struct build *b)
{
	const char *from, *to;
	pair(b, &from, &to);
	struct mac src = to_mac(b, from), dst = to_mac(b, to);
	eth_header(b, &src, &dst);
}

static void read_vlan(struct build *b)
{
	const char *id = positional(b);
	uint32_t type, tci = to_number(b, id ? id : "", 4095) | number_or(b, "pcp", 7, 0) << 13;
	tci |= flag(b, "dei") ? 0x1000 : 0;
	struct layer *l = add(b, K_VLAN);
	uint8_t *p = put(b, 4);
	wr16(p, (uint16_t)tci);
	l->type = number(b, "type", 0xffff, &type);
	if (l->type)
		wr16(p + 2, (uint16_t)type);
}

static void read_ip4(struct build *b, const struct ipaddr *src, const struct ipaddr *dst)
{
	uint32_t v, opt_at = b->n + IP4_HLEN;
	struct layer *l = add(b, K_IP4);
	uint8_t *h = put(b, IP4_HLEN);
	const char *opt = value(b, "opt");
	if (opt)
		put_hex(b, opt);
	uint32_t ihl = number_or(b, "ihl", 15, (IP4_HLEN + b->n - opt_at) / 4);
	h[0] = (uint8_t)(number_or(b, "ver", 15, 4) << 4 | (ihl & 15));
	h[1] = (uint8_t)number_or(b, "tos", 255, 0);
	if ((l->len = number(b, "len", 65535, &v)))
		wr16(h + 2, (uint16_t)v);
	wr16(h + 4, (uint16_t)number_or(b, "id", 65535, 0));
	uint32_t off = number_or(b, "off", 65528, 0);
	if (off & 7)
		fail(b, "ip: off=%u is no multiple of 8", off);
	off = off >> 3 | (flag(b, "df") ? 0x4000 : 0) | (flag(b, "mf") ? 0x2000 : 0) | (flag(b, "rf") ? 0x8000 : 0);
	wr16(h + 6, (uint16_t)off);
	h[8] = (uint8_t)number_or(b, "ttl", 255, 64);
	if ((l->type = number(b, "proto", 255, &v)))
		h[9] = (uint8_t)v;
	checksum_word(b, l, h + 10);
	memcpy(h + 12, src->b + 12, 4);
	memcpy(h + 16, dst->b + 12, 4);
}

static struct layer *ip6_header(struct build *b, const struct ipaddr *src, const struct ipaddr *dst, uint32_t hlim)
{
	uint32_t v;
	struct layer *l = add(b, K_IP6);
	uint8_t *h = put(b, IP6_HLEN);
	wr32(h, number_or(b, "ver", 15, 6) << 28 | number_or(b, "tc", 255, 0) << 20 | number_or(b, "flow", 0xfffff, 0));
	if ((l->len = number(b, "plen", 65535, &v)))
		wr16(h + 4, (uint16_t)v);
	if ((l->type = number(b, "nh", 255, &v)))
		h[6] = (uint8_t)v;
	h[7] = (uint8_t)number_or(b, "hlim", 255, hlim);
	memcpy(h + 8, src->b, 16);
	memcpy(h + 24, dst->b, 16);
	return l;
}

static void read_ip(struct build *b)
{
	const char *from, *to;
	pair(b, &from, &to);
	struct ipaddr src = to_ip(b, from), dst = to_ip(b, to);
	if (b->rc)
		return;
	/* ::ffff:a.b.c.d reads as IPv4: a packet from IPv4 to IPv6 can only be meant as IPv6 */
	if (ip_is4(&src) && ip_is4(&dst) && !strchr(from, ':') && !strchr(to, ':'))
		read_ip4(b, &src, &dst);
	else
		ip6_header(b, &src, &dst, 64);
}

static void read_ext(struct build *b)
{
	uint32_t v;
	const char *s = positional(b);
	uint32_t size = s ? to_number(b, s, 1024) : 8;
	struct layer *l = add(b, K_EXT);
	bool routing = strcmp(b->w[0], "routing") == 0;
	l->proto = routing ? PROTO_ROUTING : strcmp(b->w[0], "dstopts") == 0 ? PROTO_DSTOPTS : PROTO_HOPOPTS;
	if (size < 8 || size & 7)
		fail(b, "%s: %u bytes: a multiple of 8 was expected", b->w[0], size);
	uint8_t *p = put(b, MAX(size, 8u));
	if ((l->type = number(b, "nh", 255, &v)))
		p[0] = (uint8_t)v;
	p[1] = (uint8_t)number_or(b, "len", 255, size / 8 - 1);
	if (routing) {
		p[2] = (uint8_t)number_or(b, "type", 255, 2);
		p[3] = (uint8_t)number_or(b, "left", 255, 0);
		return;
	}
	for (uint32_t at = 2; at < size; at += 2u + p[at + 1]) { /* PadN, each up to 255 bytes */
		p[at] = 1;
		p[at + 1] = (uint8_t)MIN(size - at - 2, 254u);
	}
}

static void read_frag(struct build *b)
{
	uint32_t v;
	struct layer *l = add(b, K_EXT);
	uint8_t *p = put(b, 8);
	l->proto = PROTO_FRAGMENT;
	if ((l->type = number(b, "nh", 255, &v)))
		p[0] = (uint8_t)v;
	uint32_t off = number_or(b, "off", 65528, 0);
	if (off & 7)
		fail(b, "frag: off=%u is no multiple of 8", off);
	wr16(p + 2, (uint16_t)(off | flag(b, "mf")));
	wr32(p + 4, number_or(b, "id", UINT32_MAX, 0));
}

static void read_tcp(struct build *b)
{
	static const char letters[] = "FSRPAUEC";
	uint32_t opt_at = b->n + TCP_HLEN;
	struct layer *l = add(b, K_TCP);
	uint8_t *p = put(b, TCP_HLEN);
	ports(b, p);
	const char *flags = positional(b), *opt = value(b, "opt");
	for (const char *c = flags ? flags : ""; *c; c++) {
		const char *at = strchr(letters, *c);
		if (at)
			p[13] |= (uint8_t)(1u << (at - letters));
		else
			fail(b, "tcp: '%s' are no flags; they are letters of %s", flags, letters);
	}
	wr32(p + 4, number_or(b, "seq", UINT32_MAX, 0));
	wr32(p + 8, number_or(b, "ack", UINT32_MAX, 0));
	if (opt)
		put_hex(b, opt);
	p[12] = (uint8_t)(number_or(b, "doff", 15, (TCP_HLEN + b->n - opt_at) / 4) << 4);
	wr16(p + 14, (uint16_t)number_or(b, "win", 65535, 64240));
	wr16(p + 18, (uint16_t)number_or(b, "urg", 65535, 0));
	checksum_word(b, l, p + 16);
}

static void read_udp(struct build *b)
{
	uint32_t v;
	struct layer *l = add(b, K_UDP);
	uint8_t *p = put(b, UDP_HLEN);
	ports(b, p);
	if ((l->len = number(b, "len", 65535, &v)))
		wr16(p + 4, (uint16_t)v);
	checksum_word(b, l, p + 6);
}

static void read_sctp(struct build *b)
{
	uint32_t v;
	struct layer *l = add(b, K_SCTP);
	uint8_t *p = put(b, 12);
	ports(b, p);
	wr32(p + 4, number_or(b, "vtag", UINT32_MAX, 0));
	if ((l->csum = number(b, "csum", UINT32_MAX, &v)))
		wr32(p + 8, v);
}

static bool over_ip6(const struct build *b)
{
	for (unsigned i = b->n_layers; i-- > 0;)
		if (b->l[i].kind == K_IP4 || b->l[i].kind == K_IP6)
			return b->l[i].kind == K_IP6;
	return false;
}

static void read_icmp(struct build *b)
{
	uint32_t v;
	bool v6 = over_ip6(b), echo = flag(b, "echo"), reply = !echo && flag(b, "echo-reply");
	struct layer *l = add(b, K_ICMP);
	uint8_t *p = put(b, ICMP_HLEN);
	if (echo || reply) {
		p[0] = v6 ? 128 + reply : reply ? 0 : 8;
		wr16(p + 4, (uint16_t)number_or(b, "id", 65535, 0));
		wr16(p + 6, (uint16_t)number_or(b, "seq", 65535, 0));
	} else if (number(b, "type", 255, &v)) {
		p[0] = (uint8_t)v;
		if (number(b, "rest", UINT32_MAX, &v))
			wr32(p + 4, v);
		if (number(b, "mtu", v6 ? UINT32_MAX : 65535, &v))
			v6 ? wr32(p + 4, v) : wr16(p + 6, (uint16_t)v);
	} else {
		fail(b, "icmp: 'echo', 'echo-reply' or 'type=N' was expected");
	}
	p[1] = (uint8_t)number_or(b, "code", 255, 0);
	checksum_word(b, l, p + 2);
}

static void read_vxlan(struct build *b)
{
	uint32_t vni = 0;
	add(b, K_VXLAN);
	uint8_t *p = put(b, VXLAN_HLEN);
	p[0] = (uint8_t)number_or(b, "flags", 255, 8);
	if (!number(b, "vni", 0xffffff, &vni))
		fail(b, "vxlan: vni=N is missing");
	wr32(p + 4, vni << 8);
}

/* MAC of KEY=MAC, else 'otherwise' (6 bytes) or zero. */
static struct mac mac_word(struct build *b, const char *key, const uint8_t *otherwise)
{
	struct mac m = { { 0 } };
	const char *s = value(b, key);
	if (s)
		return to_mac(b, s);
	if (otherwise)
		memcpy(m.b, otherwise, 6);
	return m;
}

static const uint8_t *last_eth(const struct build *b)
{
	for (unsigned i = b->n_layers; i-- > 0;)
		if (b->l[i].kind == K_ETH)
			return b->f + b->l[i].at;
	return NULL;
}

static void read_arp(struct build *b)
{
	const char *from, *to;
	bool request = flag(b, "request"), reply = !request && flag(b, "reply");
	uint32_t op = number_or(b, "op", 65535, request ? 1 : reply ? 2 : 0);
	pair(b, &from, &to);
	struct ipaddr s = to_ip(b, from), t = to_ip(b, to);
	const uint8_t *eth = last_eth(b);
	add(b, K_ARP);
	uint8_t *p = put(b, 28);
	struct mac sha = mac_word(b, "sha", eth ? eth + 6 : NULL), tha = mac_word(b, "tha", reply ? eth : NULL);
	wr16(p, 1);
	wr16(p + 2, ET_IP4);
	p[4] = 6;
	p[5] = 4;
	wr16(p + 6, (uint16_t)op);
	memcpy(p + 8, sha.b, 6);
	memcpy(p + 14, s.b + 12, 4);
	memcpy(p + 18, tha.b, 6);
	memcpy(p + 24, t.b + 12, 4);
}

/* Neighbour solicitation and advertisement with at most their one option (RFC 4861 4.3, 4.4). */
static void read_nd(struct build *b)
{
	const char *from, *to, *s;
	bool ask = strcmp(b->w[0], "ns") == 0;
	pair(b, &from, &to);
	struct ipaddr src = to_ip(b, from), dst = to_ip(b, to), target = ask ? dst : src;
	if (ask) /* the solicited-node group */
		dst = (struct ipaddr){ .b = { 0xff, 2, [11] = 1, 0xff, target.b[13], target.b[14], target.b[15] } };
	if ((s = value(b, "dst")))
		dst = to_ip(b, s);
	if ((s = value(b, "target")))
		target = to_ip(b, s);
	ip6_header(b, &src, &dst, 255);
	struct layer *l = add(b, K_ICMP);
	uint8_t *p = put(b, 24);
	p[0] = ask ? 135 : 136;
	wr32(p + 4, ask ? 0 : number_or(b, "flags", 7, 7) << 29);
	memcpy(p + 8, target.b, 16);
	checksum_word(b, l, p + 2);
	struct mac m = mac_word(b, ask ? "sll" : "tll", NULL);
	if (mac_is_zero(&m))
		return;
	p = put(b, 8);
	p[0] = ask ? 1 : 2;
	p[1] = 1;
	memcpy(p + 2, m.b, 6);
}

static void read_data(struct build *b)
{
	const char *s = positional(b);
	add(b, K_DATA);
	if (strcmp(b->w[0], "hex") == 0) {
		put_hex(b, s ? s : "");
		return;
	}
	uint32_t n = to_number(b, s ? s : "", PKTTEXT_FRAME_MAX);
	uint8_t *p = put(b, n);
	for (uint32_t i = 0; i < n; i++)
		p[i] = (uint8_t)i;
}

static void read_pad(struct build *b)
{
	const char *s = positional(b);
	uint32_t n = to_number(b, s ? s : "", PKTTEXT_FRAME_MAX);
	b->pad += n;
	put(b, n);
}

static void read_cut(struct build *b)
{
	const char *s = positional(b);
	uint32_t n = to_number(b, s ? s : "", PKTTEXT_FRAME_MAX), at = b->n_layers ? b->l[b->n_layers - 1].at : 0;
	if (!b->n_layers || at + n > b->n)
		fail(b, "cut: the layer in front has no %u bytes", n);
	else
		b->n = at + n;
}

static void read_trunc(struct build *b)
{
	const char *s = positional(b);
	b->trunc = MIN(b->trunc, to_number(b, s ? s : "", PKTTEXT_FRAME_MAX));
}

static const struct {
	const char *name;
	void (*read)(struct build *b);
} rows[] = {
	{ "eth", read_eth },     { "vlan", read_vlan },   { "ip", read_ip },     { "hopopts", read_ext },
	{ "dstopts", read_ext }, { "routing", read_ext }, { "frag", read_frag }, { "tcp", read_tcp },
	{ "udp", read_udp },     { "sctp", read_sctp },   { "icmp", read_icmp }, { "icmp6", read_icmp },
	{ "vxlan", read_vxlan }, { "arp", read_arp },     { "ns", read_nd },     { "na", read_nd },
	{ "data", read_data },   { "hex", read_data },    { "cut", read_cut },   { "pad", read_pad },
	{ "trunc", read_trunc },
};

/* ---- the whole ---- */

static void read_layer(struct build *b, char *text)
{
	char *save = NULL;
	b->n_words = 0;
	b->used = 1;
	for (char *w = strtok_r(text, " \t\r\n", &save); w; w = strtok_r(NULL, " \t\r\n", &save)) {
		if (b->n_words == WORDS_MAX) {
			fail(b, "%s: more than %d words", b->w[0], WORDS_MAX);
			return;
		}
		b->w[b->n_words++] = w;
	}
	if (b->n_words == 0) {
		fail(b, "an empty layer: a word such as ip, tcp, udp was expected");
		return;
	}
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		if (strcmp(rows[i].name, b->w[0]) != 0)
			continue;
		if (b->n_layers == 0 && rows[i].read != read_eth && rows[i].read != read_data &&
		    rows[i].read != read_trunc) {
			static const struct mac from = { { 2, 0, 0, 0, 0, 9 } }, to = { { 2, 0, 0, 0, 0, 1 } };
			unsigned n = b->n_words;
			b->n_words = 1; /* its words are not for eth */
			eth_header(b, &from, &to);
			b->n_words = n;
		}
		rows[i].read(b);
		for (unsigned k = 1; k < b->n_words; k++)
			if (!(b->used & 1u << k))
				fail(b, "%s: '%s' is not known here", b->w[0], b->w[k]);
		return;
	}
	char all[200] = "";
	for (size_t i = 0, at = 0; i < ARRAY_LEN(rows); i++)
		at += (size_t)snprintf(all + at, sizeof(all) - at, " %s", rows[i].name);
	fail(b, "'%s' is no layer, but:%s", b->w[0], all);
}

int pkttext_parse(const char *text, uint8_t *frame, struct err *e)
{
	struct build *b = calloc(1, sizeof(*b));
	char *copy = strdup(text);
	if (!b || !copy) {
		free(b);
		free(copy);
		return err_set(e, -ENOMEM, "out of memory");
	}
	b->f = frame;
	b->e = e;
	b->trunc = PKTTEXT_FRAME_MAX;
	for (char *layer = copy, *bar; layer && !b->rc; layer = bar) {
		bar = strchr(layer, '|');
		if (bar)
			*bar++ = 0;
		read_layer(b, layer);
	}
	for (unsigned i = b->n_layers; i-- > 0 && !b->rc;)
		pkttext_fill(b, &b->l[i], i + 1 < b->n_layers ? &b->l[i + 1] : NULL);
	int rc = b->rc ? b->rc : (int)MIN(b->n, b->trunc);
	free(b);
	free(copy);
	return rc;
}
