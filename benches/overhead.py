#!/usr/bin/env python3
"""What a request costs in brainstem, beside bare Pingora and nginx in the same minutes. benches/run.sh starts it.

CPU is the proxy's own accounting (all its threads, nanoseconds from schedstat) over the requests that wrk saw
answered; latency is one connection's, less what the upstream takes without a proxy. Every round visits every
proxy, starting one further along; figures are medians over the rounds, ratios are made within each round,
and their median is shown.
The proxies run on the last CPU, wrk and the upstreams on the others, where there is more than one. Stdlib only.
"""
import argparse
import datetime
import http.client
import json
import os
import platform
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import upstreams

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PATH = "/api/chat"
LUA = """
local file = io.open(os.getenv("BENCH_BODY"), "rb"); wrk.body = file:read("*a"); file:close()
wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"
done = function(sum, latency, _)
  local e = sum.errors
  io.write(string.format('@@{"requests":%d,"p50":%d,"p99":%d,"errors":%d}\\n', sum.requests,
    latency:percentile(50), latency:percentile(99), e.status + e.connect + e.read + e.write + e.timeout))
end
"""

# ---- what is asked ----

WORDS = """the of and to in that is was for as with his they be at one have this from by hot but some what there we can
out other were all your when up use word how said an each she which do their time if will way about many then them
would write like so these her long make thing see him two has look more day could go come did my sound""".split()


def prose(size):
    dice, out, length = random.Random(size), [], 0
    while length < size:
        word = dice.choice(WORDS) + dice.choice(["", "", "", "", "", "", ",", ".", ".\n", ' "x"', "\n "])
        out.append(word)
        length += len(word) + 1
    return " ".join(out)[:size]


def ask(*messages, **more):
    body = {"model": "m", "messages": [{"role": r, "content": c} for r, c in messages], **more}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


SYSTEM = ("system", "You are a careful assistant.")
HEAVY = "please refactor this function and explain the stack trace"
TURNS = [("assistant" if n % 2 else "user", prose(4000 + n)) for n in range(248)]


class Row:
    def __init__(self, name, body, load, conns, targets, want):
        self.name, self.body, self.load, self.conns, self.targets, self.want = name, body, load, conns, targets, want
        self.path = None


SMALL = ["nginx", "bare", "brainstem", "rules"]
ROWS = {
    "2k": Row("2 KB ask forwarded, a rule decides", ask(SYSTEM, ("user", HEAVY + "\n" + prose(1880))), "small", 16, SMALL,
              {"route": "upstream", "decided-by": "rule"}),
    "classified": Row("12 words forwarded, no rule knows them",
                      ask(("user", "tell me something about the old bridge near the river in Prague")), "small", 1, SMALL,
                      {"route": "upstream"}),
    # Streamed, as this path does by default: our own reply is chunked, the upstream's is not.
    "greeting": Row("a greeting", ask(("user", "Привет!")), "small", 16, SMALL, {"route": "local", "decided-by": "rule"}),
    "1m-history": Row("1 MB ask forwarded, a long history", ask(SYSTEM, *TURNS, ("user", HEAVY)), "large", 4,
                      ["nginx", "bare", "brainstem"], {"route": "upstream", "decided-by": "rule"}),
    "1m-message": Row("1 MB ask forwarded, one long message", ask(SYSTEM, ("user", HEAVY + "\n" + prose(1000000))), "large", 4,
                      ["nginx", "bare", "brainstem"], {"route": "upstream", "decided-by": "rule"}),
}
SHOWN = {"nginx": "nginx", "bare": "Pingora without a filter", "brainstem": "brainstem", "rules": "brainstem, classifier off"}

# row, target, against, at most
FLOORS = [("2k", "brainstem", "bare", 1.25), ("1m-history", "brainstem", "bare", 2.0), ("1m-message", "brainstem", "bare", 2.0),
          ("greeting", "brainstem", "nginx", 1.0)]

# ---- accounting ----

LINUX = sys.platform == "linux"


def family(pid):
    """A process and all that it started: nginx works in a child."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = [pid]
    for one in found:
        found += [child for child, parent in parents if parent == one]
    return found


def cpu(pids):
    """Seconds on a CPU so far."""
    if LINUX:
        nanos = 0
        for pid in pids:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/schedstat") as f:
                    nanos += int(f.read().split()[0])
        return nanos / 1e9
    total = 0.0
    for pid in pids:  # macOS: [hours:]minutes:seconds.hundredths
        shown = subprocess.run(["ps", "-o", "time=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
        total += sum(float(part) * 60 ** power for power, part in enumerate(reversed(shown.strip().split(":"))))
    return total


def ticks(pids):
    """The same as the kernel's older counter has it, in hundredths: a check on the other. None on macOS."""
    if not LINUX:
        return None
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


