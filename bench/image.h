/* SPDX-License-Identifier: BSD-2-Clause */
/* The frames of many flows, kept small: the first one of each direction whole, of the others the few bytes in which they
 * differ. Writing a frame then neither computes much nor reads much memory, so that the measurement after it finds caches
 * and branch predictors as traffic from a device would leave them. */
#pragma once

#include "bench/kit.h"

enum { IMAGE_MAX = 160, IMAGE_DIFF = 24 };
struct images {
	uint8_t base[2][IMAGE_MAX]; /* [reply] */
	uint32_t len[2];
	uint16_t port[2];
	uint8_t place[2][IMAGE_DIFF], n_places[2];
	uint8_t (*diff)[IMAGE_DIFF]; /* [2 * flow + reply] */
};

/* Frames of flows 0..n-1, the replies too where the case has some: those read the flows' records. */
void images_make(struct images *m, struct worker *w, const struct kit_case *c, uint32_t flows);
void images_free(struct images *m);
INLINE uint32_t image_put(const struct images *m, uint32_t f, bool reply, uint8_t *b)
{
	const uint8_t *d = m->diff[2 * (size_t)f + reply];
	memcpy(b, m->base[reply], m->len[reply]);
	for (unsigned i = 0; i < m->n_places[reply]; i++)
		b[m->place[reply][i]] = d[i];
	return m->len[reply];
}
