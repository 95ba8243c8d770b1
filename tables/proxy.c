/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of redirected connections (proxy.h). Workers. */
#include "tables/proxy.h"

static struct table proxies;

int proxy_init(struct err *e)
{
	return table_open(&proxies, "proxy", 0, sizeof(struct proxy_key), sizeof(struct proxy_value), e);
}

void proxy_fini(void)
{
	table_close(&proxies);
}

/* One record's key in the form both families share. */
static void read_key(bool v6, uint32_t record, struct proxy_key *k)
{
	if (v6) {
		const struct flow_key6 *f = &ct_flow6(record)->key;
		*k = (struct proxy_key){ ip_from6(f->src), ip_from6(f->dst), f->sport, f->dport, f->zp & 0xff };
	} else {
		const struct flow_key4 *f = &ct_flow4(record)->key;
		*k = (struct proxy_key){ ip_from4(f->src), ip_from4(f->dst), f->sport, f->dport, f->zp & 0xff };
	}
}

/* What the listener sees is the reverse of what it answers with. */
static void key_of(bool v6, uint32_t conn, struct proxy_key *k)
{
	struct proxy_key reply;

	read_key(v6, 2 * conn + 1, &reply);
	*k = (struct proxy_key){ reply.dst, reply.src, reply.dport, reply.sport, reply.proto };
}

int proxy_add(unsigned slot, bool v6, uint32_t conn, uint16_t port)
{
	struct proxy_key k, original;

	key_of(v6, conn, &k);
	read_key(v6, 2 * conn, &original);
	const struct proxy_value v = { .dst = original.dst,
				       .dport = original.dport,
				       .port = port,
				       .identity = LOAD_RELAXED(&ct_conn(ct_of(v6), conn)->identity) };
	return table_insert(&proxies, slot, &k, &v, NULL);
}

static uint32_t row_of(bool v6, uint32_t conn)
{
	struct proxy_key k;

	key_of(v6, conn, &k);
	return table_find(&proxies, &k);
}

void proxy_update(bool v6, uint32_t conn, uint16_t port)
{
	uint32_t row = row_of(v6, conn);

	if (!row)
		return;
	struct proxy_value *v = table_value(&proxies, row);
	STORE_RELAXED(&v->port, port);
	STORE_RELAXED(&v->identity, LOAD_RELAXED(&ct_conn(ct_of(v6), conn)->identity));
}

uint16_t proxy_port(bool v6, uint32_t conn)
{
	uint32_t row = row_of(v6, conn);

	return row ? LOAD_RELAXED(&proxy_at(row)->port) : 0;
}

void proxy_del(unsigned slot, bool v6, uint32_t conn)
{
	struct proxy_key k;

	key_of(v6, conn, &k);
	table_delete(&proxies, slot, &k);
}

uint32_t proxy_find(const struct proxy_key *k)
{
	return table_find(&proxies, k);
}

uint32_t proxy_next(uint32_t after)
{
	return table_next(&proxies, after);
}

const struct proxy_key *proxy_key_at(uint32_t row)
{
	return table_key(&proxies, row);
}

const struct proxy_value *proxy_at(uint32_t row)
{
	return table_value(&proxies, row);
}

uint32_t proxy_count(void)
{
	return table_count(&proxies);
}
