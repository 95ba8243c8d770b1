/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets as text, both ways: "ip 10.1.0.10 > 10.2.0.7 ttl=9 | tcp 40000 > 80 S | data 100". What 'explain packet'
 * reads; golden tests are written in it and print frames back in the same words.
 *
 * Layers stand between '|', outermost first. Lengths, protocol numbers and checksums are filled in unless given. In [] what
 * may be left out.
 *
 *	eth MAC > MAC [type=]			without it: 02:00:00:00:00:09 > 02:00:00:00:00:01
 *	vlan ID [pcp= dei type=]
 *	ip A > B [ttl= tos= id= df mf rf off=BYTES proto= len= csum= ihl= ver= opt=HEX]		IPv4
 *	ip A > B [hlim= tc= flow= plen= nh= ver=]						IPv6
 *	hopopts|dstopts [BYTES] [nh= len=]	routing [BYTES] [type= left= nh= len=]		frag [off= mf id= nh=]
 *	tcp N > N [FLAGS seq= ack= win= urg= doff= csum= opt=HEX]	FLAGS out of SAFRPUEC
 *	udp N > N [len= csum=]			csum: a number, or 'partial', the folded pseudo-header sum as veth hands it over
 *	sctp N > N [vtag= csum=]
 *	icmp echo|echo-reply [id= seq= code= csum=]	icmp type= [code= mtu= rest= csum=]	'icmp6' is the same word
 *	vxlan vni= [flags=]			then an inner eth
 *	arp request|reply IP > IP [op= sha= tha=]	sender > target; MACs default to those of eth (tha of a request: zero)
 *	ns A > TARGET [dst= sll= hlim=]		na TARGET > B [flags= tll= hlim= target=]	IPv6 header and message
 *	data N (a pattern)	hex 0a1b..	cut N (the layer in front keeps its first N bytes, as ICMP quotes do)
 *	pad N (zeros behind the innermost IP packet)	trunc N (the finished frame is cut to N bytes)
 *
 * Behind an ICMP error stands the quoted packet. A text that begins with 'hex' or 'data' is the frame itself. */
#pragma once

#include "fwd/base/err.h"
#include "fwd/base/util.h"

enum { PKTTEXT_FRAME_MAX = 16384, PKTTEXT_MAX = 8192 };

/* The frame that 'text' describes; its length, or -EINVAL with a sentence. 'frame' has PKTTEXT_FRAME_MAX bytes. */
int pkttext_parse(const char *text, uint8_t *frame, struct err *e);
/* Canonical text of a frame: fields with unusual values only, checksums only when wrong. Parsing it gives the same bytes;
 * what the words cannot say is printed as hex. Returns 'text', which has PKTTEXT_MAX bytes. */
const char *pkttext_print(const uint8_t *frame, uint32_t len, char *text);

/* Between pkttext.c and pkttext_print.c. */
enum {
	PKTTEXT_ETHERTYPE = 0x88b5,
	PKTTEXT_PROTO = 253
};                                                     /* of payload without a name: IEEE 802, RFC 3692 experimental */
uint32_t pkttext_crc32c(const uint8_t *p, uint32_t n); /* RFC 9260 appendix A */
