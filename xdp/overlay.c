/* SPDX-License-Identifier: BSD-2-Clause */
/* Making and removing sluice_vxlan (contract in overlay.h). Control thread. */
#include "xdp/overlay.h"

#include <errno.h>
#include <linux/if_link.h>
#include <string.h>

#include "fwd/base/log.h"
#include "xdp/loader_priv.h"

/* Whole GSO frames pass through it: the packets that leave are cut to what the underlay takes. */
enum { OVERLAY_MTU = 65000 };

struct found {
	uint32_t ifindex;
	uint16_t port;
	bool vxlan, external;
};

static void look_data(const struct nlattr *data, struct found *f)
{
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, data)
	{
		if (mnl_attr_get_type(a) == IFLA_VXLAN_PORT)
			f->port = ntohs(mnl_attr_get_u16(a));
		if (mnl_attr_get_type(a) == IFLA_VXLAN_COLLECT_METADATA)
			f->external = mnl_attr_get_u8(a);
	}
}

static int look_cb(const struct nlmsghdr *h, void *arg)
{
	const struct ifinfomsg *i = mnl_nlmsg_get_payload(h);
	struct found *f = arg;
	const struct nlattr *a, *b;

	if (h->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	f->ifindex = (uint32_t)i->ifi_index;
	mnl_attr_for_each(a, h, sizeof(*i))
	{
		if (mnl_attr_get_type(a) != IFLA_LINKINFO)
			continue;
		mnl_attr_for_each_nested(b, a)
		{
			if (mnl_attr_get_type(b) == IFLA_INFO_KIND)
				f->vxlan = !strcmp(mnl_attr_get_str(b), "vxlan");
			if (mnl_attr_get_type(b) == IFLA_INFO_DATA)
				look_data(b, f);
		}
	}
	return MNL_CB_OK;
}

static bool look(struct loader *l, struct found *f)
{
	union nl_buf m;

	memset(f, 0, sizeof(*f));
	nl_start(&m, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(&m.h, IFLA_IFNAME, OVERLAY_DEVICE);
	return !nl_call(&l->nl, &m, look_cb, f) && f->ifindex;
}

static int create(struct loader *l, uint16_t port)
{
	struct nlattr *info, *data;
	union nl_buf m;

	nl_start(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(&m.h, IFLA_IFNAME, OVERLAY_DEVICE);
	mnl_attr_put_u32(&m.h, IFLA_MTU, OVERLAY_MTU);
	info = mnl_attr_nest_start(&m.h, IFLA_LINKINFO);
	mnl_attr_put_strz(&m.h, IFLA_INFO_KIND, "vxlan");
	data = mnl_attr_nest_start(&m.h, IFLA_INFO_DATA);
	mnl_attr_put_u8(&m.h, IFLA_VXLAN_COLLECT_METADATA, 1);
	mnl_attr_put_u8(&m.h, IFLA_VXLAN_LEARNING, 0);
	/* remote nodes may send without checksum over IPv6 (RFC 6935), as many do */
	mnl_attr_put_u8(&m.h, IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1);
	mnl_attr_put_u16(&m.h, IFLA_VXLAN_PORT, htons(port));
	mnl_attr_nest_end(&m.h, data);
	mnl_attr_nest_end(&m.h, info);
	return nl_call(&l->nl, &m, NULL, NULL);
}

static int delete (struct loader *l, uint32_t ifindex)
{
	struct ifinfomsg *i;
	union nl_buf m;

	i = nl_start(&m, RTM_DELLINK, 0, sizeof(*i));
	i->ifi_index = (int)ifindex;
	return nl_call(&l->nl, &m, NULL, NULL);
}

static int set_up(struct loader *l, uint32_t ifindex)
{
	struct ifinfomsg *i;
	union nl_buf m;

	i = nl_start(&m, RTM_SETLINK, 0, sizeof(*i));
	i->ifi_index = (int)ifindex;
	i->ifi_flags = i->ifi_change = IFF_UP;
	return nl_call(&l->nl, &m, NULL, NULL);
}

static int foreign(struct err *e)
{
	return err_set(e, -EEXIST,
		       OVERLAY_DEVICE
		       " is not a VXLAN device in external mode: remove it with 'ip link del " OVERLAY_DEVICE "'");
}

static int make(struct loader *l, uint16_t port, struct found *f, struct err *e)
{
	char why[200];
	int rc = create(l, port);

	if (rc)
		return err_set(e, rc, "cannot create " OVERLAY_DEVICE " for UDP port %u: %s%s", port, strerror(-rc),
			       nl_why(&l->nl, why));
	if (!look(l, f))
		return err_set(e, -ENODEV, OVERLAY_DEVICE " is gone again");
	return 0;
}

int overlay_create(struct loader *l, uint16_t port, struct overlay_info *info, struct err *e)
{
	struct found f;
	char why[200];
	int rc = 0;

	*info = (struct overlay_info){ .adopted = look(l, &f) };
	if (info->adopted && (!f.vxlan || !f.external))
		return foreign(e);
	if (info->adopted && f.port != port) {
		log_info(OVERLAY_DEVICE ": UDP port %u instead of %u: made anew", port, f.port);
		overlay_destroy(l, e);
		info->adopted = false;
	}
	if (!info->adopted && (rc = make(l, port, &f, e)))
		return rc;
	rc = loader_attach_tc(l, PROG_FROM_OVERLAY, OVERLAY_DEVICE, e);
	if (!rc)
		rc = loader_attach_tc(l, PROG_TO_OVERLAY, OVERLAY_DEVICE, e);
	if (!rc && (rc = set_up(l, f.ifindex))) /* here the port is bound */
		err_set(e, rc, OVERLAY_DEVICE ": UDP port %u: %s%s", port,
			rc == -EADDRINUSE ? "another VXLAN device or program has it" : strerror(-rc),
			nl_why(&l->nl, why));
	if (rc) {
		struct err ignored;
		overlay_destroy(l, &ignored);
		return rc;
	}
	info->ifindex = f.ifindex;
	return 0;
}

int overlay_destroy(struct loader *l, struct err *e)
{
	struct found f;
	char why[200];
	int rc;

	if (!look(l, &f) || !f.vxlan || !f.external)
		return 0;
	loader_detach(l, PROG_FROM_OVERLAY, f.ifindex, e);
	loader_detach(l, PROG_TO_OVERLAY, f.ifindex, e);
	rc = delete (l, f.ifindex);
	return rc ? err_set(e, rc, "cannot remove " OVERLAY_DEVICE ": %s%s", strerror(-rc), nl_why(&l->nl, why)) : 0;
}
