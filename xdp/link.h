/* SPDX-License-Identifier: BSD-2-Clause */
/* Network devices over rtnetlink: look, make a veth pair, set up, delete. 0 or -errno, the kernel's words in nl->text. */
#pragma once

#include "fwd/base/net.h"
#include "xdp/nl.h"

struct link {
	uint32_t ifindex, peer, n_tx, n_rx;
	bool veth;
	struct mac mac;
};
/* One end of a pair to be made; netns: file descriptor of the namespace it goes to, -1 = here. */
struct link_end {
	const char *name;
	const uint8_t *mac;
	int netns;
};

bool link_get(struct nl *nl, const char *name, struct link *k); /* false: no such link */
int link_veth(struct nl *nl, const struct link_end *a, const struct link_end *b, uint32_t n_queues, uint32_t mtu);
int link_delete(struct nl *nl, uint32_t ifindex);
/* Flags in 'mask' become those of 'flags'; mtu 0: as it is. */
int link_set(struct nl *nl, uint32_t ifindex, uint32_t flags, uint32_t mask, uint32_t mtu);
