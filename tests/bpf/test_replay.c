/* SPDX-License-Identifier: BSD-2-Clause */
/* A frame that the engine replays comes out of the BPF program with equal bytes: NAT, routed, tunnels on and off, services and
 * their answers, IPv4, IPv6, TCP, UDP. */
#include "tests/bpf/replay_kit.h"

enum { TUNNEL6_FRONT = ETH_HLEN_ + IP6_HLEN + UDP_HLEN + VXLAN_HLEN };

static void equal_bytes(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(scenarios); i++) {
		const struct scenario *s = &scenarios[i];
		struct frame want, in, got;
		const struct step *last = play(s, &want);
		bool to_gate = !strcmp(s->to, "gate"), pass = last->from < 0 && to_gate;
		enum replay_stat stat = pass ? REPLAY_XDP_TO_TC : last->from < 0 ? REPLAY_XDP : REPLAY_TC;
		uint64_t before = stat_of(stat);
		uint32_t id, verdict;

		wire(last, &in);
		verdict = kernel(last->from, &in, &got);
		if (stat_of(stat) != before + 1)
			fail_msg("%s: not counted as replayed", s->name);
		if (pass) { /* for tc, behind a mark; as it came, but that VXLAN is off and the device's MAC on the inner frame */
			const struct replay_meta *m = (const void *)got.b;
			uint32_t off = l3_of(last) - ETH_HLEN_;

			assert_int_equal(verdict, XDP_PASS);
			assert_int_equal(m->magic, REPLAY_META);
			assert_int_equal(m->in, number_v6 ? record.v6.in : record.v4.in);
			assert_int_equal(m->vni, off ? rd32(in.b + off - 4) >> 8 : 0);
			memmove(got.b, got.b + sizeof(*m), got.n -= (uint32_t)sizeof(*m));
			want.n = in.n - off;
			memcpy(want.b, in.b + off, want.n);
			memcpy(want.b, in.b, 6);
		} else {
			assert_int_equal(verdict, last->from < 0 ? (int)XDP_REDIRECT : TC_ACT_REDIRECT);
			if (last->from >= 0 && into_tunnel6()) /* the kernel puts the rest in front */
				memmove(want.b, want.b + TUNNEL6_FRONT, want.n -= TUNNEL6_FRONT);
			if (to_gate && gate_stamp_read(want.b, &id) == GATE_ENDPOINT)
				unstamp(&want);
			const struct replay_use *u = export_table_use(number_v6, number);
			uint32_t l3 = l3_of(last), n = number_v6 ? rd16(in.b + l3 + 4) + IP6_HLEN : rd16(in.b + l3 + 2);

			assert_int_equal(u->packets, 1);
			assert_int_equal(u->bytes, n);
		}
		same_bytes(s->name, &got, &want);
		remove_record();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equal_bytes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
