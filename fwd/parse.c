/* SPDX-License-Identifier: BSD-2-Clause */
/* Parsing of one frame (slow path; the burst loop in replay.c recognises the plain shapes by itself and sends everything
 * else here). Nothing is written to the frame but finished checksums. Workers only. */
#include "fwd/parse.h"

#include "fwd/base/hash.h"
#include "fwd/sctp.h"

enum { IP6_EXT_MAX = 8 };

static enum drop parse_tcp(struct pkt *p)
{
	if (p->l4_len < TCP_HLEN)
		return DROP_CT_INVALID_HEADER;
	unsigned doff = (p->l4[12] >> 4) * 4u;
	uint8_t f = p->l4[13] & 0x3f;
	p->tcp_flags = f;
	if (doff < TCP_HLEN || doff > p->l4_len)
		return DROP_L4_HEADER;
	/* no flags, SYN+FIN, SYN+RST, FIN without ACK: never sent by a TCP, only by scanners */
	if (f == 0 || (f & 0x03) == 0x03 || (f & 0x06) == 0x06 || (f & 0x11) == 0x01)
		return DROP_L4_HEADER;
	return DROP_NONE;
}

static enum drop parse_udp(const struct pkt *p)
{
	if (p->l4_len < UDP_HLEN)
		return DROP_CT_INVALID_HEADER;
	uint16_t n = rd16(p->l4 + 4);
	return n < UDP_HLEN || n > p->l4_len ? DROP_L4_HEADER : DROP_NONE;
}

static enum drop parse_sctp(struct pkt *p)
{
	if (p->l4_len < SCTP_HLEN)
		return DROP_CT_INVALID_HEADER;
	p->tcp_flags = sctp_as_tcp(p->l4, p->l4_len);
	return DROP_NONE;
}

static enum drop parse_icmp(struct pkt *p, bool v6)
{
	if (p->l4_len < ICMP_HLEN)
		return DROP_CT_INVALID_HEADER;
	uint64_t s = v6 ? csum_pseudo(p->l3 + 8, p->l3 + 24, 16, PROTO_ICMP6, p->l4_len) : 0;
	if (csum_fold(csum_add(p->l4, p->l4_len, s)) != 0xffff)
		return DROP_L4_CSUM;
	uint8_t type = p->l4[0];
	if (v6 ? type < 128 : type == 3 || type == 4 || type == 5 || type == 11 || type == 12)
		p->flags |= PKT_ICMP_ERROR;
	if (v6 ? type == 128 || type == 129 : type == 8 || type == 0)
		p->flags |= PKT_ICMP_ECHO;
	return DROP_NONE;
}

static enum drop parse_l4(struct pkt *p)
{
	if (p->flags & PKT_FRAG)
		return DROP_NONE; /* ports of a fragment are the frag step's business: parse_first */
	switch (p->proto) {
	case PROTO_TCP:
		return parse_tcp(p);
	case PROTO_UDP:
		return parse_udp(p);
	case PROTO_SCTP:
		return parse_sctp(p);
	case PROTO_ICMP:
		return p->flags & PKT_IP6 ? DROP_NONE : parse_icmp(p, false);
	case PROTO_ICMP6:
		return p->flags & PKT_IP6 ? parse_icmp(p, true) : DROP_NONE;
	default:
		return DROP_NONE;
	}
}

static enum drop parse_ip4(struct pkt *p, uint32_t room)
{
	uint8_t *h = p->l3;
	if (room < IP4_HLEN)
		return DROP_RUNT;
	unsigned hl = (h[0] & 15) * 4u, total = rd16(h + 2), frag = rd16(h + 6);
	if (h[0] >> 4 != 4 || hl < IP4_HLEN || hl > total || total > room)
		return DROP_IP4_HEADER;
	if (csum_fold(csum_add(h, hl, 0)) != 0xffff)
		return DROP_IP4_CSUM;
	p->l3_len = (uint16_t)total;
	p->tos = h[1];
	p->ttl = h[8];
	p->proto = h[9];
	p->l4 = h + hl;
	p->l4_len = (uint16_t)(total - hl);
	if (hl > IP4_HLEN)
		p->flags |= PKT_OPTIONS;
	if (frag & 0x3fff)
		p->flags |= PKT_FRAG;
	if (frag & 0x1fff)
		p->flags |= PKT_FRAG_LATER;
	return parse_l4(p);
}

