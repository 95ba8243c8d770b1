/* SPDX-License-Identifier: BSD-2-Clause */
/* Adoption as a whole, and what is said about it (contract in adopt.h). Control thread, at start. */
#include "tables/adopt.h"

#include <stdio.h>

#include "fwd/base/clock.h"

struct adoption adoption;

static const char *const drop_texts[ADOPT_DROPS] = {
	[ADOPT_DAMAGED] = "damaged",
	[ADOPT_FUTURE] = "from the future",
	[ADOPT_SENDER] = "whose endpoint or remote node is no longer configured",
	[ADOPT_POOL] = "whose NAT pool or port is no longer configured",
	[ADOPT_SERVICE] = "whose service or backend is no longer configured",
	[ADOPT_DUPLICATE] = "with the key of another one",
	[ADOPT_ROOM] = "that found no room",
};

void adopt_state(uint32_t now_s, unsigned n_owners)
{
	const uint64_t start = clock_ns();

	adoption = (struct adoption){ .tried = arena_former_begin() };
	if (adoption.tried) {
		nat_adopt_begin(now_s);
		affinity_adopt(now_s);
		ct_adopt(false, now_s);
		ct_adopt(true, now_s);
		nat_adopt_end();
		frag_adopt(n_owners, now_s);
	}
	arena_former_done();
	adoption.microseconds = (uint32_t)((clock_ns() - start) / 1000);
}

const char *adopt_reason(void)
{
	static char text[512];
	int n = snprintf(text, sizeof(text), "%s", arena_reason());

	for (unsigned i = 0; i < ADOPT_DROPS; i++)
		if (drop_texts[i] && adoption.drops[i] && n >= 0 && (size_t)n < sizeof(text))
			n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%u connection%s %s", n ? "; " : "",
				      adoption.drops[i], adoption.drops[i] == 1 ? "" : "s", drop_texts[i]);
	return text;
}
