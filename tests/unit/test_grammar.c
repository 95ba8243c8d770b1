/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows, words, error texts, help and completion. No table is touched: lines are parsed, not run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/config.h"
#include "cli/grammar.h"

static struct words w;
static struct parse p;
static struct err e;

static int parse(const char *line)
{
	int r = words_split(line, &w, &e);

	return r ? r : grammar_parse(&w, &p, &e);
}

static const char *refusal(const char *line)
{
	e.text[0] = 0;
	assert_true(parse(line) < 0);
	return e.text;
}

static char *complete(const char *line)
{
	static char text[65536];
	FILE *f = fmemopen(text, sizeof(text), "w");

	grammar_complete(line, f);
	fputc(0, f);
	fclose(f);
	return text;
}

static void test_words(void **state)
{
	(void)state;
	assert_int_equal(words_split("  add\tname \"a b\" x\"y z\"w # rest", &w, &e), 0);
	assert_int_equal(w.n, 4);
	assert_string_equal(w.w[2], "a b");
	assert_string_equal(w.w[3], "xy zw");
	assert_int_equal(words_split("\"a \\\" b\" \"\" a#b", &w, &e), 0);
	assert_int_equal(w.n, 3);
	assert_string_equal(w.w[0], "a \" b");
	assert_string_equal(w.w[1], "");
	assert_string_equal(w.w[2], "a#b");
	assert_int_equal(words_split("# only a comment", &w, &e), 0);
	assert_int_equal(w.n, 0);
	assert_true(words_split("say \"open", &w, &e) < 0);
	assert_string_equal(e.text, "the quotation mark of 'open' is not closed");

	char *big = malloc(70000);
	memset(big, 'a', 69999);
	big[69999] = 0;
	assert_true(words_split(big, &w, &e) < 0);
	for (unsigned i = 1; i < 69999; i += 2)
		big[i] = ' ';
	assert_true(words_split(big, &w, &e) < 0);
	free(big);
}

static void test_word_print(void **state)
{
	static const char *const all[] = { "a", "", "a b", "a\"b", "a\\ \"b", "#a", "tab\there" };

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
		char line[64] = "";
		FILE *f = fmemopen(line, sizeof(line), "w");
		word_print(f, all[i]);
		fclose(f);
		assert_int_equal(words_split(line, &w, &e), 0);
		assert_int_equal(w.n, 1);
		assert_string_equal(w.w[0], all[i]);
	}
}

static void test_good(void **state)
{
	static const char *const good[] = {
		"set worker count 2",
		"set ct timeout tcp-established 8000",
		"set policy mode default",
		"set policy reject on",
		"set endpoint 10 identity 5",
		"add port up0 device eth1",
		"add port up0 device eth1 queues 2 mode native checksum auto on-exit pass transit on",
		"add port p0 pcap in /a out \"/b c\"",
		"add port p0 mem",
		"add port p0 dpdk 0000:03:00.0 tap up0 queues 2",
		"add port p0 dpdk net_af_packet0,iface=up0",
		"set dpdk eal-args \"--no-huge -m 256\"",
		"add vtep 192.0.2.1",
		"add vtep 2001:db8::1 vni-mode network port 4790",
		"add endpoint 10 device lxc10 ipv4 10.1.0.10 identity 1001",
		"add endpoint 10 identity 1 attach veth ipv6 2001:db8::a mac 02:00:00:00:00:01 ipv4 10.1.0.10 device l",
		"add port up0 device eth1 source-validation strict",
		"set tcp mss-clamp on",
		"set tcp mss-clamp 1400",
		"set icmp rate too-big 0",
		"set ip source-route ignore",
		"add endpoint 10 identity 1 ipv4 10.1.0.10 ipv4 10.1.0.11 device l",
		"add ipcache 10.2.0.0/24 identity 2001 remote 192.0.2.9",
		"add tunnel 10.3.0.0/16 remote 192.0.2.9 vni 7 via 10.3.0.1",
		"add tunnel 10.3.0.0/16 mac 02:00:00:00:00:01 remote 192.0.2.9",
		"add policy endpoint 10 egress allow any",
		"add policy identity 7 ingress deny identity 8 tcp port 80-90 precedence 5 name \"web people\"",
		"add policy host ingress allow cidr 10.0.0.0/8 icmp port 8",
		"add policy host ingress redirect 8080 any tcp port 80",
		"del policy endpoint 10 egress allow any udp",
		"add nat pool 198.51.100.1 ports 1024-2047 port up0 source 10.1.0.0/24 mapping apdm filter eif",
		"add ipmasq 10.0.0.0/8",
		"add service 10.96.0.1:80/tcp algorithm maglev source-range 10.0.0.0/8 source-range 192.0.2.0/24",
		"add backend 10.96.0.1:80/tcp [2001:db8::1]:8080 weight 5",
		"del endpoint 10",
		"del vtep 192.0.2.1",
		"show ct",
		"show ct src=10.0.0.0/8 max 5 proto=tcp",
		"show drops",
		"count nat",
		"clear ct src=10.1.0.10",
		"save /tmp/x",
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(good); i++)
		if (parse(good[i]))
			fail_msg("%s: %s", good[i], e.text);
}

