/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench/image.h"

#include <stdlib.h>

static uint32_t build(struct worker *w, uint8_t *b, const struct kit_case *c, uint32_t f, bool reply)
{
	memset(b, 0, IMAGE_MAX);
	return reply ? kit_build_reply(w, b, c, f) : kit_build(b, c, f);
}

static void make(struct images *m, struct worker *w, const struct kit_case *c, uint32_t flows, bool reply)
{
	uint8_t b[IMAGE_MAX], differs[IMAGE_MAX] = { 0 };
	m->port[reply] = kit_in_port(c, reply);
	m->len[reply] = build(w, m->base[reply], c, 0, reply);
	for (uint32_t f = 1; f < flows; f++) {
		if (build(w, b, c, f, reply) != m->len[reply])
			kit_die(c->name, "frames of different lengths");
		for (unsigned i = 0; i < m->len[reply]; i++)
			differs[i] |= b[i] ^ m->base[reply][i];
	}
	m->n_places[reply] = 0;
	for (unsigned i = 0; i < IMAGE_MAX; i++) {
		if (!differs[i])
			continue;
		if (m->n_places[reply] == IMAGE_DIFF)
			kit_die(c->name, "frames differ in more bytes than expected");
		m->place[reply][m->n_places[reply]++] = (uint8_t)i;
	}
	for (uint32_t f = 0; f < flows; f++) {
		build(w, b, c, f, reply);
		for (unsigned i = 0; i < m->n_places[reply]; i++)
			m->diff[2 * (size_t)f + reply][i] = b[m->place[reply][i]];
	}
}

void images_make(struct images *m, struct worker *w, const struct kit_case *c, uint32_t flows)
{
	m->diff = calloc(flows, 2 * sizeof(m->diff[0]));
	if (!m->diff)
		kit_die(c->name, "no memory for the frames");
	if (!c->reply)
		make(m, w, c, flows, false);
	if (c->reply || c->both)
		make(m, w, c, flows, true);
}

void images_free(struct images *m)
{
	free(m->diff);
}
