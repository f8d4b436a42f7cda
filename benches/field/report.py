#!/usr/bin/env python3
"""Writes docs/benchmarks.md's figures, between its marks, and the plots beside it, from results.json. benches/field/run.sh starts it."""
import os
import re

import plots
import results
from figures import added, median, ratio, slope, span
from overhead import ROOT

PAGE = os.path.join(ROOT, "docs/benchmarks.md")
# Worse than in step with it, beyond what a busy machine does to a slope.
LINEAR = 1.15


# ---- figures in words ----

def number(value):
    if value is None:
        return ""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def time(us):
    if us is None:
        return ""
    size = abs(us)
    return f"{us / 1e6:.2f} s" if size >= 1e6 else f"{us / 1e3:.1f} ms" if size >= 1e4 else f"{us / 1e3:.2f} ms" if size >= 1e3 else f"{us:.0f} µs"


def times(value):
    return "" if value is None else f"{number(value)} ×"


def plus(us):
    return "" if us is None else ("+" if us >= 0 else "−") + time(abs(us))


def percent(share):
    return "" if share is None else f"{share * 100:.1f} %"


def table(head, rows, numbers=True):
    align = "|---|" + ("--:|" if numbers else "---|") * (len(head) - 1)
    return ["| " + " | ".join(head) + " |", align] + ["| " + " | ".join(row) + " |" for row in rows]


def taken(part):
    return f"{part['when']}, {part['machine']}, load average {part['load']} at the end; commit {part['commit']}."


# ---- against the field ----

def names(compare, row):
    """Those that gave an answer, the cheapest first."""
    seen = compare["rows"][row]
    cost = {name: median(runs, "cpu_us") for name, runs in seen.items() if name != "direct"}
    return sorted((name for name in cost if cost[name] is not None), key=cost.get)


def silent(compare, row):
    """A line on those that were asked and gave none."""
    seen = compare["rows"][row]
    there = [compare["targets"][name]["shown"] for name, runs in seen.items() if runs and name != "direct" and median(runs, "cpu_us") is None]
    return [f"\nNothing came of {', '.join(there)} in that time."] if there else []


def forwarded(compare, row):
    seen, lines = compare["rows"][row], []
    for name in names(compare, row):
        low, high = span(seen[name], "cpu_us")
        errors = sum(run["errors"] for run in seen[name])
        lines.append([compare["targets"][name]["shown"] + (f" ({errors} errors)" if errors else ""),
                      f"{number(median(seen[name], 'cpu_us'))} ({number(low)}-{number(high)})", times(ratio(seen, name, "nginx")),
                      times(ratio(seen, name, "bare")), plus(added(seen, name, "p50_us")), plus(added(seen, name, "p99_us")),
                      number(median(seen[name], "per_second"))])
    return table(["", "CPU, µs a request", "of nginx", "of bare Pingora", "added p50", "added p99", "answers a second"], lines)


def streamed(compare, row):
    seen, lines = compare["rows"][row], []
    for name in ["direct", *names(compare, row)]:
        runs = seen[name]
        whole = min(run["complete"] for run in runs)
        cpu = median(runs, "cpu_us") if name != "direct" else None
        lines.append([compare["targets"][name]["shown"], f"{whole} of {runs[0]['streams']}", time(median(runs, "first_us.p50")),
                      time(median(runs, "first_us.p99")), time(median(runs, "jitter_us.p50")), time(median(runs, "jitter_us.p99")),
                      plus(added(seen, name, "jitter_us.p99")) if name != "direct" else "", number(cpu)])
    head = ["", "complete", "first chunk p50", "p99", "jitter p50", "p99", "added p99", "CPU, µs a chunk"]
    return table(head, lines)


