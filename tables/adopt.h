/* SPDX-License-Identifier: BSD-2-Clause */
/* Adoption: after a crash, the connections, translations and datagrams of the former process come back. Control thread, once, after the
 * configuration stands (pools, endpoints, remote nodes) and before workers start.
 *
 * A former entry is a claim. One that is well formed and still fits the configuration is made anew by the functions that
 * workers use; its records start undecided, so each flow's next packet goes through policy again. What names something by a
 * number that does not outlive a process (pools, remote nodes, mappings) is translated by address. Policy rule ids and
 * adjacencies are not taken over. */
#pragma once

#include "tables/former.h"

/* Why an entry was not taken over. */
enum adopt_drop {
	ADOPT_OK,
	ADOPT_EXPIRED,
	ADOPT_DAMAGED,   /* no entry of ours can look like that */
	ADOPT_FUTURE,    /* stamped later than now */
	ADOPT_SENDER,    /* its endpoint or remote node is no longer configured */
	ADOPT_POOL,      /* its NAT pool, or that port of it, is no longer configured; or the mapping was lost */
	ADOPT_SERVICE,   /* its service or backend is no longer configured */
	ADOPT_DUPLICATE, /* another one has its key */
	ADOPT_ROOM,      /* the table is smaller now */
	ADOPT_DROPS
};

struct adoption {
	bool tried; /* a former process had ended without a clean stop */
	uint32_t connections, mappings;
	uint32_t expired;            /* connections that had run out meanwhile */
	uint32_t dropped;            /* other connections that were not taken over */
	uint32_t dropped_mappings;   /* the same; also those whose connections all went */
	uint32_t drops[ADOPT_DROPS]; /* connections by reason */
	uint32_t datagrams;          /* fragmented ones that were on their way */
	uint32_t clients;            /* that stick to a backend */
	uint32_t microseconds;
};
extern struct adoption adoption;

/* Takes over what is of use and removes the former files. Never fails: what cannot be read is left, adopt_reason() says why.
 * 'n_owners': workers that share the datagrams (frag_owner). */
void adopt_state(uint32_t now_s, unsigned n_owners);
/* One line for log and 'show version': why less came back than there was, "" if nothing was lost. */
const char *adopt_reason(void);

/* ---- between the files of adoption ---- */
/* Mappings first: each is held by adoption itself until nat_adopt_end(), so that connections find it. */
void nat_adopt_begin(uint32_t now_s);
/* The mapping that took the place of 'former', 0 when it was not taken over. No reference is taken. */
uint32_t nat_adopted(uint32_t former);
/* Mappings that no connection refers to go. */
void nat_adopt_end(void);
void ct_adopt(bool v6, uint32_t now_s);
/* Before connections. */
void affinity_adopt(uint32_t now_s);
void frag_adopt(unsigned n_owners, uint32_t now_s);
/* A FLOW_IN_* of the former process, whose remote nodes are 'remotes', as it is called now. */
enum adopt_drop adopt_in(struct former *remotes, uint32_t former, uint32_t *in);
