/* SPDX-License-Identifier: BSD-2-Clause */
/* A frame while its text is read: between pkttext.c (words and layers) and pkttext_fill.c (lengths, checksums). */
#pragma once

#include "cli/pkttext.h"
#include "fwd/base/net.h"

enum kind { K_NONE, K_ETH, K_VLAN, K_IP4, K_IP6, K_EXT, K_TCP, K_UDP, K_SCTP, K_ICMP, K_VXLAN, K_ARP, K_DATA };
enum { LAYERS_MAX = 32, WORDS_MAX = 32 };

struct layer {
	enum kind kind;
	uint8_t proto;                 /* of K_EXT, and of K_IP4, K_IP6 when quoted in IP */
	uint32_t at;                   /* in the frame */
	unsigned scope;                /* how many eth layers stand in front */
	bool type, len, csum, partial; /* given */
};

struct build {
	uint8_t *f;
	uint32_t n, pad, trunc;
	unsigned scope, n_layers;
	struct layer l[LAYERS_MAX];
	struct err *e;
	int rc;
	/* words of the layer being read */
	char *w[WORDS_MAX];
	unsigned n_words;
	uint32_t used;
	uint8_t trash[PKTTEXT_FRAME_MAX]; /* where an overlong frame goes */
};

/* After all layers are there, the innermost first. 'next' is what 'l' carries, NULL for nothing. */
void pkttext_fill(struct build *b, struct layer *l, const struct layer *next);
