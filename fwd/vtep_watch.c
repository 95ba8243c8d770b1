/* SPDX-License-Identifier: BSD-2-Clause */
#include "fwd/vtep_watch.h"

#include <net/if.h>

#include "fwd/base/log.h"
#include "fwd/fib.h"

/* What was told last. Of a VTEP that is new the configuration has told already. */
static struct {
	uint32_t since; /* of the VTEP in this place */
	bool present;
} told[VTEPS_MAX];

bool vtep_present(const struct vtep *v, uint32_t *ifindex)
{
	struct fib_result f;

	fib_lookup(&v->addr, 0, &f);
	if (f.kind == FIB_LOCAL && ifindex)
		*ifindex = f.nh.ifindex;
	return f.kind == FIB_LOCAL;
}

void vtep_watch_tick(void)
{
	char b[IP_STRLEN], name[IF_NAMESIZE] = "";
	uint32_t ifindex = 0;

	for (unsigned i = 0; i < VTEPS_MAX; i++) {
		const struct vtep *v = &vteps[i];
		if (ip_is_zero(&v->addr))
			continue;
		const bool present = vtep_present(v, &ifindex), known = told[i].since == v->since;
		if (known && present && !told[i].present)
			log_info("vtep %s port %u: the box has its address now, on %s", ip_print(&v->addr, b), v->port,
				 if_indextoname(ifindex, name) ? name : "an interface");
		else if (known && !present && told[i].present)
			log_warn("vtep %s port %u: the box does not have its address any more: other nodes do not "
				 "reach it until an interface has it again",
				 ip_print(&v->addr, b), v->port);
		told[i].since = v->since;
		told[i].present = present;
	}
}
