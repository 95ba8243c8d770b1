/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: what would happen to a packet, and why. The decision path itself runs, dry, on the control thread, for a frame that
 * stands in the pool as a received one does. Control thread. */
#include "cli/commands.h"

#include <errno.h>
#include <stdlib.h>

#include "cli/pkttext.h"
#include "fwd/base/clock.h"
#include "fwd/base/out.h"
#include "fwd/decide.h"
#include "fwd/gate.h"

/* The steps as they come; text is printed at once, JSON collects. */
struct printer {
	struct explain x;
	struct out *json;
	FILE *text;
};

static void print_line(struct explain *x, const char *step, const char *text)
{
	struct printer *p = container_of(x, struct printer, x);

	if (!p->json) {
		fprintf(p->text, "%-11s %s\n", step, text);
		return;
	}
	out_row(p->json);
	out_str(p->json, "step", step);
	out_str(p->json, "text", text);
}

/* Where the packet comes in. Gate frames get what the gate's kernel end writes (tables/abi/gate.h). */
static int set_source(const struct parse *a, struct pkt *p, struct err *e)
{
	const struct arg *id = parse_arg(a, "endpoint"), *name = parse_arg(a, "port");
	struct mac stamp = gate_stamp(GATE_HOST, 0);

	p->port = PORT_GATE;
	if (name) {
		const struct port *port = port_by_name(name->text);
		if (!port || port->index < PORT_FIRST)
			return err_set(e, -ENOENT, "port %s does not exist: 'show ports' lists them", name->text);
		p->port = port->index;
		memcpy(p->data, port->mac.b, 6);
		return 0;
	}
	if (id) {
		const struct endpoint *ep = endpoint_by_id((uint32_t)id->n);
		if (!ep)
			return err_set(e, -ENOENT, "endpoint %s does not exist: 'show endpoints' lists them", id->text);
		stamp = gate_stamp(p->data[0] & 1 ? GATE_ENDPOINT_BCAST : GATE_ENDPOINT, ep->id);
		memcpy(p->data, ep->mac.b, 6);
	}
	memcpy(p->data + 6, stamp.b, 6);
	return 0;
}

static int explain(const struct parse *a, struct printer *to, struct frame_cache *frames, struct err *e)
{
	static struct worker scratch; /* steps ask it for the time and a thread slot */
	uint8_t built[PKTTEXT_FRAME_MAX];
	int n = pkttext_parse(parse_arg(a, "packet")->text, built, e), r;

	if (n < 0)
		return n;
	if (n < ETH_HLEN_ || n > BIG_ROOM)
		return err_set(e, -EMSGSIZE, "a packet of %d bytes: give one of %d to %d", n, ETH_HLEN_, BIG_ROOM);
	struct pkt p = { .data = frame_get_for(frames, (uint32_t)n), .len = (uint32_t)n };
	if (!p.data)
		return err_set(e, -ENOMEM, "no free frame: the box has no port yet, or all frames are in use");
	memcpy(p.data, built, (size_t)n);
	r = set_source(a, &p, e);
	if (!r) {
		scratch.slot = SLOT_CONTROL;
		scratch.now_ns = clock_ns();
		scratch.now_s = (uint32_t)(scratch.now_ns / NS_PER_S);
		decide_explain(&scratch, &p, &to->x);
	}
	frame_put(frames, p.data);
	return r;
}

static int run_explain(struct call *c, struct err *e)
{
	struct printer to = { .x = { print_line }, .text = c->out, .json = c->json ? out_new(true, NULL, 0, 0) : NULL };
	static struct frame_cache frames; /* empty between calls */
	char *text = NULL;
	int r = !c->json || to.json ? 0 : err_set(e, -ENOMEM, "out of memory");

	if (!r)
		r = explain(c->p, &to, &frames, e);
	frame_cache_flush(&frames);
	if (!r && to.json)
		r = out_end(to.json, &text, e);
	if (!r && text)
		fprintf(c->out, "%s", text);
	free(text);
	if (to.json)
		out_free(to.json);
	return r;
}

const struct command commands_explain[] = {
	{ "explain packet TEXT from (endpoint ID|port NAME|host)",
	  "what would happen to a packet, step by step, and why", run_explain, 0, NULL, NULL },
	{ NULL, NULL, NULL, 0, NULL, NULL },
};
