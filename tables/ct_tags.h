/* SPDX-License-Identifier: BSD-2-Clause */
/* Verification tags of SCTP associations (RFC 9260 8.5): what says that a packet is of the association, which only its two ends and
 * who is on the way can know. Each end chooses, in its INIT or INIT ACK, the tag that all packets toward it have from then on.
 * A packet with another one is discarded where it arrives, so it must neither open nor end the connection here.
 *
 * The tags lie beside the connections, in memory that is backed where there are associations. Workers call it; the two directions
 * may be on two workers, and each word is read and written whole. After a crash they are learnt anew. */
#pragma once

#include "tables/ct.h"

enum ct_tag_kind {
	CT_TAG_OTHER,
	CT_TAG_INIT,
	CT_TAG_INIT_ACK,
	CT_TAG_COOKIE_ECHO,
	CT_TAG_END, /* ABORT, SHUTDOWN and what follows it */
	CT_TAG_END_BY_PEER /* ABORT or SHUTDOWN COMPLETE with the T bit, of who knows nothing of the association: has the other tag */
};
/* What counts of an SCTP packet. */
struct ct_tagged {
	uint32_t tag;      /* of the common header */
	uint32_t initiate; /* of INIT and INIT ACK: the Initiate Tag */
	uint8_t kind;      /* ct_tag_kind */
};

/* Memory for one family, closed with it (ct.c). */
int ct_tags_open(struct ct *c, struct err *e);
/* The first packet of a connection that is not published yet. */
void ct_tags_begin(const struct ct *c, uint32_t conn, const struct ct_tagged *p);
/* Is it a packet of the association, as far as can be known? Unless 'dry', its tags are remembered. A direction whose tag is not known
 * (taken up in the middle, adopted, or replies go another way) takes that of its first packet. An INIT is always one: known tags
 * stand until a new handshake has come to its COOKIE ECHO, which nobody reaches who does not see the answers. */
bool ct_tags(const struct ct *c, uint32_t conn, bool reply, const struct ct_tagged *p, bool dry);