# ---- servers ----

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def request(port, method, path, body=None, headers=None):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        link.request(method, path, body, {"Content-Type": "application/json", **(headers or {})} if body else {})
        reply = link.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        link.close()


class Server:
    def __init__(self, name, command, port, log, cpus=None, env=None, admin=None):
        self.name, self.port, self.admin, self.log = name, port, admin, open(log, "ab")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=ROOT, env=env,
                                        preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None)
        self.logged = log

    def wait(self):
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                self.pids = family(self.process.pid)
                return self
            except OSError:
                time.sleep(0.02)
        with open(self.logged, errors="replace") as f:
            sys.exit(f"{self.name} does not listen:\n{f.read()[-2000:]}")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


class Bench:
    def __init__(self, flags):
        self.flags, self.servers = flags, []
        self.work = tempfile.mkdtemp(prefix="brainstem-bench-")
        self.proxies_on = self.others_on = None
        if LINUX and len(os.sched_getaffinity(0)) > 1:
            everywhere = os.sched_getaffinity(0)
            self.proxies_on = {max(everywhere)}
            self.others_on = everywhere - self.proxies_on
            os.sched_setaffinity(0, self.others_on)  # wrk inherits it

    def start(self, name, command, port, cpus=None, **more):
        server = Server(name, command, port, os.path.join(self.work, f"{name}.log"), cpus, **more)
        self.servers.append(server)
        return server

    def nginx(self, name, config, port, cpus):
        home = os.path.join(self.work, name)
        os.mkdir(home)
        with open(os.path.join(home, "conf"), "w") as f:
            f.write(("user root; " if os.getuid() == 0 else "") + config(home))
        command = [self.flags.nginx, "-p", home, "-e", f"{home}/error", "-c", f"{home}/conf"]
        return self.start(name, command, port, cpus).wait()

    def brainstem(self, name, upstream, classifier):
        port, admin = free_port(), free_port()
        env = {k: v for k, v in os.environ.items() if not k.startswith(("BRAINSTEM_", "VICTORIA_", "MLX_"))}
        env |= {"BRAINSTEM_PROXY_THREADS": "1", "BRAINSTEM_CLASSIFIER_MODE": classifier}
        command = [self.flags.brainstem, "serve", "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}",
                   "--upstream", f"http://127.0.0.1:{upstream}"]
        return self.start(name, command, port, self.proxies_on, env=env, admin=admin)

    def set_up(self):
        answering, reading = free_port(), free_port()
        self.nginx("answering", lambda home: upstreams.nginx_answering(answering, home), answering, self.others_on)
        reader = [sys.executable, os.path.join(HERE, "upstreams.py"), "reader", "--port", str(reading)]
        self.start("reading", reader, reading, self.others_on).wait()
        self.time_starts(answering)
        self.direct = {"small": answering, "large": reading}
        self.targets = {}
        for load, upstream in self.direct.items():
            port = free_port()
            nginx = self.nginx(f"nginx-{load}", lambda home: upstreams.nginx_forwarding(port, upstream, home), port, self.proxies_on)
            port = free_port()
            command = [self.flags.bare, "--listen", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{upstream}"]
            bare = self.start(f"bare-{load}", command, port, self.proxies_on).wait()
            self.targets[load] = {"nginx": nginx, "bare": bare, "brainstem": self.brainstem(f"on-{load}", upstream, "on").wait()}
        self.targets["small"]["rules"] = self.brainstem("off-small", answering, "off").wait()
        for row in ROWS.values():
            row.path = os.path.join(self.work, row.name.replace(" ", "-"))
            with open(row.path, "wb") as f:
                f.write(row.body)
        self.await_classifier(self.targets["small"]["brainstem"])
        for row in ROWS.values():
            self.check(row)

    def time_starts(self, upstream):
        """From the process's start to its first local answer."""
        took = []
        for n in range(5):
            clock = time.monotonic()
            server = self.brainstem(f"start-{n}", upstream, "on")
            while time.monotonic() - clock < 20 and server.process.poll() is None:
                try:
                    if request(server.port, "POST", PATH, ROWS["greeting"].body)[1]["x-brainstem-route"] == "local":
                        break
                except OSError:
                    time.sleep(0.001)
            took.append(time.monotonic() - clock)
            server.stop()
            self.servers.remove(server)
        self.first_answer = statistics.median(took)

    def await_classifier(self, server):
        end, self.classifier = time.monotonic() + 20, "not ready"
        while time.monotonic() < end:
            found = re.search(r"^brainstem_classifier_up (\d)", self.metrics(server), re.M)
            if found and found[1] == "1":
                self.classifier = "ready"
                return
            time.sleep(0.05)

    def metrics(self, server):
        return request(server.admin, "GET", "/metrics")[2].decode()

    def check(self, row):
        for name in row.targets:
            status, headers, _ = request(self.targets[row.load][name].port, "POST", PATH, row.body)
            said = {key: headers.get("x-brainstem-" + key) for key in row.want}
            if status != 200 or name in ("brainstem", "rules") and said != row.want:
                sys.exit(f"{row.name}: {name} said {status} {said}, not 200 {row.want}; have the rules changed?")

    def wrk(self, row, port, conns, pids=()):
        lua = os.path.join(self.work, "post.lua")
        if not os.path.exists(lua):
            with open(lua, "w") as f:
                f.write(LUA)
        command = [self.flags.wrk, "-t1", f"-c{conns}", f"-d{self.flags.seconds}s", "--timeout", "10s", "--latency", "-s", lua,
                   f"http://127.0.0.1:{port}{PATH}"]
        before, old = cpu(pids), ticks(pids)
        ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "BENCH_BODY": row.path}, timeout=60)
        spent, coarse = cpu(pids) - before, ticks(pids)
        found = re.search(r"^@@(.*)$", ran.stdout, re.M)
        if not found:
            sys.exit(f"{row.name}: wrk: {(ran.stderr or ran.stdout)[-500:]}")
        seen = json.loads(found[1])
        if seen["errors"] or not seen["requests"]:
            sys.exit(f"{row.name}: {seen['errors']} errors, {seen['requests']} answers")
        seen["cpu"] = spent / seen["requests"] * 1e6
        # Two counters of the kernel for one thing; ticks are coarse.
        if coarse is not None and spent > 0.5 and abs(coarse - old - spent) > 0.25 * spent:
            self.doubts.append(f"{row.name}: {spent:.2f} s by schedstat, {coarse - old:.2f} s by ticks")
        return seen

    def run(self):
        self.doubts = []
        rows = [key for key in ROWS if not self.flags.rows or key in self.flags.rows.split(",")]
        seen = {key: {name: {"cpu": [], "p50": [], "p99": []} for name in ROWS[key].targets} for key in rows}
        asked = self.metrics(self.targets["small"]["brainstem"])
        for n in range(self.flags.rounds):
            for key in rows:
                row = ROWS[key]
                k = n % len(row.targets)
                direct = self.wrk(row, self.direct[row.load], 1)
                for name in row.targets[k:] + row.targets[:k]:
                    server, into = self.targets[row.load][name], seen[key][name]
                    got = self.wrk(row, server.port, row.conns, server.pids)
                    into["cpu"].append(got["cpu"])
                    if row.conns > 1:
                        got = self.wrk(row, server.port, 1)
                    for p in ("p50", "p99"):
                        into[p].append(got[p] - direct[p])
                print(f"    round {n + 1}, {row.name}: " + ", ".join(f"{name} {seen[key][name]['cpu'][-1]:.1f}" for name in row.targets)
                      + " us", flush=True)
        self.outcomes = difference(asked, self.metrics(self.targets["small"]["brainstem"]))
        return seen

    def stop(self):
        for server in self.servers:
            server.stop()
        shutil.rmtree(self.work, ignore_errors=True)