/* One extension header at 'h' with 'room' bytes left: its size, or 0 when it does not fit or must not be followed. */
static unsigned ip6_ext_size(struct pkt *p, unsigned proto, const uint8_t *h, unsigned room, unsigned nth)
{
	if (room < 8)
		return 0;
	switch (proto) {
	case PROTO_HOPOPTS:
		return nth == 0 ? (h[1] + 1u) * 8 : 0; /* RFC 8200 4.1: first only */
	case PROTO_ROUTING:
		return h[2] == 0 ? 0 : (h[1] + 1u) * 8; /* type 0 is forbidden: RFC 5095 */
	case PROTO_DSTOPTS:
		return (h[1] + 1u) * 8;
	case PROTO_FRAGMENT:
		if (p->flags & PKT_FRAG)
			return 0;
		if (rd16(h + 2) & 0xfff9) /* else it is whole: RFC 6946 */
			p->flags |= PKT_FRAG;
		if (rd16(h + 2) & 0xfff8)
			p->flags |= PKT_FRAG_LATER;
		return 8;
	default:
		return 0;
	}
}

static enum drop parse_ip6(struct pkt *p, uint32_t room)
{
	uint8_t *h = p->l3;
	if (room < IP6_HLEN)
		return DROP_RUNT;
	unsigned payload = rd16(h + 4), off = IP6_HLEN, proto = h[6];
	if (h[0] >> 4 != 6 || payload + IP6_HLEN > room || payload + IP6_HLEN > 65535)
		return DROP_IP6_HEADER;
	p->flags |= PKT_IP6;
	p->l3_len = (uint16_t)(payload + IP6_HLEN);
	p->tos = (uint8_t)((h[0] << 4) | (h[1] >> 4));
	p->ttl = h[7];
	bool atomic = false;
	for (unsigned n = 0;
	     proto == PROTO_HOPOPTS || proto == PROTO_ROUTING || proto == PROTO_DSTOPTS || proto == PROTO_FRAGMENT;
	     n++) {
		unsigned left = p->l3_len - off, size = ip6_ext_size(p, proto, h + off, left, n);
		if (p->flags & PKT_FRAG && (left < 8 || size > left)) /* RFC 7112 5 */
			return DROP_FRAG_TINY;
		if (size == 0 || size > left || n >= IP6_EXT_MAX || (atomic && proto == PROTO_FRAGMENT))
			return DROP_INVALID_EXTHDR;
		p->flags |= PKT_OPTIONS;
		atomic |= proto == PROTO_FRAGMENT && !(p->flags & PKT_FRAG);
		proto = h[off];
		off += size;
		if (p->flags & PKT_FRAG_LATER)
			break; /* what follows is payload */
	}
	p->proto = (uint8_t)proto;
	p->l4 = h + off;
	p->l4_len = (uint16_t)(p->l3_len - off);
	if (atomic && proto == PROTO_ICMP6 && p->l4_len && p->l4[0] >= 133 && p->l4[0] <= 137)
		return DROP_FRAG_UNSUPPORTED; /* RFC 6980 5: no fragment header on ND */
	return parse_l4(p);
}