static void test_values(void **state)
{
	(void)state;
	assert_int_equal(parse("add endpoint 10 device lxc10 ipv4 10.1.0.10 identity 1001 mac 02:00:00:00:00:01"), 0);
	assert_int_equal(parse_arg(&p, "endpoint")->n, 10);
	assert_string_equal(parse_arg(&p, "device")->text, "lxc10");
	assert_int_equal(parse_arg(&p, "identity")->n, 1001);
	assert_int_equal(parse_arg(&p, "mac")->mac.b[5], 1);
	assert_null(parse_arg(&p, "ipv6"));
	assert_int_equal(parse("add port p mode native checksum auto device e"), 0);
	assert_string_equal(parse_arg(&p, "mode")->text, "native");
	assert_string_equal(parse_arg(&p, "checksum")->text, "auto");
	assert_int_equal(parse("add policy host ingress allow any tcp port 80-90"), 0);
	assert_int_equal(parse_arg(&p, "port")->range.lo, 80);
	assert_int_equal(parse_arg(&p, "port")->range.hi, 90);
	assert_true(parse_has(&p, "tcp") && !parse_has(&p, "udp"));
	assert_int_equal(parse("add backend 10.96.0.1:80/tcp [2001:db8::1]:8080"), 0);
	assert_int_equal(parse_arg(&p, "backend")->service.port, 80);
	assert_int_equal(parse_arg(&p, "backend")->service.proto, PROTO_TCP);
	assert_int_equal(parse_arg(&p, "addr:port")->service.port, 8080);
}

