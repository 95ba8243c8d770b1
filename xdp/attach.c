/* SPDX-License-Identifier: BSD-2-Clause */
/* Programs on devices (contract in loader.h). Control thread.
 *
 * XDP by RTM_NEWLINK with the id we saw as the expected program, so nobody is replaced by accident between look and
 * leap. tc by RTM_NEWTFILTER with our own TCA_BPF_NAME, which is also how a filter of ours is recognised after a crash;
 * the same handle with NLM_F_REPLACE swaps the program in place (list_replace_rcu in cls_bpf). */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fwd/base/log.h"
#include "xdp/loader_priv.h"

#define TC_PREF 1
#define TC_HANDLE 1

/* ---- XDP ---- */

/* Name of program 'id', "" when it is gone. */
static const char *prog_name(uint32_t id, char buf[static BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(id);

	buf[0] = 0;
	if (fd < 0)
		return buf;
	if (!bpf_obj_get_info_by_fd(fd, &info, &size))
		snprintf(buf, BPF_OBJ_NAME_LEN, "%s", info.name);
	close(fd);
	return buf;
}

/* 'old_id' is what must be there now (0 = nothing). 'fd' -1 detaches. */
static int xdp_change(struct loader *l, uint32_t ifindex, int fd, uint32_t old_id, enum loader_mode mode)
{
	uint32_t flags = mode == LOADER_GENERIC ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
	int old = old_id ? bpf_prog_get_fd_by_id(old_id) : -1, rc;
	struct ifinfomsg *i;
	struct nlattr *nest;
	union nl_buf m;

	i = nl_start(&m, RTM_SETLINK, 0, sizeof(*i));
	i->ifi_index = (int)ifindex;
	nest = mnl_attr_nest_start(&m.h, IFLA_XDP);
	mnl_attr_put_u32(&m.h, IFLA_XDP_FD, (uint32_t)fd);
	if (old >= 0) {
		flags |= XDP_FLAGS_REPLACE;
		mnl_attr_put_u32(&m.h, IFLA_XDP_EXPECTED_FD, (uint32_t)old);
	} else {
		flags |= XDP_FLAGS_UPDATE_IF_NOEXIST;
	}
	mnl_attr_put_u32(&m.h, IFLA_XDP_FLAGS, flags);
	mnl_attr_nest_end(&m.h, nest);
	rc = nl_call(&l->nl, &m, NULL, NULL);
	if (old >= 0)
		close(old);
	return rc;
}

struct xdp_now {
	uint32_t id; /* 0: none */
	enum loader_mode mode;
	bool ours; /* of kind 'prog' */
	char name[BPF_OBJ_NAME_LEN];
};

static int xdp_look(uint32_t ifindex, enum loader_prog prog, struct xdp_now *now)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, q);
	int rc = bpf_xdp_query((int)ifindex, 0, &q);

	memset(now, 0, sizeof(*now));
	if (rc)
		return rc;
	now->mode = q.drv_prog_id ? LOADER_NATIVE : LOADER_GENERIC;
	now->id = q.drv_prog_id ? q.drv_prog_id : q.skb_prog_id ? q.skb_prog_id : q.hw_prog_id;
	if (now->id)
		now->ours = !strcmp(prog_name(now->id, now->name), loader_progs[prog].function);
	return 0;
}

static int xdp_refused(struct loader *l, const char *dev, int rc, struct err *e)
{
	char why[200];

	nl_why(&l->nl, why);
	switch (-rc) {
	case EOPNOTSUPP:
		return err_set(e, rc, "%s: its driver has no XDP of that mode%s: use 'mode generic'", dev, why);
	case ENOSPC:
		return err_set(e, rc,
			       "%s: the other end has more transmit queues than %s has receive queues%s: create both "
			       "ends with equal numtxqueues and numrxqueues",
			       dev, dev, why);
	case ERANGE:
	case EINVAL:
		return err_set(e, rc,
			       "%s: the kernel refuses native XDP%s: set the MTU of both ends to 1500, or use "
			       "'mode generic'",
			       dev, why);
	case EPERM:
		return err_set(e, rc, "%s: attaching XDP needs CAP_NET_ADMIN and CAP_BPF%s: run as root", dev, why);
	case EBUSY:
	case EEXIST:
		return err_set(e, rc, "%s: another XDP program is in the way%s: 'ip link set dev %s xdp off'", dev, why,
			       dev);
	default:
		return err_set(e, rc, "%s: cannot attach XDP: %s%s", dev, strerror(-rc), why);
	}
}