def remembered(compare):
    held, asked = compare["memory"], compare["settings"]["idle"]
    lines = []
    for name in sorted(held, key=lambda name: held[name]["open_mib"]):
        seen = held[name]
        opened = seen["streams"]
        each = (seen["open_mib"] - seen["rest_mib"]) * 1024 / opened if opened else None
        lines.append([compare["targets"][name]["shown"], number(seen["rest_mib"]), number(seen["open_mib"]),
                      f"{opened:,}" + ("" if opened == asked else f" of {asked:,}"), number(each), number(seen["after_mib"])])
    return table(["", "at rest, MiB", "with idle streams", "streams", "KiB a stream", "after they ended"], lines)


def field_block(found):
    compare = found.get("compare")
    if not compare:
        return ["Not measured yet."]
    settings = compare["settings"]
    out = [taken(compare), "", f"Rounds: {settings['rounds']}; runs of {settings['seconds']} s. "
           + ("Targets on one CPU, client and upstream on the others." if settings["pinned"] else "Nothing was pinned."), "",
           "| target | version | how |", "|---|---|---|"]
    out += [f"| {about['shown']} | {about['version']} | {about['note']} |" for name, about in compare["targets"].items() if name != "direct"]
    out += ["", *plots.shown("cpu", "CPU of a forwarded 2 KB ask, by target")]
    for row, title in (("2k-1", "2 KB, 1 connection"), ("2k-16", "2 KB, 16 connections"), ("2k-256", "2 KB, 256 connections"),
                       ("1m-4", "1 MB of conversation, 4 connections")):
        out += ["", f"### {title}", "", *forwarded(compare, row), *silent(compare, row)]
    out += ["", *plots.shown("latency", "Added latency at 1, 16 and 256 connections, p50 to p99, by target"), "",
            "With 16 and 256 connections every answer is followed by the next ask at once: the latency is how long the queue is, not how "
            "long one ask takes."]
    for row, count in (("streams-50", 50), ("streams-500", 500)):
        out += ["", f"### {count} streams at once, 100 chunks each, 10 ms apart", "", *streamed(compare, row), *silent(compare, row)]
        out += [f"\n{about['shown']} stands out: {about['skipped'][row]}." for about in compare["targets"].values() if about["skipped"].get(row)]
    out += ["", *plots.shown("streams", "First-byte delay and jitter of 50 and 500 streams, by target"), "",
            f"### Memory: at rest, under {settings['idle']:,} idle streams, {settings['rest']} s after the last of them", "", *remembered(compare), "",
            *plots.shown("memory", "Memory at rest, under idle streams and after them, by target")]
    return out


# ---- the decision ----

def decision_block(found):
    decision = found.get("decision")
    if not decision:
        return ["Not measured yet."]
    versions = ", ".join(f"{name} {version}" for name, version in decision["versions"].items())
    lines = [[name, time(seen["p50_us"]), time(seen["p99_us"]), percent(seen.get("accuracy")), percent(seen.get("accuracy_ru")),
              percent(seen.get("accuracy_en")), percent(seen.get("false_greeting"))] for name, seen in decision["systems"].items()]
    return [taken(decision), "", f"The {decision['n']} lines of `{decision['asks']}`, one at a time, rounds: {decision['rounds']}; {versions}, MiniLM in "
            f"{decision['minilm']} (the quickest of F32 and int8, one thread and all).", "",
            *table(["", "p50", "p99", "accuracy", "Russian", "English", "false greetings"], lines), "",
            *plots.shown("decision", "Time and accuracy of a decision")]


# ---- growth ----

def grown(found):
    """Key to (what, points), streams included."""
    lines = {key: (line["what"], line["points"]) for key, line in found.get("growth", {}).get("lines", {}).items()}
    for name, points in found.get("compare", {}).get("growth", {}).items():
        lines[f"streams-{name}"] = (f"CPU of so many streams for two seconds, a chunk every 100 ms, {found['compare']['targets'][name]['shown']}", points)
    return {key: line for key, line in lines.items() if len(line[1]) > 2}