static void test_errors(void **state)
{
	static const struct {
		const char *line, *text;
	} bad[] = {
		{ "add endpoint 10 devcie lxc10",
		  "endpoint 10: unknown word 'devcie', expected device|ipv4|ipv6|mac|identity|zone|attach" },
		{ "add endpoint 10 device lxc10", "endpoint 10: identity is missing" },
		{ "add endpoint 10 identity 5 device a device b", "endpoint 10: device is given twice" },
		{ "add endpoint 70000 device a identity 1", "endpoint: '70000' is not an endpoint id from 1 to 65535" },
		{ "add endpoint 10 device a identity x",
		  "endpoint 10: identity: 'x' is not an identity from 1 to 16777215" },
		{ "add endpoint 10 device a identity 1 ipv4 10.1.0.256",
		  "endpoint 10: ipv4: '10.1.0.256' is not an IPv4 address, nor none" },
		{ "add endpoint 10 device a identity 1 ipv4 ::1",
		  "endpoint 10: ipv4: '::1' is not an IPv4 address, nor none" },
		{ "add endpoint 10 device a identity 1 mac ff:ff:ff:ff:ff:ff",
		  "endpoint 10: mac: 'ff:ff:ff:ff:ff:ff' is not a unicast MAC address such as 02:00:00:00:00:01, nor "
		  "none" },
		{ "add port up0 queues 2", "port up0: device|dpdk|pcap|mem is missing" },
		{ "add port up0 device eth1 queues 65",
		  "port up0: queues: '65' is not a number from 1 to 64, nor none" },
		{ "add port up0 device eth1 mode fast", "port up0: unknown word 'fast', expected native|generic|auto" },
		{ "add ipcache 10.2.0.1/24 identity 1",
		  "ipcache: '10.2.0.1/24' is not a prefix ADDR/LEN whose host bits are zero" },
		{ "add policy endpoint 10 egress permit any",
		  "policy endpoint 10: unknown word 'permit', expected allow|deny|redirect" },
		{ "add ipmasq 10.0.0.0/8 please",
		  "ipmasq 10.0.0.0/8: unexpected word 'please', nothing may follow here" },
		{ "add", "something is missing, expected "
			 "port|vtep|nat|ipmasq|tunnel|ipcache|endpoint|policy|service|backend" },
		{ "set tcp mss-clamp 5", "tcp mss-clamp: '5' is not a number from 88 to 65495 bytes, nor off nor on" },
		{ "set worker count 0", "worker count: '0' is not a number from 1 to 32 threads" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		assert_string_equal(refusal(bad[i].line), bad[i].text);
	assert_non_null(strstr(refusal("frobnicate"), "unknown word 'frobnicate', expected "));
	assert_non_null(strstr(refusal("show nonsense"), "unknown word 'nonsense', expected ct|nat|"));
}

/* No line may do harm: every prefix and every one-byte change of good ones. */
static void test_mutations(void **state)
{
	static const char line[] =
		"add policy endpoint 10 egress allow cidr 10.0.0.0/8 tcp port 80-90 precedence 5 name \"a b\"";
	char copy[sizeof(line)];

	(void)state;
	for (unsigned i = 0; i < sizeof(line); i++) {
		snprintf(copy, i + 1, "%s", line);
		if (!words_split(copy, &w, &e) && w.n && grammar_parse(&w, &p, &e))
			assert_true(e.text[0]);
		complete(copy);
		for (unsigned c = 1; c < 256 && i + 1 < sizeof(line); c += 7) {
			memcpy(copy, line, sizeof(line));
			copy[i] = (char)c;
			if (!words_split(copy, &w, &e) && w.n)
				grammar_parse(&w, &p, &e);
		}
	}
}

static const char *help(const char *line)
{
	static char text[2][65536];
	static unsigned n;
	FILE *f = fmemopen(text[++n & 1], sizeof(text[0]), "w");

	grammar_help(line, f);
	fclose(f);
	return text[n & 1];
}

static void test_help(void **state)
{
	char text[65536] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");

	(void)state;
	grammar_help("add endpoint", f);
	fclose(f);
	assert_non_null(strstr(
		text,
		"add endpoint ID device DEV [ipv4 none|IP4]... [ipv6 none|IP6]... [mac none|MAC] identity IDENTITY"));
	assert_null(strstr(text, "add port"));
	assert_null(strchr(text, '~'));
	f = fmemopen(text, sizeof(text), "w");
	grammar_help("", f);
	fclose(f);
	assert_non_null(strstr(text, "set worker count N\n"));
	assert_non_null(strstr(text, "show drops"));
	assert_string_equal(help("sh blo"), help("show blocks"));
	assert_non_null(strstr(help("show blocks"), "show blocks [FIELD=VALUE]... [max N]\n"));
	assert_null(strstr(help("show ct"), "show nat"));
	/* whole words first: port, and not what begins so */
	assert_non_null(strstr(help("add po"), "add policy"));
	assert_null(strstr(help("add port"), "add policy"));
	assert_string_equal(help("show blox"), "no command begins so; 'help' alone lists all\n");
	assert_string_equal(help("showblocks"), "no command begins so; 'help' alone lists all\n");
	/* every row says something */
	for (unsigned i = 0; grammar_row(i); i++)
		assert_true(strlen(grammar_row(i)->help) > 3);
}

static const char *expanded(const char *line)
{
	static char text[1000];
	size_t n = 0;

	assert_int_equal(words_split(line, &w, &e), 0);
	grammar_expand(&w);
	text[0] = 0;
	for (unsigned i = 0; i < w.n; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i ? " " : "", w.w[i]);
	return text;
}

static void test_abbreviations(void **state)
{
	(void)state;
	assert_string_equal(expanded("sh ct"), "show ct");
	assert_string_equal(expanded("sho vt ma 5"), "show vteps max 5");
	assert_string_equal(expanded("a p up0 d eth0 mo gen"), "add p up0 d eth0 mo gen"); /* port or policy */
	assert_string_equal(expanded("a por up0 de eth0 mo gen"), "add port up0 device eth0 mode generic");
	assert_string_equal(expanded("set nat poo 198.51.100.1 po up0"), "set nat pool 198.51.100.1 po up0");
	assert_string_equal(refusal("set nat pool 198.51.100.1 po up0"),
			    "nat pool 198.51.100.1: ambiguous word 'po': ports|port");
	/* what is whole stays: port is the beginning of ports */
	assert_string_equal(expanded("set nat pool 198.51.100.1 port up0"), "set nat pool 198.51.100.1 port up0");
	/* values are not keywords */
	assert_string_equal(expanded("del endpoint 1"), "del endpoint 1");
	assert_string_equal(expanded("add policy host eg al an tc po 5 name al"),
			    "add policy host egress allow any tcp port 5 name al");
	assert_string_equal(expanded("expl pack \"ip 10.1.0.10\" fr ho"), "explain packet ip 10.1.0.10 from host");
	assert_string_equal(expanded(""), "");
	assert_true(parse("sh ct") < 0); /* not in files */
	assert_string_equal(refusal("explain packet ip 10.1.0.10"),
			    "packet ip: unknown word '10.1.0.10', expected from; a text with blanks stands in \"\"");
}

static void test_complete(void **state)
{
	(void)state;
	assert_string_equal(complete("add end"), "endpoint\n");
	assert_string_equal(complete("add endpoint 10 dev"), "device\n");
	assert_non_null(strstr(complete("add endpoint 10 "), "identity\n"));
	assert_null(strstr(complete("add endpoint 10 device a "), "device\n"));
	assert_non_null(strstr(complete("add port p device e mode "), "generic\n"));
	assert_non_null(strstr(complete("set worker count "), "<N: a number from 1 to 32 threads>"));
	assert_string_equal(complete("set endpoint 10 mac "),
			    "<MAC: a unicast MAC address such as 02:00:00:00:00:01>\nnone\n");
	assert_non_null(strstr(complete("set endpoint 10 mac no"), "none\n"));
	assert_non_null(strstr(complete("nothing here "), "<unknown word 'nothing', expected set|add|"));
	assert_string_equal(complete("show ct max 5 x"), "<FIELD=VALUE: a column and the value it must have>\n");
	/* one that may end here says so, in front, so that TAB does not take what is only possible */
	assert_string_equal(complete("add vtep 192.0.2.1 port 5 "), "<Enter: the command is complete>\nvni-mode\n");
	assert_string_equal(complete("del endpoint 10 "), "<Enter: the command is complete>\n");
	assert_string_equal(complete("sh vt"), "vteps\n");
	assert_string_equal(complete("sh vteps max "), "<N: a number from 1 to 4294967295>\n");
	assert_non_null(strstr(complete(""), "show\n"));
	assert_non_null(strstr(complete("add endpoint 10 device "), "lo\n"));
}

static int setup(void **state)
{
	(void)state;
	config_init();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),  cmocka_unit_test(test_word_print), cmocka_unit_test(test_good),
		cmocka_unit_test(test_values), cmocka_unit_test(test_errors),     cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_help),   cmocka_unit_test(test_complete),   cmocka_unit_test(test_abbreviations),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
