/* SPDX-License-Identifier: BSD-2-Clause */
/* Interface addresses: the source of ICMP answers and of ARP requests in tunnels. The control thread replaces the whole list,
 * which is short; workers read it. */
#include "fwd/fib_private.h"

#include <stdlib.h>

#include "fwd/base/rcu.h"

struct addr {
	uint32_t ifindex, epoch;
	struct ipaddr addr;
	uint8_t len;
};
struct addrs {
	uint32_t n;
	struct addr a[];
};
static struct addrs *addrs; /* published to workers */

static void addrs_publish(struct addrs *next)
{
	struct addrs *old = addrs;
	STORE_RELEASE(&addrs, next);
	if (old)
		rcu_defer(free, old);
}

void fib_addrs_fini(void)
{
	free(addrs);
	addrs = NULL;
}

void fib_addrs_sweep(void)
{
	uint32_t keep = 0;
	for (uint32_t i = 0; addrs && i < addrs->n; i++)
		keep += addrs->a[i].epoch == fib_epoch;
	if (!addrs || keep == addrs->n)
		return;
	struct addrs *a = calloc(1, sizeof(*a) + keep * sizeof(a->a[0]));
	if (!a)
		return;
	for (uint32_t i = 0; i < addrs->n; i++)
		if (addrs->a[i].epoch == fib_epoch)
			a->a[a->n++] = addrs->a[i];
	addrs_publish(a);
}

void fib_addr_set(uint32_t ifindex, const struct ipaddr *a, uint8_t prefix_len, bool present)
{
	uint32_t n = addrs ? addrs->n : 0, at = 0;
	while (at < n && (addrs->a[at].ifindex != ifindex || !ip_eq(&addrs->a[at].addr, a)))
		at++;
	if (at < n && present && addrs->a[at].len == prefix_len) {
		addrs->a[at].epoch = fib_epoch; /* no reader looks at it */
		return;
	}
	if (at == n && !present)
		return;
	struct addrs *next = calloc(1, sizeof(*next) + (n + 1) * sizeof(next->a[0]));
	if (!next)
		return;
	for (uint32_t i = 0; i < n; i++)
		if (i != at || present)
			next->a[next->n++] = addrs->a[i];
	if (present) {
		struct addr *x = &next->a[at];
		*x = (struct addr){ .ifindex = ifindex, .epoch = fib_epoch, .addr = *a, .len = prefix_len };
		if (at == n)
			next->n++;
	}
	addrs_publish(next);
}

static bool is_global(const struct ipaddr *a)
{
	return !ip_is_loopback(a) && !ip_is_multicast(a) && !ip_is_linklocal6(a) &&
	       !(ip_is4(a) && rd16(a->b + 12) == 0xa9fe);
}

bool fib_port_addr(uint32_t ifindex, bool v6, struct ipaddr *a)
{
	const struct addrs *s = LOAD_ACQUIRE(&addrs);
	for (uint32_t i = 0; s && i < s->n; i++)
		if (s->a[i].ifindex == ifindex && ip_is4(&s->a[i].addr) != v6 && is_global(&s->a[i].addr)) {
			*a = s->a[i].addr;
			return true;
		}
	return false;
}

bool fib_has_addr(const struct ipaddr *a)
{
	const struct addrs *s = LOAD_ACQUIRE(&addrs);
	for (uint32_t i = 0; s && i < s->n; i++)
		if (ip_eq(&s->a[i].addr, a))
			return true;
	return false;
}

bool fib_subnet_addr(uint32_t ifindex, const struct ipaddr *target, struct ipaddr *a)
{
	for (uint32_t i = 0; addrs && i < addrs->n; i++) {
		const struct addr *x = &addrs->a[i];
		struct ipnet net = { .addr = ip_mask(&x->addr, x->len), .len = x->len };
		if (x->ifindex == ifindex && ipnet_contains(&net, target) && !ip_eq(&x->addr, target)) {
			*a = x->addr;
			return true;
		}
	}
	return false;
}