static int xdp_foreign(const char *dev, const struct xdp_now *now, struct err *e)
{
	return err_set(e, -EBUSY,
		       "%s has a foreign XDP program '%s' (id %u): remove it with 'ip link set dev %s %s off' or stop "
		       "the process that owns it",
		       dev, now->name, now->id, dev, now->mode == LOADER_NATIVE ? "xdp" : "xdpgeneric");
}

static int remember(struct loader *l, const struct attachment *a, struct err *e)
{
	struct attachment *more;

	for (size_t i = 0; i < l->n_at; i++)
		if (l->at[i].ifindex == a->ifindex && l->at[i].prog == a->prog) {
			l->at[i] = *a;
			return 0;
		}
	more = realloc(l->at, (l->n_at + 1) * sizeof(*more));
	if (!more)
		return err_set(e, -ENOMEM, "no memory for another attachment");
	l->at = more;
	l->at[l->n_at++] = *a;
	return 0;
}

static void forget(struct loader *l, enum loader_prog prog, uint32_t ifindex)
{
	for (size_t i = 0; i < l->n_at; i++)
		if (l->at[i].ifindex == ifindex && l->at[i].prog == prog)
			l->at[i--] = l->at[--l->n_at];
}

static int no_device(const char *ifname, struct err *e)
{
	return err_set(e, -ENODEV,
		       "no network device '%s' here: create it first, or correct the name ('ip link' lists them)",
		       ifname);
}

int loader_attach_xdp(struct loader *l, enum loader_prog prog, const char *ifname, enum loader_mode mode,
		      enum loader_mode *got, struct err *e)
{
	struct attachment a = { .ifindex = nl_ifindex(ifname), .prog = prog };
	struct xdp_now now;
	uint32_t old;
	int rc;

	if (!a.ifindex)
		return no_device(ifname, e);
	snprintf(a.ifname, sizeof(a.ifname), "%s", ifname);
	rc = xdp_look(a.ifindex, prog, &now);
	if (rc)
		return err_set(e, rc, "%s: cannot ask for its XDP program: %s", ifname, strerror(-rc));
	if (now.id && !now.ours)
		return xdp_foreign(ifname, &now, e);
	/* The kernel runs one mode at a time per device. */
	if (now.id && mode != LOADER_AUTO && mode != now.mode) {
		log_info("%s: changing the XDP mode leaves a short gap", ifname);
		rc = xdp_change(l, a.ifindex, -1, now.id, now.mode);
		if (rc)
			return xdp_refused(l, ifname, rc, e);
		now.id = 0;
	}
	old = now.id;
	a.mode = mode != LOADER_AUTO ? mode : old ? now.mode : LOADER_NATIVE;
	rc = xdp_change(l, a.ifindex, l->prog_fd[prog], old, a.mode);
	if (rc == -EOPNOTSUPP && mode == LOADER_AUTO && !old) {
		log_info("%s: the driver has no native XDP, using generic", ifname);
		a.mode = LOADER_GENERIC;
		rc = xdp_change(l, a.ifindex, l->prog_fd[prog], 0, a.mode);
	}
	if (rc)
		return xdp_refused(l, ifname, rc, e);
	if (got)
		*got = a.mode;
	return remember(l, &a, e);
}

/* ---- tc ---- */

struct tc_found {
	const char *name; /* ours */
	uint32_t n;       /* filters at this parent */
	bool ours;        /* ours at our place */
	uint32_t prog_id;
	char foreign[64]; /* kind and name of one at our preference that is not ours */
};

static int tc_look_cb(const struct nlmsghdr *h, void *arg)
{
	const struct tcmsg *t = mnl_nlmsg_get_payload(h);
	const char *kind = "?", *name = "";
	struct tc_found *f = arg;
	const struct nlattr *a, *b;
	uint32_t id = 0;

	if (h->nlmsg_type != RTM_NEWTFILTER)
		return MNL_CB_OK;
	mnl_attr_for_each(a, h, sizeof(*t))
	{
		if (mnl_attr_get_type(a) == TCA_KIND)
			kind = mnl_attr_get_str(a);
		if (mnl_attr_get_type(a) != TCA_OPTIONS || strcmp(kind, "bpf"))
			continue;
		mnl_attr_for_each_nested(b, a)
		{
			if (mnl_attr_get_type(b) == TCA_BPF_NAME)
				name = mnl_attr_get_str(b);
			if (mnl_attr_get_type(b) == TCA_BPF_ID)
				id = mnl_attr_get_u32(b);
		}
	}
	/* Each preference in use also shows up once by itself, with handle 0. */
	if (!t->tcm_handle)
		return MNL_CB_OK;
	f->n++;
	if (TC_H_MAJ(t->tcm_info) >> 16 != TC_PREF)
		return MNL_CB_OK;
	if (t->tcm_handle == TC_HANDLE && !strcmp(kind, "bpf") && !strcmp(name, f->name)) {
		f->ours = true;
		f->prog_id = id;
	} else {
		snprintf(f->foreign, sizeof(f->foreign), "%s %s", kind, name);
	}
	return MNL_CB_OK;
}

