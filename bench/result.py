#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""result.py run NAME METHOD -- COMMAND...: runs a benchmark and keeps what it says.

A benchmark prints one line a result:  bench-NAME CASE [KEY NUMBER [UNIT] | KEY=TEXT]...
Well-known keys: flows, frame (bytes with FCS), system=WHO, and one measured value (cycles, mpps, kpps, mbit, us, conns)
with its spread min, max over so many rounds. All output passes through, nothing is added to stdout. $B/bench/NAME.json gets
every such line as an object, beside the machine, kernel, method and load; $B/bench/NAME-*.svg and .png are drawn from it
where gnuplot is installed.
The exit code is the command's.
"""
import json
import os
import shutil
import subprocess
import sys
import time

IMIX = 362  # mean frame of 7 of 64, 4 of 594, 1 of 1518 bytes
VALUES = ("cycles", "mpps", "ndr", "kpps", "mbit", "us", "conns")


def number(text):
    try:
        return float(text) if "." in text or "e" in text else int(text)
    except ValueError:
        return None


def parse(line):
    """One result line as a dictionary, or None."""
    line, _, failed = line.partition(" failed: ")
    words = line.split()
    if len(words) < (3 if failed else 4) or not words[0].startswith("bench-") or words[0].endswith(":"):
        return None
    out = {"bench": words[0], "case": words[1]}
    key = None
    last = None
    for w in words[1:] if number(words[2]) is not None else words[2:]:
        n = number(w)
        if "=" in w:
            k, v = w.split("=", 1)
            out[k] = v
        elif n is not None and key:
            out[key] = n
            last, key = key, None
        else:
            if key and last:
                out[last + "_unit"] = key
            key = w
    if key and last:
        out[last + "_unit"] = key
    if failed:
        out["failed"] = failed.strip()
    elif not any(isinstance(v, (int, float)) for v in out.values()):
        return None
    return out


def first_line(path, word):
    try:
        with open(path, encoding="utf-8") as f:
            for line in f:
                if line.startswith(word):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return ""


def machine():
    u = os.uname()
    return {
        "cpu": first_line("/proc/cpuinfo", "model name"),
        "cpus": os.cpu_count(),
        "memory": first_line("/proc/meminfo", "MemTotal"),
        "hugepages": first_line("/proc/meminfo", "HugePages_Total"),
        "kernel": u.release,
        "arch": u.machine,
        "virtual": "hypervisor" in first_line("/proc/cpuinfo", "flags").split(),
        "load": os.getloadavg(),
    }


def series(results):
    """{(metric, case): {system: [(x, value, min, max)]}}; a bench of one system is drawn as one picture, a line a case."""
    systems = {r.get("system") for r in results} - {None}
    pictures = {}
    for r in results:
        for m in VALUES:
            if m not in r:
                continue
            picture, line = (r["case"], r.get("system", "sluice")) if systems else ("all", r["case"])
            x = r.get("frame") if r.get("x") == "frame" else r.get("flows")
            x = IMIX if x == "imix" else x
            y = r[m]
            pictures.setdefault((m, picture), {}).setdefault(line, []).append((x, y, r.get("min", y), r.get("max", y)))
    return pictures


def plot(base, metric, case, lines):
    many = all(len({p[0] for p in pts}) > 1 and None not in {p[0] for p in pts} for pts in lines.values())
    for term, end in (("svg size 900,500", "svg"), ("pngcairo size 900,500", "png")):
        cmd = [f"set terminal {term}", f"set output '{base}-{case}-{metric}.{end}'", f"set title '{case}' noenhanced",
               f"set ylabel '{metric}'", "set yrange [0:*]", "set grid", "set key outside noenhanced"]
        data = ""
        if many:
            cmd += ["set xlabel 'flows or frame bytes'", "set logscale x 2"]
            cmd.append("plot " + ", ".join(f"'-' using 1:2:3:4 with yerrorlines title '{n}'" for n in sorted(lines)))
            for n in sorted(lines):
                data += "".join("%s %s %s %s\n" % p for p in sorted(lines[n])) + "e\n"
        else:
            cmd += ["set style fill solid 0.5", "set boxwidth 0.6", "unset key", "set xtics rotate by -30 noenhanced"]
            rows = [(n, *p[1:]) for n in sorted(lines) for p in lines[n]]
            cmd.append("plot '-' using 0:2:3:4:xtic(1) with boxerrorbars")
            data = "".join("\"%s\" %s %s %s\n" % r for r in rows) + "e\n"
        subprocess.run(["gnuplot"], input="\n".join(cmd) + "\n" + data, text=True, check=False, stderr=subprocess.PIPE)


def run(name, method, command):
    folder = os.path.join(os.environ.get("B", "build"), "bench")
    os.makedirs(folder, exist_ok=True)
    base = os.path.join(folder, name)
    began = time.time()
    results = []
    info = machine()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as p:
        try:
            for line in p.stdout:
                print(line, end="", flush=True)
                r = parse(line)
                if r:
                    results.append(r)
        except KeyboardInterrupt:
            pass
    if not results:
        return p.returncode
    doc = {"name": name, "method": method, "command": command, "began": int(began), "seconds": round(time.time() - began, 1),
           "complete": p.returncode == 0, "machine": info, "results": results}
    with open(base + ".json", "w", encoding="utf-8") as f:
        json.dump(doc, f, indent=1)
        f.write("\n")
    if shutil.which("gnuplot"):
        for (metric, case), lines in series(results).items():
            plot(base, metric, case, lines)
    plots = "" if shutil.which("gnuplot") else "; no plots: gnuplot-nox is not installed"
    print(f"{name}: {base}.json, {len(results)} results{plots}", file=sys.stderr)
    return p.returncode


if __name__ == "__main__":
    if len(sys.argv) < 6 or sys.argv[1] != "run" or sys.argv[4] != "--":
        sys.exit(__doc__)
    sys.exit(run(sys.argv[2], sys.argv[3], sys.argv[5:]))
