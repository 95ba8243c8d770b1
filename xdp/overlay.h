/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel's end of the overlay for replayed flows: one VXLAN device, sluice_vxlan, in external (collect_md) mode. Tunnel
 * keys are set and read by the programs on it ([from-overlay], [to-overlay]); it has no address, no route and no neighbours.
 * Control thread.
 *
 * It opens its UDP port in the kernel, so its filters are in place before it comes up, and [from-overlay] drops what no record
 * replays. */
#pragma once

#include "xdp/loader.h"

#define OVERLAY_DEVICE "sluice_vxlan"

struct overlay_info {
	uint32_t ifindex;
	bool adopted; /* it was there already */
};

/* Makes the device for UDP port 'port', or adopts one of that shape; one of ours with another port is replaced. Ends up, with
 * both programs. -EADDRINUSE: another VXLAN device has the port; -EEXIST: a foreign device has the name. On failure nothing
 * is left. */
int overlay_create(struct loader *l, uint16_t port, struct overlay_info *info, struct err *e);
/* Removes it; succeeds when there is none, never touches a foreign one of that name. */
int overlay_destroy(struct loader *l, struct err *e);