static uint32_t tc_parent(uint32_t direction)
{
	return TC_H_MAKE(TC_H_CLSACT, direction);
}

static int tc_look(struct loader *l, uint32_t ifindex, uint32_t direction, struct tc_found *f)
{
	struct tcmsg *t;
	union nl_buf m;

	t = nl_start(&m, RTM_GETTFILTER, NLM_F_DUMP, sizeof(*t));
	t->tcm_ifindex = (int)ifindex;
	t->tcm_parent = tc_parent(direction);
	return nl_call(&l->nl, &m, tc_look_cb, f);
}

/* RTM_NEWQDISC, RTM_DELQDISC, or RTM_GETQDISC: 0 if there, -EINVAL if its place is taken by an 'ingress' qdisc. */
static int clsact(struct loader *l, uint32_t ifindex, uint16_t what)
{
	struct tcmsg *t;
	union nl_buf m;

	t = nl_start(&m, what, what == RTM_NEWQDISC ? NLM_F_CREATE | NLM_F_EXCL : 0, sizeof(*t));
	t->tcm_ifindex = (int)ifindex;
	t->tcm_parent = TC_H_CLSACT;
	t->tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
	mnl_attr_put_strz(&m.h, TCA_KIND, "clsact");
	return nl_call(&l->nl, &m, NULL, NULL);
}