def difference(before, after):
    """What came of asking the classifier in between."""
    read = lambda text: {o: float(v) for o, v in re.findall(r'classifier_requests_total\{outcome="(\w+)"\} ([\d.e+]+)', text)}
    was = read(before)
    return {outcome: int(count - was.get(outcome, 0)) for outcome, count in read(after).items() if count > was.get(outcome, 0)}


# ---- the report ----

def ratio(seen, row, name, base):
    return statistics.median(a / b for a, b in zip(seen[row][name]["cpu"], seen[row][base]["cpu"]))


def table(seen):
    out = ["| | proxy | CPU, µs a request | × bare Pingora | × nginx | added p50, µs | added p99, µs |",
           "|---|---|--:|--:|--:|--:|--:|"]
    for key, targets in seen.items():
        row = ROWS[key]
        for name, got in targets.items():
            head = f"{row.name} ({len(row.body):,} B, {row.conns} connection{'s' if row.conns > 1 else ''})" if name == row.targets[0] else ""
            mid = {what: statistics.median(values) for what, values in got.items()}
            out.append(f"| {head} | {SHOWN[name]} | {mid['cpu']:.1f} ({min(got['cpu']):.1f}-{max(got['cpu']):.1f}) | "
                       f"{ratio(seen, key, name, 'bare'):.2f} | {ratio(seen, key, name, 'nginx'):.2f} | {mid['p50']:+.0f} | {mid['p99']:+.0f} |")
    return out


