/* SPDX-License-Identifier: BSD-2-Clause */
/* One rtnetlink request at a time, with the kernel's own words on failure. Control thread. */
#pragma once

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include "fwd/base/err.h"
#include "fwd/base/util.h"

struct nl {
	struct mnl_socket *sock;
	uint32_t seq;
	char text[160]; /* what the kernel said of the last request (extended ack), "" if nothing */
};
union nl_buf {
	struct nlmsghdr h;
	char b[2048];
};

int nl_open(struct nl *n, struct err *e);
void nl_close(struct nl *n);
/* Starts a message in 'm'; returns the zeroed family header of 'size' bytes. */
void *nl_start(union nl_buf *m, uint16_t type, uint16_t flags, size_t size);
/* Sends and reads until the answer is complete; 'cb' (may be NULL) gets each data message. 0 or -errno, text in
 * n->text. */
int nl_call(struct nl *n, union nl_buf *m, mnl_cb_t cb, void *arg);
/* 0 when there is no such interface (or no such name can be). */
uint32_t nl_ifindex(const char *ifname);
/* " (kernel: TEXT)" or "", for the end of a sentence. */
const char *nl_why(const struct nl *n, char buf[static 200]);