def growth_block(found):
    lines = grown(found)
    if "growth" not in found:
        return ["Not measured yet."]
    rows = [[what, f"{points[0][0]:,}", time(points[0][1]), f"{points[-1][0]:,}", time(points[-1][1]), f"{slope(points):.2f}"]
            for what, points in lines.values()]
    return [taken(found["growth"]), "", *plots.shown("growth", "Cost against size, both axes logarithmic"), "",
            *table(["", "from", "cost", "to", "cost", "slope"], rows), "",
            "Slope: the exponent over the last three points; 0 is no growth, 1 in step, 2 with the square."]


# ---- goals ----

def goals(found):
    """(what, goal, measured, met) of everything that there are figures for."""
    compare, decision = found.get("compare"), found.get("decision")
    if compare:
        small, large = compare["rows"]["2k-16"], compare["rows"]["1m-4"]
        for row, base, most, what in ((small, "bare", 1.1, "CPU of a 2 KB ask"), (small, "nginx", 2.4, "CPU of a 2 KB ask"),
                                      (small, "envoy", 1, "CPU of a 2 KB ask"), (large, "bare", 1.4, "CPU of a 1 MB ask")):
            got = ratio(row, "brainstem", base)
            if got:
                yield what, f"at most {most} × {compare['targets'][base]['shown']}", times(got), got <= most
        for name in ("tensorzero", "portkey", "litellm"):
            got = ratio(small, name, "brainstem")
            if got:
                yield "CPU of a 2 KB ask", f"{compare['targets'][name]['shown']} takes at least 6 ×", times(got), got >= 6
        jitter = added(compare["rows"]["streams-500"], "brainstem", "jitter_us.p99")
        if jitter is not None:
            yield "jitter added to 500 streams, p99", "at most 1 ms", plus(jitter), jitter <= 1000
        held = compare["memory"]
        if "brainstem" in held and "rules" in held:
            model = held["brainstem"]["rest_mib"] - held["rules"]["rest_mib"]
            got = held["brainstem"]["open_mib"] - model
            yield "memory under 2,000 idle streams, without the model", "at most 40 MiB", f"{got:.1f} MiB (model {model:.1f})", got <= 40
            rest, during, after = (held["brainstem"][key] for key in ("rest_mib", "open_mib", "after_mib"))
            back = (during - after) / (during - rest) if during > rest else 1
            yield "of that, given back after they end", "at least 90 %", percent(back), back >= 0.9
    if decision:
        ours = decision["systems"]["brainstem, the whole decision"]
        for name, theirs in decision["systems"].items():
            if name.startswith("semantic-router"):
                for key in ("p50_us", "p99_us"):
                    yield f"{key[:3]} of a decision", f"below {name}", f"{time(ours[key])}, {time(theirs[key])}", ours[key] < theirs[key]
                yield "accuracy", f"above {name}", f"{percent(ours['accuracy'])}, {percent(theirs['accuracy'])}", ours["accuracy"] > theirs["accuracy"]
    for what, points in grown(found).values():
        got = slope(points)
        if got > LINEAR:
            yield what, "no worse than linear", f"slope {got:.2f}", False
    if found.get("growth"):
        steepest = max(slope(points) for _, points in grown(found).values())
        yield "growth of everything", "no worse than linear", f"steepest slope {steepest:.2f}", steepest <= LINEAR


def goals_block(found):
    rows = [[what, goal, got, "met" if met else "MISSED"] for what, goal, got, met in goals(found)]
    return table(["", "goal", "measured", ""], rows, numbers=False) if rows else ["Not measured yet."]


BLOCKS = {"goals": goals_block, "field": field_block, "decision": decision_block, "growth": growth_block}


def main():
    found = results.read()
    plots.draw(found, grown(found))
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    for name, block in BLOCKS.items():
        text = "\n".join(block(found))
        marks = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end -->)", re.S)
        page, times_found = marks.subn(lambda mark: f"{mark[1]}\n{text}\n\n{mark[2]}", page)
        if times_found != 1:
            raise SystemExit(f"{PAGE} has no place for {name}")
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(page)
    print("\n".join(goals_block(found)))
    print(f"written to {os.path.relpath(PAGE)}")


if __name__ == "__main__":
    main()