def floors(seen, inside):
    out = ["| what | floor | measured | |", "|---|---|---|---|"]
    for key, name, base, most in FLOORS:
        if key in seen:
            got = ratio(seen, key, name, base)
            out.append(f"| {ROWS[key].name} | at most {most:.2f} × the CPU of {SHOWN[base]} | {got:.2f} × | {'PASS' if got <= most else 'MISS'} |")
    for line in inside:
        if line["floor"]:
            measured, _, most = line["floor"].rpartition(", ")
            if not measured:
                measured, most = f"{line['p99_us'] / 1000:.2f} ms", line["floor"]
            out.append(f"| {line['what']} | {most} | {measured} | {'PASS' if line['met'] else 'MISS'} |")
    return out


def time_of(us):
    if us is None:
        return ""
    return f"{us / 1000:.2f} ms" if us >= 1000 else f"{us:.2f} µs" if us < 10 else f"{us:.0f} µs"


def parts(inside):
    out = ["| | p50 | p99 |", "|---|--:|--:|"]
    return out + [f"| {line['what']} | {time_of(line['p50_us'])} | {time_of(line['p99_us'])} |" for line in inside]


def first_line(command):
    try:
        ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        return ((ran.stdout or "") + (ran.stderr or "")).strip().splitlines()[0]
    except (OSError, IndexError):
        return "?"


def machine():
    name = platform.processor() or platform.machine()
    if LINUX:
        with open("/proc/cpuinfo") as f:
            name = (re.findall(r"^model name\s*: (.*)$", f.read(), re.M) or [name])[0]
    elif shutil.which("sysctl"):
        name = first_line(["sysctl", "-n", "machdep.cpu.brand_string"])
    return f"{name}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}"


def versions(bench, flags):
    with open(os.path.join(ROOT, "Cargo.lock")) as f:
        pingora = re.search(r'^name = "pingora"\nversion = "(.*)"', f.read(), re.M)[1]
    nginx = first_line([flags.nginx, "-v"]).replace("nginx version: ", "").replace("/", " ")
    wrk = first_line([flags.wrk, "-v"]).split(" [")[0]
    return f"{first_line([flags.brainstem, '--version'])} ({first_line(['git', 'describe', '--always', '--dirty'])}), Pingora {pingora}, {nginx}, {wrk}, {first_line(['rustc', '--version'])}"


def report(bench, seen, inside):
    flags = bench.flags
    pinned = ("proxies on one CPU, wrk and upstreams on the others" if bench.proxies_on else "nothing pinned")
    said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(bench.outcomes.items())) or "nothing asked"
    out = ["# What a request costs", "", "Written by `make bench`; how it is measured stands in `benches/overhead.py`.", "",
           f"- {datetime.date.today()}, {machine()}; load average {os.getloadavg()[0]:.1f} at the end",
           f"- {versions(bench, flags)}",
           f"- one thread in every proxy, {pinned}; {flags.rounds} rounds of {flags.seconds} s; medians (smallest-largest)",
           f"- the classifier was {bench.classifier}; what came of asking it: {said}",
           f"- from the start of the process to its first local answer: {bench.first_answer * 1000:.0f} ms", "",
           "## Floors", "", *floors(seen, inside), "",
           "Compare ratios, not microseconds: the machine is shared.", "",
           "## Forwarded and answered", "", *table(seen), "",
           "Added latency is at one connection, against the upstream asked without a proxy; a local answer can be faster than it."]
    if inside:
        out += ["", "## Inside, without sockets", "", *parts(inside)]
    if bench.doubts:
        out += ["", "Two counters disagreed:", ""] + [f"- {doubt}" for doubt in bench.doubts]
    return "\n".join(out) + "\n"


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("nginx", "wrk", "brainstem", "bare"):
        flags.add_argument(f"--{name}", required=True, metavar="PROGRAM")
    flags.add_argument("--inside", metavar="PROGRAM", help="the bench `inside`; left out: only the proxies")
    flags.add_argument("--rows", help=f"some of {','.join(ROWS)}")
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--seconds", type=int, default=1, help="of each run of wrk")
    flags.add_argument("--out", default=os.path.join(HERE, "results.md"))
    flags = flags.parse_args()
    inside = []
    if flags.inside:
        print("==> Inside the process", flush=True)
        ran = subprocess.run([flags.inside, "--json"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        if ran.returncode:
            sys.exit("the bench `inside` broke off")
        inside = json.loads(ran.stdout.splitlines()[-1])
    print("==> Proxies", flush=True)
    bench = Bench(flags)
    try:
        bench.set_up()
        seen = bench.run()
        text = report(bench, seen, inside)
    finally:
        bench.stop()
    with open(flags.out, "w") as f:
        f.write(text)
    print("\n" + text)
    print(f"written to {os.path.relpath(flags.out)}")


if __name__ == "__main__":
    main()
