/* SPDX-License-Identifier: BSD-2-Clause */
/* ipmasq: prefixes whose traffic keeps its source address. Looked up once per new connection by the masquerade step in
 * workers, changed by the control thread. A record does not name the entry it depends on: every change bumps the extra
 * counter, since such lists change a few times in the life of a box. */
#include "tables/ipmasq.h"

#include "tables/room.h"

static struct lpm masq;

int ipmasq_init(struct err *e)
{
	return lpm_open(&masq, "ipmasq", 0, sizeof(uint64_t), GEN_ROUTE, e);
}

void ipmasq_fini(void)
{
	lpm_close(&masq);
}

bool ipmasq_match(const struct ipaddr *dst, struct ipnet *which)
{
	uint32_t i = lpm_lookup(&masq, 0, dst, NULL);

	if (i && which)
		*which = (struct ipnet){ .addr = lpm_key(&masq, i)->addr, .len = (uint8_t)lpm_key(&masq, i)->len };
	return i != 0;
}

int ipmasq_add(const struct ipnet *n, struct err *e)
{
	char b[IP_STRLEN];
	uint64_t none = 0;
	int r = lpm_insert(&masq, 0, n, &none);

	if (room_after_wait(&masq.t, r, true))
		r = lpm_insert(&masq, 0, n, &none);
	if (r == -EEXIST)
		return err_set(e, r, "ipmasq %s exists already", ipnet_print(n, b));
	if (r)
		return err_set(
			e, r, "ipmasq %s: the table is full (%u prefixes): delete some or merge them into shorter ones",
			ipnet_print(n, b), ipmasq_count());
	gen_bump_extra();
	return 0;
}

int ipmasq_del(const struct ipnet *n, struct err *e)
{
	char b[IP_STRLEN];

	if (lpm_delete(&masq, 0, n))
		return err_set(e, -ENOENT, "ipmasq %s does not exist: 'show ipmasq' lists what does",
			       ipnet_print(n, b));
	gen_bump_extra();
	return 0;
}

uint32_t ipmasq_next(uint32_t after, struct ipnet *n)
{
	uint32_t i = lpm_next(&masq, after);

	if (i)
		*n = (struct ipnet){ .addr = lpm_key(&masq, i)->addr, .len = (uint8_t)lpm_key(&masq, i)->len };
	return i;
}

uint32_t ipmasq_count(void)
{
	return table_count(&masq.t);
}
