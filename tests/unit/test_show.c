/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests as the server gets them: batches, show and its filters, clear ct. */
#include "tests/unit/config_env.h"

static void test_batch(void **state)
{
	char text[] = "add ipmasq 10.0.0.0/8\ncount ipmasq\nadd ipmasq 11.0.0.0/8\n";
	char bad[] = "add ipmasq 12.0.0.0/8\nadd ipmasq 12.0.0.1/8\n";
	char alone[] = "save x\n";
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	(void)state;
	assert_int_equal(cli_batch("b", text, false, f, &e), 0);
	assert_true(cli_batch("b", bad, false, f, &e) < 0);
	assert_string_equal(e.text, "b:2: ipmasq: '12.0.0.1/8' is not a prefix ADDR/LEN whose host bits are zero");
	assert_true(cli_batch("b", alone, false, f, &e) < 0);
	fclose(f);
	assert_string_equal(out, "2\n"); /* configuration first, then the rest */
	assert_int_equal(ipmasq_count(), 2);
	free(out);
}

static char *complete(const char *line)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	grammar_complete(line, f);
	fclose(f);
	return text;
}

static void test_show(void **state)
{
	static const char *const names[] = { "ct",           "nat",     "neighbor", "endpoints", "ipcache",  "lb",
					     "policy",       "proxy",   "tunnel",   "frag",      "affinity", "ipmasq",
					     "source_range", "ports",   "queues",   "workers",   "drops",    "services",
					     "settings",     "version", "routes",   "pools",     "vteps",    "tables",
					     "offload",      "probes",  "blocks",   "addresses" };
	char line[64], *text;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(line, sizeof(line), "show %s", names[i]);
		text = show(line);
		assert_true(text[0] == '[' && text[strlen(text) - 2] == ']' && text[strlen(text) - 1] == '\n');
		free(text);
	}
	assert_int_equal(config_load(write_file(everything), false, &e), 0);
	for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(line, sizeof(line), "show %s max 1", names[i]);
		free(show(line));
	}
	text = show("show endpoints id=10");
	assert_non_null(strstr(text, "\"identity\":1001"));
	free(text);
	text = show("show ipcache prefix=10.5.0.0/16");
	assert_non_null(strstr(text, "10.5.0.0/24"));
	assert_null(strstr(text, "0.0.0.0/0"));
	free(text);
	/* wrong fields and values are told whether there are rows or not */
	refused("show endpoints colour=red",
		"there is no field colour, but: id device mac ipv4 ipv6 identity policy_set ");
	refused("show ct colour=red", "there is no field colour, but: family proto src sport dst dport reply_src ");
	refused("show ct src=10.1.0.300", "src: '10.1.0.300' is not an address, nor a prefix");
	refused("show ct src=10.1.0.1/24", "a prefix whose host bits are zero");
	refused("show ct sport=http", "sport: 'http' is not a number");
	refused("show ports up=maybe", "up: 'maybe' is not yes nor no");
	free(show("show ports up=true zone=0"));
	free(show("show pools static= source=10.1.0.0/24"));
	free(show("show policy port=53-60"));
	text = complete("show ct reply_s");
	assert_string_equal(text, "reply_src=\nreply_sport=\n<FIELD=VALUE: a column and the value it must have>\n");
	free(text);
	text = complete("monitor drops rea");
	assert_string_equal(text, "reason=\n<FIELD=VALUE: a column and the value it must have>\n");
	free(text);
	text = show("count policy");
	assert_string_equal(text, "3\n");
	free(text);
	text = show("show settings name=\"ct timeout udp\"");
	assert_non_null(strstr(text, "\"value\":77,\"default\":300"));
	free(text);
}

static void test_clear_ct(void **state)
{
	(void)state;
	refused("clear ct colour=red", "there is no field colour"); /* nothing is there */
	refused("clear ct sport=http", "sport: 'http' is not a number");
	for (unsigned i = 0; i < 10; i++) {
		uint32_t c = ct_alloc(&ct4, SLOT_CONTROL, PROTO_UDP, 1), present;
		assert_true(c);
		for (unsigned d = 0; d < 2; d++) {
			struct flow4 *f = ct_flow4(2 * c + d);
			struct ipaddr a = *ip("10.1.0.10"), b = *ip("192.0.2.1");
			f->key = (struct flow_key4){ .src = d ? b.w[3] : a.w[3],
						     .dst = d ? a.w[3] : b.w[3],
						     .sport = htons((uint16_t)(d ? 53 : 1000 + i)),
						     .dport = htons((uint16_t)(d ? 1000 + i : 53)),
						     .zp = PROTO_UDP };
			f->packets = 3 + d;
			f->bytes = 300;
		}
		ct_conn(&ct4, c)->state = CT_REPLIED;
		ct_conn(&ct4, c)->carry_bytes[1] = 1;
		assert_int_equal(ct_publish(&ct4, SLOT_CONTROL, c, &present), 0);
	}
	char *text = show("show ct sport=1003");
	assert_non_null(strstr(
		text,
		"{\"family\":\"ipv4\",\"proto\":\"udp\",\"src\":\"10.1.0.10\",\"sport\":1003,\"dst\":\"192.0.2.1\","
		"\"dport\":53,\"reply_src\":\"192.0.2.1\",\"reply_sport\":53,\"reply_dst\":\"10.1.0.10\","
		"\"reply_dport\":1003,\"zone\":0,"));
	assert_non_null(strstr(text, "\"packets\":3,\"bytes\":300,\"reply_packets\":4,\"reply_bytes\":4294967596,"));
	assert_null(strstr(text, "1004"));
	free(text);
	assert_int_equal(ct_count(&ct4), 10);
	refused("clear ct colour=red", "there is no field colour, but: family proto ");
	assert_int_equal(ct_count(&ct4), 10);
	ok("clear ct sport=1003");
	assert_int_equal(ct_count(&ct4), 9);
	text = show("show ct sport=1003");
	assert_string_equal(text, "[]\n");
	free(text);
	ok("clear ct");
	assert_int_equal(ct_count(&ct4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { T(test_batch), T(test_show), T(test_clear_ct) };

	return cmocka_run_group_tests(tests, start, NULL);
}
