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
	char request[128];

	snprintf(request, sizeof(request), "complete %s", line);
	assert_int_equal(cli_execute(request, false, f, &e), 0);
	fclose(f);
	return text;
}

static void completes(const char *line, const char *want)
{
	char *text = complete(line);

	if (strcmp(text, want) != 0)
		fail_msg("'%s' completes to\n%s", line, text);
	free(text);
}

/* set and del know what there is. */
static void test_complete(void **state)
{
	char line[80];

	(void)state;
	assert_int_equal(config_load(write_file(everything), false, &e), 0);
	completes("del nat pool ",
		  "198.51.100.1\n2001:db8:5::1\n<PREFIX: a prefix ADDR/LEN whose host bits are zero>\n");
	completes("set nat pool 1", "198.51.100.1\n<PREFIX: a prefix ADDR/LEN whose host bits are zero>\n");
	completes("add nat pool 1", "<PREFIX: a prefix ADDR/LEN whose host bits are zero>\n");
	completes("del vtep 2001:db8::1 ", "port\n<Enter: the command is complete>\n");
	completes("del vtep 2001:db8::1 port ", "4789\n<PORT: a port number from 1 to 65535>\n");
	completes("del backend ", "203.0.113.80:80/tcp\n<VIP: ADDR:PORT/PROTO such as 10.96.0.1:80/tcp>\n");
	completes("del backend 203.0.113.80:80/tcp ", "10.1.0.10:80\n<ADDR:PORT: an address and port such as "
						      "10.1.0.10:8080 or [2001:db8::1]:80>\n");
	completes("del policy h", "host\n");
	completes("del policy identity 1001 in", "ingress\n");
	completes("del policy identity 1001 ingress deny c", "cidr\n");
	completes("del endpoint ", "10\n<ID: an endpoint id from 1 to 65535>\n");
	completes("de pol h e", "egress\n");
	for (unsigned i = 0; i < 100; i++) {
		snprintf(line, sizeof(line), "add ipmasq 172.16.%u.0/24", i);
		ok(line);
	}
	completes("del ipmasq 172.16.9", "172.16.9.0/24\n172.16.90.0/24\n172.16.91.0/24\n172.16.92.0/24\n"
					 "172.16.93.0/24\n172.16.94.0/24\n172.16.95.0/24\n172.16.96.0/24\n"
					 "172.16.97.0/24\n172.16.98.0/24\n172.16.99.0/24\n"
					 "<PREFIX: a prefix ADDR/LEN whose host bits are zero>\n");
	completes("del ipmasq ",
		  "<more than 64: type more of it>\n<PREFIX: a prefix ADDR/LEN whose host bits are zero>\n");
}

/* Typed, not in batches. */
static void test_abbreviations(void **state)
{
	char batch[] = "add ipm 10.0.0.0/8\n";
	char *text;

	(void)state;
	ok("a ipm 10.0.0.0/8");
	text = show("cou ipm");
	assert_string_equal(text, "1\n");
	free(text);
	text = show("hel sh vt");
	assert_non_null(strstr(text, "show vteps ["));
	assert_null(strstr(text, "show ct"));
	free(text);
	refused("sa x", "write 'save' in full");
	refused("ca x", "write 'capture' in full");
	refused("s ct", "ambiguous word 's': set|show|save");
	assert_true(cli_batch("b", batch, false, stdout, &e) < 0);
	assert_non_null(strstr(e.text, "b:1: unknown word 'ipm', expected port|"));
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
	const struct CMUnitTest tests[] = { T(test_batch), T(test_show), T(test_complete), T(test_abbreviations),
					    T(test_clear_ct) };

	return cmocka_run_group_tests(tests, start, NULL);
}
