/* SPDX-License-Identifier: BSD-2-Clause */
#include "xdp/link.h"

#include <errno.h>
#include <linux/veth.h>
#include <string.h>

static int link_cb(const struct nlmsghdr *h, void *arg)
{
	const struct ifinfomsg *i = mnl_nlmsg_get_payload(h);
	struct link *k = arg;
	const struct nlattr *a, *b;

	if (h->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	k->ifindex = (uint32_t)i->ifi_index;
	mnl_attr_for_each(a, h, sizeof(*i))
	{
		switch (mnl_attr_get_type(a)) {
		case IFLA_LINK:
			k->peer = mnl_attr_get_u32(a);
			break;
		case IFLA_NUM_TX_QUEUES:
			k->n_tx = mnl_attr_get_u32(a);
			break;
		case IFLA_NUM_RX_QUEUES:
			k->n_rx = mnl_attr_get_u32(a);
			break;
		case IFLA_ADDRESS:
			if (mnl_attr_get_payload_len(a) == 6)
				memcpy(k->mac.b, mnl_attr_get_payload(a), 6);
			break;
		case IFLA_LINKINFO:
			mnl_attr_for_each_nested(b, a) if (mnl_attr_get_type(b) == IFLA_INFO_KIND) k->veth =
				!strcmp(mnl_attr_get_str(b), "veth");
			break;
		}
	}
	return MNL_CB_OK;
}

bool link_get(struct nl *nl, const char *name, struct link *k)
{
	struct ifinfomsg *i;
	union nl_buf m;

	memset(k, 0, sizeof(*k));
	i = nl_start(&m, RTM_GETLINK, 0, sizeof(*i));
	i->ifi_index = 0;
	mnl_attr_put_strz(&m.h, IFLA_IFNAME, name);
	return !nl_call(nl, &m, link_cb, k) && k->ifindex;
}

int link_delete(struct nl *nl, uint32_t ifindex)
{
	struct ifinfomsg *i;
	union nl_buf m;

	i = nl_start(&m, RTM_DELLINK, 0, sizeof(*i));
	i->ifi_index = (int)ifindex;
	return nl_call(nl, &m, NULL, NULL);
}

int link_set(struct nl *nl, uint32_t ifindex, uint32_t flags, uint32_t mask, uint32_t mtu)
{
	struct ifinfomsg *i;
	union nl_buf m;

	i = nl_start(&m, RTM_SETLINK, 0, sizeof(*i));
	i->ifi_index = (int)ifindex;
	i->ifi_flags = flags;
	i->ifi_change = mask;
	if (mtu)
		mnl_attr_put_u32(&m.h, IFLA_MTU, mtu);
	return nl_call(nl, &m, NULL, NULL);
}

static void put_end(union nl_buf *m, const struct link_end *d, uint32_t n_queues, uint32_t mtu)
{
	mnl_attr_put_strz(&m->h, IFLA_IFNAME, d->name);
	mnl_attr_put(&m->h, IFLA_ADDRESS, 6, d->mac);
	mnl_attr_put_u32(&m->h, IFLA_NUM_TX_QUEUES, n_queues);
	mnl_attr_put_u32(&m->h, IFLA_NUM_RX_QUEUES, n_queues);
	mnl_attr_put_u32(&m->h, IFLA_MTU, mtu);
	if (d->netns >= 0)
		mnl_attr_put_u32(&m->h, IFLA_NET_NS_FD, (uint32_t)d->netns);
}

int link_veth(struct nl *nl, const struct link_end *a, const struct link_end *b, uint32_t n_queues, uint32_t mtu)
{
	struct nlattr *info, *data, *peer;
	struct ifinfomsg *i;
	union nl_buf m;

	nl_start(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(*i));
	put_end(&m, a, n_queues, mtu);
	info = mnl_attr_nest_start(&m.h, IFLA_LINKINFO);
	mnl_attr_put_strz(&m.h, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(&m.h, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(&m.h, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(&m.h, sizeof(*i));
	put_end(&m, b, n_queues, mtu);
	mnl_attr_nest_end(&m.h, peer);
	mnl_attr_nest_end(&m.h, data);
	mnl_attr_nest_end(&m.h, info);
	return nl_call(nl, &m, NULL, NULL);
}
