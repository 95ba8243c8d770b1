/* SPDX-License-Identifier: BSD-2-Clause */
/* The arithmetic of prefix translation (contract in nat_prefix.h).
 *
 * One's complement sums do not care about byte order, so words are added as they lie in memory. It has two zeroes: a sum that
 * is ffff is written as 0 (RFC 6296 3.2), hence a word that is ffff at first could not come back. */
#include "tables/nat_prefix.h"

#include <errno.h>

enum { WORDS = 8, SUBNET_WORD = 3, SUBNET_LEN = 48, IID_WORD = 4 };

static uint16_t word(const struct ipaddr *a, unsigned i)
{
	return ld16(a->b + 2 * i);
}

/* Which word takes up the difference; WORDS: none can. */
static unsigned choose_word(const struct ipaddr *a, unsigned len)
{
	unsigned i = len <= SUBNET_LEN ? SUBNET_WORD : IID_WORD;

	if (len <= SUBNET_LEN)
		return word(a, i) == 0xffff ? WORDS : i;
	while (i < WORDS && word(a, i) == 0xffff)
		i++;
	return i;
}

enum nat_prefix nat_prefix_map(const struct ipaddr *a, const struct ipaddr *from, const struct ipaddr *to, unsigned len,
			       struct ipaddr *out)
{
	const uint16_t gone = csum_fold(csum_add(from->b, 8, 0)), come = csum_fold(csum_add(to->b, 8, 0));
	const unsigned i = choose_word(a, len);
	struct ipaddr r = ip_mask(a, len);

	if (i == WORDS)
		return len <= SUBNET_LEN ? NAT_PREFIX_SUBNET : NAT_PREFIX_IID;
	for (unsigned k = 0; k < 2; k++)
		r.d[k] = a->d[k] ^ r.d[k] ^ to->d[k];
	const uint16_t sum = csum_fold((uint64_t)word(a, i) + gone + (uint16_t)~come);
	st16(r.b + 2 * i, sum == 0xffff ? 0 : sum);
	if (len > SUBNET_LEN && (!a->d[1] || !r.d[1]))
		return NAT_PREFIX_IID;
	*out = r;
	return NAT_PREFIX_OK;
}

int nat_prefix_check(const struct ipnet *n, const char *pool, struct err *e)
{
	/* what RFC 4291 2.4 lists beside unicast that is routed: unspecified and loopback, link-local, multicast */
	static const struct ipnet none[] = {
		{ { .b = { 0 } }, 96 },
		{ { .b = { 0xfe, 0x80 } }, 10 },
		{ { .b = { 0xff } }, 8 },
	};
	char b[IP_STRLEN], x[IP_STRLEN], what[2 * IP_STRLEN];

	ipnet_print(n, b);
	if (strcmp(pool, b) != 0)
		snprintf(what, sizeof(what), "%s: static %s", pool, b);
	else
		snprintf(what, sizeof(what), "%s", pool);
	if (ip_is4(&n->addr))
		return err_set(e, -EINVAL,
			       "nat pool %s: prefixes are translated in IPv6 only; add a pool for each IPv4 address",
			       what);
	if (n->len > NAT_PREFIX_MAX)
		return err_set(e, -EINVAL, "nat pool %s: give a prefix of /%d or shorter", what, NAT_PREFIX_MAX);
	for (unsigned i = 0; i < ARRAY_LEN(none); i++)
		if (ipnet_overlap(n, &none[i]))
			return err_set(e, -EINVAL, "nat pool %s: it overlaps %s, which is not for unicast", what,
				       ipnet_print(&none[i], x));
	return 0;
}