static int tc_change(struct loader *l, uint32_t ifindex, enum loader_prog prog, bool add)
{
	const struct loader_prog_info *p = &loader_progs[prog];
	struct nlattr *nest;
	struct tcmsg *t;
	union nl_buf m;

	t = nl_start(&m, add ? RTM_NEWTFILTER : RTM_DELTFILTER, add ? NLM_F_CREATE | NLM_F_REPLACE : 0, sizeof(*t));
	t->tcm_ifindex = (int)ifindex;
	t->tcm_parent = tc_parent(p->parent);
	t->tcm_handle = TC_HANDLE;
	t->tcm_info = TC_H_MAKE(TC_PREF << 16, htons(ETH_P_ALL));
	mnl_attr_put_strz(&m.h, TCA_KIND, "bpf");
	if (add) {
		nest = mnl_attr_nest_start(&m.h, TCA_OPTIONS);
		mnl_attr_put_u32(&m.h, TCA_BPF_FD, (uint32_t)l->prog_fd[prog]);
		mnl_attr_put_strz(&m.h, TCA_BPF_NAME, p->filter);
		mnl_attr_put_u32(&m.h, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
		mnl_attr_nest_end(&m.h, nest);
	}
	return nl_call(&l->nl, &m, NULL, NULL);
}

int loader_attach_tc(struct loader *l, enum loader_prog prog, const char *ifname, struct err *e)
{
	const struct loader_prog_info *p = &loader_progs[prog];
	struct attachment a = { .ifindex = nl_ifindex(ifname), .prog = prog };
	const char *side = p->parent == TC_H_MIN_INGRESS ? "ingress" : "egress";
	struct tc_found f = { .name = p->filter };
	char why[200];
	int rc;

	if (!a.ifindex)
		return no_device(ifname, e);
	snprintf(a.ifname, sizeof(a.ifname), "%s", ifname);
	rc = clsact(l, a.ifindex, RTM_NEWQDISC);
	if (rc && rc != -EEXIST)
		return err_set(e, rc, "%s: cannot add the clsact qdisc: %s%s", ifname, strerror(-rc),
			       nl_why(&l->nl, why));
	/* An 'ingress' qdisc has one list of filters and puts those meant for egress into it without a word. */
	if (rc == -EEXIST && p->parent == TC_H_MIN_EGRESS && clsact(l, a.ifindex, RTM_GETQDISC))
		return err_set(e, -EBUSY,
			       "%s has an 'ingress' qdisc where clsact is needed: 'tc qdisc del dev %s ingress'",
			       ifname, ifname);
	rc = tc_look(l, a.ifindex, p->parent, &f);
	if (rc)
		return err_set(e, rc, "%s: cannot list its tc filters: %s%s", ifname, strerror(-rc),
			       nl_why(&l->nl, why));
	/* A filter of the same preference may run before ours and let frames past it. */
	if (f.foreign[0])
		return err_set(e, -EBUSY,
			       "%s has a foreign tc filter (%s) at preference %d: remove it with 'tc filter del dev "
			       "%s %s pref %d'",
			       ifname, f.foreign, TC_PREF, ifname, side, TC_PREF);
	rc = tc_change(l, a.ifindex, prog, true);
	if (rc)
		return err_set(e, rc, "%s: cannot attach the tc filter %s: %s%s", ifname, p->filter, strerror(-rc),
			       nl_why(&l->nl, why));
	return remember(l, &a, e);
}

/* ---- both ---- */

static int tc_remove(struct loader *l, enum loader_prog prog, uint32_t ifindex)
{
	struct tc_found f = { .name = loader_progs[prog].filter }, in = { .name = "" }, out = { .name = "" };
	int rc = tc_look(l, ifindex, loader_progs[prog].parent, &f);

	if (rc || !f.ours)
		return rc;
	rc = tc_change(l, ifindex, prog, false);
	if (rc)
		return rc;
	/* An empty clsact does nothing; leave the device as we found it. */
	if (!tc_look(l, ifindex, TC_H_MIN_INGRESS, &in) && !tc_look(l, ifindex, TC_H_MIN_EGRESS, &out) && !in.n &&
	    !out.n)
		clsact(l, ifindex, RTM_DELQDISC);
	return 0;
}

int attach_remove(struct loader *l, enum loader_prog prog, uint32_t ifindex, struct err *e)
{
	struct xdp_now now;
	char why[200];
	int rc;

	l->nl.text[0] = 0;
	if (loader_progs[prog].filter) {
		rc = tc_remove(l, prog, ifindex);
	} else {
		rc = xdp_look(ifindex, prog, &now);
		if (!rc && now.ours)
			rc = xdp_change(l, ifindex, -1, now.id, now.mode);
	}
	if (rc && rc != -ENODEV && rc != -ENOENT)
		return err_set(e, rc, "interface %u: cannot detach %s: %s%s", ifindex, loader_progs[prog].function,
			       strerror(-rc), nl_why(&l->nl, why));
	return 0;
}

bool attach_is_ours(struct loader *l, enum loader_prog prog, uint32_t ifindex)
{
	struct tc_found f = { .name = loader_progs[prog].filter };
	struct xdp_now now;

	if (!ifindex)
		return false;
	if (f.name)
		return !tc_look(l, ifindex, loader_progs[prog].parent, &f) && f.ours;
	return !xdp_look(ifindex, prog, &now) && now.ours;
}

int loader_detach(struct loader *l, enum loader_prog prog, uint32_t ifindex, struct err *e)
{
	forget(l, prog, ifindex);
	return attach_remove(l, prog, ifindex, e);
}

void attach_remove_all(struct loader *l)
{
	struct err e;

	for (size_t i = 0; i < l->n_at; i++)
		if (attach_remove(l, l->at[i].prog, l->at[i].ifindex, &e))
			log_warn("%s", e.text);
	l->n_at = 0;
}

static bool in_place(struct loader *l, const struct attachment *a)
{
	struct tc_found f = { .name = loader_progs[a->prog].filter };
	struct xdp_now now;

	if (f.name)
		return !tc_look(l, a->ifindex, loader_progs[a->prog].parent, &f) && f.ours &&
		       f.prog_id == l->prog_id[a->prog];
	return !xdp_look(a->ifindex, a->prog, &now) && now.id == l->prog_id[a->prog];
}

int loader_check(struct loader *l, struct err *e)
{
	char name[IFNAMSIZ];
	int n = 0, rc;

	for (size_t i = 0; i < l->n_at; i++) {
		struct attachment a = l->at[i];

		if (!if_indextoname(a.ifindex, name)) {
			l->at[i--] = l->at[--l->n_at];
			continue;
		}
		if (in_place(l, &a))
			continue;
		rc = loader_progs[a.prog].filter ? loader_attach_tc(l, a.prog, name, e)
						 : loader_attach_xdp(l, a.prog, name, a.mode, NULL, e);
		if (rc)
			return rc;
		err_set(e, 0, "%s: somebody took %s off; it is back", name, loader_progs[a.prog].function);
		n++;
	}
	return n;
}
