/* SPDX-License-Identifier: BSD-2-Clause */
/* Which packets an observer wants: the operator's words, and the look at a frame. The look is a short one of its own, since frames
 * are filtered before anybody has judged them: it must cope with all of them and answers nothing but "these may be the ends". */
#include "fwd/observe_match.h"

#include <errno.h>
#include <stdlib.h>

#include "fwd/gate.h"
#include "tables/endpoint.h"
#include "tables/tunnel.h"

static const struct {
	const char *word, *value;
	uint32_t kinds;
} fields[OBSERVE_N_FIELDS] = {
#define FIELD(sym, word, value, kinds) [OBSERVE_##sym] = { word, value, kinds },
	OBSERVE_FIELDS(FIELD)
#undef FIELD
};

/* ---- words ---- */
static bool read_number(const char *s, uint64_t max, uint64_t *v)
{
	char *end;
	errno = 0;
	*v = strtoull(s, &end, 10);
	return *s >= '0' && *s <= '9' && !*end && !errno && *v <= max;
}

static bool read_proto(const char *s, uint8_t *proto)
{
	uint64_t n;
	*proto = proto_by_name(s);
	if (*proto)
		return true;
	if (!read_number(s, 255, &n) || !n)
		return false;
	*proto = (uint8_t)n;
	return true;
}

static bool read_reason(const char *s, uint8_t *reason)
{
	uint64_t n;
	if (read_number(s, 255, &n) && drop_text((unsigned)n)) {
		*reason = (uint8_t)n;
		return true;
	}
	for (unsigned i = 0; i < 256; i++)
		if (drop_symbol(i) && !strcmp(drop_symbol(i), s)) {
			*reason = (uint8_t)i;
			return true;
		}
	return false;
}

static bool read_value(struct observe_filter *f, unsigned field, const char *s)
{
	uint64_t n = 0;
	const struct port *p;
	switch (field) {
	case OBSERVE_SRC:
		return ipnet_parse(s, &f->src);
	case OBSERVE_DST:
		return ipnet_parse(s, &f->dst);
	case OBSERVE_HOST:
		return ipnet_parse(s, &f->host);
	case OBSERVE_SPORT:
	case OBSERVE_DPORT:
		if (!read_number(s, 65535, &n))
			return false;
		*(field == OBSERVE_SPORT ? &f->sport : &f->dport) = (uint16_t)n;
		return true;
	case OBSERVE_PROTO:
		return read_proto(s, &f->proto);
	case OBSERVE_PORT:
		p = port_by_name(s);
		f->port = p ? p->index : 0;
		return p;
	case OBSERVE_ENDPOINT:
		f->endpoint = (uint32_t)(read_number(s, ENDPOINT_ID_MAX, &n) ? n : 0);
		return f->endpoint && endpoint_by_id(f->endpoint);
	default:
		return read_reason(s, &f->reason);
	}
}

int observe_filter_add(struct observe_filter *f, enum observe_kind kind, const char *field, const char *value,
		       struct err *e)
{
	char known[128] = "";
	size_t at = 0;
	for (unsigned i = 0; i < OBSERVE_N_FIELDS; i++) {
		if (!(fields[i].kinds & kind))
			continue;
		if (strcmp(fields[i].word, field)) {
			at += (size_t)snprintf(known + at, sizeof(known) - at, "%s%s", at ? " " : "", fields[i].word);
			continue;
		}
		if (f->set >> i & 1)
			return err_set(e, -EINVAL, "filter: %s is there twice", field);
		if (!read_value(f, i, value))
			return err_set(e, -EINVAL, "filter: '%s' is no %s", value, fields[i].value);
		f->set |= 1u << i;
		return 0;
	}
	return err_set(e, -EINVAL, "filter: there is no field %s, but: %s", field, known);
}

/* ---- a frame's ends ---- */
static const uint8_t *look_l4(struct ends *x, const uint8_t *l4, const uint8_t *end)
{
	if (!l4 || end - l4 < 8 || (x->proto != PROTO_TCP && x->proto != PROTO_UDP && x->proto != PROTO_SCTP))
		return NULL;
	x->sport = rd16(l4);
	x->dport = rd16(l4 + 2);
	x->has_ports = true;
	return l4;
}

static const uint8_t *look_ip4(struct ends *x, const uint8_t *h, const uint8_t *end)
{
	const unsigned hl = (h[0] & 15) * 4;
	x->src = ip_from4(ld32(h + 12));
	x->dst = ip_from4(ld32(h + 16));
	x->proto = h[9];
	x->has_addrs = true;
	return rd16(h + 6) & 0x1fff || hl < IP4_HLEN || end - h < hl ? NULL : h + hl;
}

