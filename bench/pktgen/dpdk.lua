-- SPDX-License-Identifier: BSD-2-Clause
-- RFC 2544 throughput by Pktgen-DPDK: port 0 -> gateway -> port 1, largest rate at which not more than 'loss' of a trial is lost.
--   pktgen -l 0-4 -n 4 -- -P -m "[1:2].0,[3:4].1" -f bench/pktgen/dpdk.lua
-- Environment: MAC (of the gateway's port), SIZE (64), FLOWS (1024), SECONDS (20), LOSS (0, in percent), DST, SRC.
package.path = package.path .. ";?.lua;test/?.lua;app/?.lua"
require "Pktgen"

local function env(name, default)
	return os.getenv(name) or default
end

local mac = env("MAC")
local size = tonumber(env("SIZE", "64"))
local flows = tonumber(env("FLOWS", "1024"))
local seconds = tonumber(env("SECONDS", "20"))
local loss = tonumber(env("LOSS", "0"))
local dst = env("DST", "10.200.0.1")
local src = env("SRC", "10.100.0.1")
local SEND, RECEIVE = "0", "1"

if not mac then
	print("MAC= of the gateway's port is needed")
	os.exit(2)
end

-- FLOWS sources: ports first, then addresses
local function setup()
	local ports = math.min(flows, 16384)
	local hosts = math.ceil(flows / ports)
	local a, b, c, d = src:match("(%d+)%.(%d+)%.(%d+)%.(%d+)")
	local last = ((a * 256 + b) * 256 + c) * 256 + d + hosts - 1
	local last_text = string.format("%d.%d.%d.%d", last // 16777216, last // 65536 % 256, last // 256 % 256, last % 256)
	pktgen.stop("all")
	pktgen.clear("all")
	pktgen.range.dst_mac(SEND, "start", mac)
	pktgen.range.ip_proto(SEND, "udp")
	pktgen.range.dst_ip(SEND, "start", dst)
	pktgen.range.dst_ip(SEND, "inc", "0.0.0.0")
	pktgen.range.src_ip(SEND, "start", src)
	pktgen.range.src_ip(SEND, "min", src)
	pktgen.range.src_ip(SEND, "max", last_text)
	pktgen.range.src_ip(SEND, "inc", "0.0.0.1")
	pktgen.range.src_port(SEND, "start", 1024)
	pktgen.range.src_port(SEND, "min", 1024)
	pktgen.range.src_port(SEND, "max", 1024 + ports - 1)
	pktgen.range.src_port(SEND, "inc", 1)
	pktgen.range.dst_port(SEND, "start", 5001)
	pktgen.range.dst_port(SEND, "inc", 0)
	pktgen.range.pkt_size(SEND, "start", size)
	pktgen.range.pkt_size(SEND, "inc", 0)
	pktgen.set_range(SEND, "on")
end

-- One trial at 'rate' percent of the line: packets sent and received (RFC 2544 26.1)
local function trial(rate)
	pktgen.clear("all")
	pktgen.set(SEND, "rate", rate)
	pktgen.start(SEND)
	pktgen.delay(seconds * 1000)
	pktgen.stop(SEND)
	pktgen.delay(2000) -- what is on the way arrives
	local s = pktgen.portStats("all", "port")
	return s[0].opackets, s[1].ipackets
end

setup()
local low, high, best = 0, 100, 0
while high - low > 0.5 do
	local rate = (low + high) / 2
	local sent, got = trial(rate)
	local lost = sent > 0 and (sent - got) * 100 / sent or 100
	print(string.format("rate %.2f %%: sent %d, received %d, lost %.4f %%", rate, sent, got, lost))
	if lost <= loss then
		low, best = rate, got / seconds / 1e6
	else
		high = rate
	end
end
print(string.format("bench-pktgen throughput flows %d frame %d ndr %.3f", flows, size, best))
pktgen.quit()
