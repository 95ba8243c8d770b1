/* SPDX-License-Identifier: BSD-2-Clause */
/* Keeps the box's routing rules for proxies equal to what policy redirects (fwd/netlink_proxy.c). Control thread. */
#pragma once

#include "fwd/base/err.h"

void proxy_sync_dirty(void); /* a rule or an endpoint changed */
/* From the control loop; does nothing unless dirty. 0 or -errno with the cause; then tried again after the next change. */
int proxy_sync(struct err *e);
void proxy_sync_stop(void); /* clean stop: nothing of ours stays */
