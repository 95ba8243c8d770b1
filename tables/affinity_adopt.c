/* SPDX-License-Identifier: BSD-2-Clause */
/* Adoption of clients that stick to a backend (contract in adopt.h). Control thread, at start.
 *
 * A row names service and backend by numbers of its process. The former tables of services and backends say which these were;
 * what is configured now under the same addresses and ports takes their place. */
#include <stdlib.h>

#include "tables/adopt.h"
#include "tables/affinity.h"
#include "tables/service.h"

static uint32_t *former_services(uint32_t now[SERVICE_IDS + 1])
{
	struct former f;

	if (former_open_pool(&f, "lb", sizeof(struct service_key) + 40))
		return NULL;
	for (uint32_t i = former_next(&f, 0); i; i = former_next(&f, i)) {
		const struct service_key *k = former_at(&f, i);
		if (!k)
			continue;
		const uint32_t *id = (const void *)(k + 1);
		if (*id && *id <= SERVICE_IDS)
			now[*id] = service_by_key(k);
	}
	former_close(&f);
	return now;
}

/* The backend that has the place of the former one of index 'b' of service 'id' as it is called now. */
static uint32_t backend_now(struct former *f, uint32_t b, uint32_t former_id, uint32_t id)
{
	const struct backend_key *k = former_is_live(f, b) ? former_at(f, b) : NULL;

	return k && k->service == former_id ? backend_find(id, &k->addr, k->port) : 0;
}

static void take(struct former *f, struct former *backends, const uint32_t *ids, uint32_t now_s)
{
	for (uint32_t i = former_next(f, 0); i; i = former_next(f, i)) {
		const struct affinity_key *k = former_at(f, i);
		if (!k)
			continue;
		const struct affinity *v = (const void *)(k + 1);
		if (k->service > SERVICE_IDS || k->zero || !ids[k->service] || v->used > now_s)
			continue;
		const uint32_t id = ids[k->service];
		const uint32_t b = backend_now(backends, v->backend, k->service, id);
		const struct affinity_key key = { .client = k->client, .service = id };
		if (b && now_s - v->used < service_at(id)->conf.affinity && !affinity_put(&key, b, v->used))
			adoption.clients++;
	}
}

void affinity_adopt(uint32_t now_s)
{
	struct former f, backends;
	uint32_t *ids;

	if (former_open_pool(&f, "affinity", sizeof(struct affinity_key) + sizeof(struct affinity)))
		return;
	ids = calloc(SERVICE_IDS + 1, sizeof(*ids));
	if (ids && former_services(ids) &&
	    !former_open_pool(&backends, "lb_backends", sizeof(struct backend_key) + sizeof(struct backend))) {
		take(&f, &backends, ids, now_s);
		former_close(&backends);
	}
	free(ids);
	former_close(&f);
}