enum drop parse_first(struct pkt *p, struct frag_ports *f)
{
	static const uint8_t least[256] = { [PROTO_TCP] = TCP_HLEN,
					    [PROTO_UDP] = UDP_HLEN,
					    [PROTO_SCTP] = SCTP_HLEN,
					    [PROTO_ICMP] = ICMP_HLEN,
					    [PROTO_ICMP6] = ICMP_HLEN };
	const uint8_t *l4 = p->l4;
	enum drop d;
	if (p->proto == (p->flags & PKT_IP6 ? PROTO_ICMP : PROTO_ICMP6))
		return DROP_CT_UNKNOWN_PROTO;
	if (p->l4_len < least[p->proto] || (p->proto == PROTO_TCP && (l4[12] >> 4) * 4u > p->l4_len))
		return DROP_FRAG_TINY;
	if (p->proto == PROTO_TCP && (d = parse_tcp(p)) != DROP_NONE)
		return d;
	if (p->proto == PROTO_UDP && rd16(l4 + 4) < UDP_HLEN)
		return DROP_L4_HEADER;
	if (p->proto == PROTO_SCTP && (d = parse_sctp(p)) != DROP_NONE)
		return d;
	*f = (struct frag_ports){ .proto = p->proto, .tcp_flags = p->tcp_flags, .state = FRAG_OPEN };
	if (p->proto == PROTO_ICMP || p->proto == PROTO_ICMP6) {
		bool request = l4[0] == (p->proto == PROTO_ICMP6 ? 128 : 8);
		if (!request && l4[0] != (p->proto == PROTO_ICMP6 ? 129 : 0))
			return DROP_FRAG_UNSUPPORTED; /* errors and ND need no fragments; RFC 6980 forbids them for ND */
		*(request ? &f->sport : &f->dport) = ld16(l4 + 4);
		return DROP_NONE;
	}
	if (!least[p->proto]) /* no ports; whether it may pass is asked behind this */
		return DROP_NONE;
	f->sport = ld16(l4);
	f->dport = ld16(l4 + 2);
	return DROP_NONE;
}

void parse_set_ports(struct pkt *p, const struct frag_ports *f)
{
	p->proto = f->proto;
	p->tcp_flags = f->tcp_flags;
	if (f->proto == PROTO_ICMP || f->proto == PROTO_ICMP6)
		p->flags |= PKT_ICMP_ECHO;
	if (p->flags & PKT_IP6) {
		p->k6.sport = f->sport;
		p->k6.dport = f->dport;
		p->k6.zp = FLOW_ZP(p->zone, f->proto);
		p->hash = hash_key40(&p->k6);
	} else {
		p->k4.sport = f->sport;
		p->k4.dport = f->dport;
		p->hash = hash_key(&p->k4, sizeof(p->k4));
	}
}

static void parse_key(struct pkt *p)
{
	be16 sport = 0, dport = 0;
	bool ports = p->proto == PROTO_TCP || p->proto == PROTO_UDP || p->proto == PROTO_SCTP;
	if (!(p->flags & PKT_FRAG) && ports) {
		sport = ld16(p->l4);
		dport = ld16(p->l4 + 2);
	} else if (p->flags & PKT_ICMP_ECHO) {
		bool request = p->l4[0] == (p->flags & PKT_IP6 ? 128 : 8);
		sport = request ? ld16(p->l4 + 4) : 0;
		dport = request ? 0 : ld16(p->l4 + 4);
	}
	if (p->flags & PKT_IP6) {
		memcpy(p->k6.src, p->l3 + 8, 32);
		p->k6.sport = sport;
		p->k6.dport = dport;
		p->k6.zp = FLOW_ZP(p->zone, p->proto);
		p->hash = hash_key40(&p->k6);
	} else {
		const uint32_t zp = FLOW_ZP(p->zone, p->proto);
		p->k4 = (struct flow_key4){ ld32(p->l3 + 12), ld32(p->l3 + 16), sport, dport, zp };
		p->hash = hash_key(&p->k4, sizeof(p->k4));
	}
}

enum drop parse_ip(struct pkt *p, uint32_t off, uint16_t ethertype)
{
	p->l3 = p->data + off;
	enum drop d = ethertype == ET_IP4 ? parse_ip4(p, p->len - off) : parse_ip6(p, p->len - off);
	if (d == DROP_NONE)
		parse_key(p);
	return d;
}