static const uint8_t *look_ip6(struct ends *x, const uint8_t *h, const uint8_t *end)
{
	x->src = ip_from6(h + 8);
	x->dst = ip_from6(h + 24);
	x->proto = h[6];
	x->has_addrs = true;
	h += IP6_HLEN;
	for (unsigned i = 0; i < 4 && end - h >= 8; i++) {
		const bool fragment = x->proto == PROTO_FRAGMENT;
		if (!fragment && x->proto != PROTO_HOPOPTS && x->proto != PROTO_ROUTING && x->proto != PROTO_DSTOPTS)
			break;
		x->proto = h[0];
		if (fragment && rd16(h + 2) & 0xfff8)
			return NULL;
		const long size = fragment ? 8 : (h[1] + 1) * 8;
		if (end - h < size)
			return NULL;
		h += size;
	}
	return h;
}

/* Returns the ports' place, NULL: none. */
static const uint8_t *look_frame(struct ends *x, const uint8_t *f, const uint8_t *end)
{
	const uint8_t *h = f + ETH_HLEN_;
	const long room = end - f - ETH_HLEN_;
	if (room < 0)
		return NULL;
	switch (rd16(f + 12)) {
	case ET_ARP:
		if (room >= 28) {
			x->src = ip_from4(ld32(h + 14));
			x->dst = ip_from4(ld32(h + 24));
			x->has_addrs = true;
		}
		return NULL;
	case ET_IP4:
		return room >= IP4_HLEN ? look_l4(x, look_ip4(x, h, end), end) : NULL;
	case ET_IP6:
		return room >= IP6_HLEN ? look_l4(x, look_ip6(x, h, end), end) : NULL;
	default:
		return NULL;
	}
}

static bool is_vtep(const struct ends *x)
{
	for (unsigned i = 0; i < VTEPS_MAX; i++) {
		const struct vtep *v = &vteps[i];
		if (v->port == x->dport && (ip_eq(&v->addr, &x->dst) || ip_eq(&v->addr, &x->src)))
			return true;
	}
	return false;
}

unsigned observe_look(const uint8_t *frame, uint32_t len, struct ends x[2])
{
	const uint8_t *end = frame + len;
	memset(x, 0, 2 * sizeof(*x));
	const uint8_t *l4 = look_frame(&x[0], frame, end);
	if (!l4 || x[0].proto != PROTO_UDP || end - l4 < UDP_HLEN + VXLAN_HLEN + ETH_HLEN_ || !is_vtep(&x[0]))
		return 1;
	look_frame(&x[1], l4 + UDP_HLEN + VXLAN_HLEN, end);
	return 2;
}

/* ---- matching ---- */
static bool of_endpoint(const struct endpoint *ep, const struct ipaddr *a)
{
	for (unsigned i = 0; i < ep->n_addrs; i++)
		if (ip_eq(&ep->addr[i], a))
			return true;
	return false;
}

static bool inside(const struct ipnet *n, const struct ipaddr *a)
{
	const struct ipaddr m = ip_mask(a, n->len);
	return ip_eq(&m, &n->addr);
}

bool observe_ends_match(const struct observe_filter *f, const struct ends *x, uint32_t endpoint)
{
	const uint32_t set = f->set;
#define HAS(field) (set >> OBSERVE_##field & 1)
	if (set & (1u << OBSERVE_SRC | 1u << OBSERVE_DST | 1u << OBSERVE_HOST) && !x->has_addrs)
		return false;
	if ((HAS(SRC) && !inside(&f->src, &x->src)) || (HAS(DST) && !inside(&f->dst, &x->dst)) ||
	    (HAS(HOST) && !inside(&f->host, &x->src) && !inside(&f->host, &x->dst)))
		return false;
	if ((HAS(SPORT) && !(x->has_ports && x->sport == f->sport)) ||
	    (HAS(DPORT) && !(x->has_ports && x->dport == f->dport)) || (HAS(PROTO) && x->proto != f->proto))
		return false;
	if (!HAS(ENDPOINT) || endpoint == f->endpoint)
		return true;
	const struct endpoint *ep = endpoint_by_id(f->endpoint);
	return ep && x->has_addrs && (of_endpoint(ep, &x->src) || of_endpoint(ep, &x->dst));
#undef HAS
}

/* By the gate's stamp, in the source MAC on the way in, in the destination MAC on the way out. */
static uint32_t stamped_endpoint(const uint8_t *frame)
{
	uint32_t id;
	for (unsigned at = 0; at <= 6; at += 6) {
		const unsigned kind = gate_stamp_read(frame + at, &id);
		if (kind == GATE_ENDPOINT || kind == GATE_ENDPOINT_BCAST)
			return id;
	}
	return 0;
}

bool observe_frame_match(const struct observe_filter *f, uint16_t port, const uint8_t *frame, uint32_t len)
{
	struct ends x[2];
	if (f->set >> OBSERVE_PORT & 1 && f->port != port)
		return false;
	if (!(f->set & ~(1u << OBSERVE_PORT | 1u << OBSERVE_REASON)))
		return true;
	const uint32_t endpoint = port == PORT_GATE && len >= ETH_HLEN_ ? stamped_endpoint(frame) : 0;
	const unsigned n = observe_look(frame, len, x);
	for (unsigned i = 0; i < n; i++)
		if (observe_ends_match(f, &x[i], endpoint))
			return true;
	return false;
}