enum drop parse_frame(struct pkt *p)
{
	p->flags = 0;
	if (p->len < ETH_HLEN_)
		return DROP_RUNT;
	if (p->data[0] & 1)
		p->flags |= PKT_BCAST;
	uint16_t type = rd16(p->data + 12);
	if (type == ET_VLAN || type == ET_QINQ)
		return p->len < ETH_HLEN_ + 4 ? DROP_RUNT : DROP_VLAN;
	if (type == ET_ARP) {
		p->flags |= PKT_ARP;
		p->l3 = p->data + ETH_HLEN_;
		return p->len < ETH_HLEN_ + 28 ? DROP_RUNT : DROP_NONE;
	}
	if (type != ET_IP4 && type != ET_IP6)
		return DROP_UNSUPPORTED_L2;
	return parse_ip(p, ETH_HLEN_, type);
}

void parse_complete_csum(struct pkt *p)
{
	unsigned at = p->proto == PROTO_TCP ? 16 : 6;
	if (p->proto == PROTO_SCTP && !(p->flags & PKT_FRAG) && (p->csum == PKT_CSUM_COMPLETE || !ld32(p->l4 + 8)))
		sctp_finish(p->l4,
			    p->l4_len); /* unfinished it is 0, and when a finished one is, this changes nothing */
	if ((p->proto != PROTO_TCP && p->proto != PROTO_UDP) || p->flags & PKT_FRAG)
		return;
	bool v6 = p->flags & PKT_IP6;
	uint16_t have = ld16(p->l4 + at), len = p->proto == PROTO_UDP ? rd16(p->l4 + 4) : p->l4_len;
	uint64_t pseudo = csum_pseudo(p->l3 + (v6 ? 8 : 12), p->l3 + (v6 ? 24 : 16), v6 ? 16 : 4, p->proto, len);
	if (p->csum == PKT_CSUM_MAYBE_PARTIAL && have != csum_fold(pseudo))
		return;
	if (p->proto == PROTO_UDP && have == 0 && !v6)
		return; /* sent without a checksum */
	st16(p->l4 + at, 0);
	uint16_t c = (uint16_t)~csum_fold(csum_add(p->l4, len, pseudo));
	st16(p->l4 + at, c ? c : 0xffff);
}

void tuple_of_pkt(const struct pkt *p, struct tuple *t)
{
	tuple_of_key(p->flags & PKT_IP6, p->flags & PKT_IP6 ? (const void *)&p->k6 : (const void *)&p->k4, t);
}

void tuple_reverse(const struct tuple *t, struct tuple *r)
{
	*r = (struct tuple){ t->dst, t->src, t->dport, t->sport, t->zone, t->proto };
}

uint64_t tuple_key(const struct tuple *t, void *key)
{
	const uint32_t zp = FLOW_ZP(t->zone, t->proto);
	if (ip_is4(&t->src)) {
		struct flow_key4 k = { t->src.w[3], t->dst.w[3], t->sport, t->dport, zp };
		memcpy(key, &k, sizeof(k));
		return hash_key(&k, sizeof(k));
	}
	struct flow_key6 k = { .sport = t->sport, .dport = t->dport, .zp = zp };
	memcpy(k.src, t->src.b, 16);
	memcpy(k.dst, t->dst.b, 16);
	memcpy(key, &k, sizeof(k));
	return hash_key40(&k);
}

void tuple_of_key(bool v6, const void *key, struct tuple *t)
{
	if (v6) {
		const struct flow_key6 *k = key;
		*t = (struct tuple){ ip_from6(k->src), ip_from6(k->dst), k->sport, k->dport, k->zp >> 8, k->zp & 255 };
	} else {
		const struct flow_key4 *k = key;
		*t = (struct tuple){ ip_from4(k->src), ip_from4(k->dst), k->sport, k->dport, k->zp >> 8, k->zp & 255 };
	}
}
