"""The plots of docs/benchmarks.md: docs/benchmarks/NAME-light.svg and NAME-dark.svg."""
import os
from contextlib import contextmanager

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot, ticker  # noqa: E402

from figures import added, median, slope  # noqa: E402
from overhead import ROOT  # noqa: E402

FOLDER = os.path.join(ROOT, "docs/benchmarks")

# Ink, grid, everybody, bare Pingora, brainstem.
THEMES = {"light": ("#1f2328", "#d0d7de", "#8c959f", "#bc8f00", "#0969da"),
          "dark": ("#e6edf3", "#30363d", "#7d8590", "#d29922", "#4493f8")}


def shown(name, said):
    """For the page: the one that fits the reader's theme."""
    return ["<picture>", f'  <source media="(prefers-color-scheme: dark)" srcset="benchmarks/{name}-dark.svg">',
            f'  <img alt="{said}" src="benchmarks/{name}-light.svg">', "</picture>"]


class Theme:
    def __init__(self, name):
        self.name = name
        self.ink, self.grid, self.other, self.bare, self.ours = THEMES[name]

    def colour(self, target):
        return {"brainstem": self.ours, "rules": self.ours, "bare": self.bare}.get(target, self.other)

    @contextmanager
    def drawn(self, name, columns, rows=1, width=9.0, height=3.2, **more):
        style = {"svg.fonttype": "none", "svg.hashsalt": "brainstem", "font.family": "sans-serif", "font.size": 9,
                 "text.color": self.ink, "axes.labelcolor": self.ink, "axes.edgecolor": self.grid, "axes.titlesize": 10,
                 "axes.titlelocation": "left", "xtick.color": self.ink, "ytick.color": self.ink, "axes.grid": True, "grid.color": self.grid,
                 "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
        with pyplot.rc_context(style):
            figure, axes = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained", **more)
            yield axes.flatten()
            for one in figure.axes:
                one.minorticks_off()
            figure.savefig(os.path.join(FOLDER, f"{name}-{self.name}.svg"), transparent=True, metadata={"Date": None})
            pyplot.close(figure)


def in_order(compare, row):
    """Those that gave an answer, the dearest first: that is at the foot of the axis."""
    cost = {name: median(runs, "cpu_us") for name, runs in compare["rows"][row].items() if name != "direct"}
    return sorted((name for name in cost if cost[name] is not None), key=cost.get, reverse=True)


def logarithmic(axis, said):
    """Decades, and where there are few of them what lies between, in words."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    steps = (1,) if high > 1000 * low else (1, 3)
    axis.set_major_locator(ticker.LogLocator(subs=steps, numticks=8))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: said(value)))


def counted(value):
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def lasting(us):
    return f"{us / 1e6:g} s" if us >= 1e6 else f"{us / 1e3:g} ms" if us >= 1e3 else f"{us:g} µs"


def label(compare, name):
    return compare["targets"][name]["shown"]


def cpu(theme, compare):
    row = "2k-16"
    order = in_order(compare, row)
    values = [median(compare["rows"][row][name], "cpu_us") for name in order]
    with theme.drawn("cpu", 1) as (axes,):
        bars = axes.barh([label(compare, name) for name in order], values, color=[theme.colour(name) for name in order], height=0.65)
        axes.bar_label(bars, [f"{value:,.0f} µs" for value in values], padding=3)
        logarithmic(axes.xaxis, lasting)
        axes.grid(axis="y", visible=False)
        axes.set_title("CPU of a forwarded 2 KB ask, 16 connections (logarithmic)")
        axes.margins(x=0.15)


def ranges(axes, theme, compare, order, low_high):
    """From p50, a dot, to p99."""
    for place, name in enumerate(order):
        low, high = low_high(name)
        if low is None or high is None:
            continue
        # What is no longer than without anything between has no place on a logarithmic axis.
        low, high = max(low, 10), max(high, 10)
        axes.plot([low, high], [place, place], color=theme.colour(name), linewidth=3, alpha=0.5, solid_capstyle="round")
        axes.plot([low], [place], "o", color=theme.colour(name), markersize=6)
    axes.set_yticks(range(len(order)), [label(compare, name) for name in order])
    logarithmic(axes.xaxis, lasting)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel("p50 to p99")


def latency(theme, compare):
    with theme.drawn("latency", 3, width=11, sharey=True) as panels:
        order = in_order(compare, "2k-1")
        for axes, connections in zip(panels, (1, 16, 256)):
            seen = compare["rows"][f"2k-{connections}"]
            ranges(axes, theme, compare, order, lambda name: (added(seen, name, "p50_us"), added(seen, name, "p99_us")))
            axes.set_title(f"added, {connections} connection{'s' if connections > 1 else ''}")


def streams(theme, compare):
    with theme.drawn("streams", 4, width=13, sharey=True) as panels:
        order = [*in_order(compare, "streams-50"), "direct"]
        for place, count in enumerate((50, 500)):
            seen = compare["rows"][f"streams-{count}"]
            for axes, (key, said) in zip(panels[2 * place:], (("first_us", "first chunk"), ("jitter_us", "jitter"))):
                ranges(axes, theme, compare, order, lambda name: tuple(median(seen[name], f"{key}.{at}") for at in ("p50", "p99")))
                axes.set_title(f"{said}, {count} streams")


def memory(theme, compare):
    held = compare["memory"]
    order = sorted(held, key=lambda name: held[name]["open_mib"], reverse=True)
    with theme.drawn("memory", 1, height=4) as (axes,):
        for offset, key, said, alpha in ((0.26, "rest_mib", "at rest", 0.45), (0, "open_mib", "under idle streams", 1.0), (-0.26, "after_mib", "after they ended", 0.7)):
            places = [place + offset for place in range(len(order))]
            bars = axes.barh(places, [held[name][key] for name in order], height=0.24, alpha=alpha, color=[theme.colour(name) for name in order], label=said)
            axes.bar_label(bars, [f"{said}: {held[name][key]:.0f}" for name in order], padding=3, fontsize=6.5)
        axes.set_yticks(range(len(order)), [label(compare, name) for name in order])
        logarithmic(axes.xaxis, counted)
        axes.grid(axis="y", visible=False)
        axes.set_title(f"Memory in MiB, {compare['settings']['idle']:,} idle streams (logarithmic)")
        axes.margins(x=0.15)


def decision(theme, found):
    with theme.drawn("decision", 1) as (axes,):
        for place, (name, seen) in enumerate(found["systems"].items()):
            colour = theme.ours if name.startswith("brainstem") else theme.other
            if "accuracy" not in seen:
                axes.axvline(seen["p50_us"], color=colour, linewidth=1, linestyle="--")
                axes.annotate(name, (seen["p50_us"], 0.03), xycoords=("data", "axes fraction"), xytext=(4, 0), textcoords="offset points")
                continue
            high = seen["accuracy"] * 100
            axes.plot([seen["p50_us"], seen["p99_us"]], [high, high], color=colour, linewidth=3, alpha=0.5, solid_capstyle="round")
            axes.plot([seen["p50_us"]], [high], "o", color=colour)
            # By turns above and below: neighbours lie close together.
            axes.annotate(name, (seen["p50_us"], high), xytext=(0, -14 if place % 2 else 6), textcoords="offset points")
        logarithmic(axes.xaxis, lasting)
        axes.set_xlabel("p50 to p99")
        axes.set_ylabel("accuracy, %")
        axes.margins(x=0.35, y=0.25)


# Panel: title, unit of the axis, lines.
PANELS = [("message", "bytes", ["message", "history"]), ("rules", "rules", ["rules", "rules-load"]), ("answers", "answers", ["answers", "answers-load"]),
          ("taught phrases", "phrases", ["examples", "examples-load"]), ("categories", "categories", ["categories"]),
          ("streams at once", "streams", ["streams-brainstem", "streams-bare"])]
LINES = {"message": "one message", "history": "a history", "streams-brainstem": "brainstem", "streams-bare": "Pingora, no filter"}


def growth(theme, lines):
    with theme.drawn("growth", 3, rows=2, width=11, height=6) as panels:
        for axes, (title, unit, keys) in zip(panels, PANELS):
            axes.set_title(title)
            axes.set_xlabel(unit)
            for place, key in enumerate(key for key in keys if key in lines):
                points = lines[key][1]
                colour = (theme.ours, theme.bare)[place]
                said = LINES.get(key, "load" if key.endswith("-load") else "decide")
                axes.plot(*zip(*points), "o-", color=colour, markersize=3.5, label=f"{said}, slope {slope(points):.2f}")
            if axes.lines:
                # What in step with it would look like, from the first line's last point.
                (x, y), points = lines[keys[0]][1][-1], lines[keys[0]][1]
                axes.plot([x / 30, x], [y / 30, y], ":", color=theme.other, linewidth=1)
                logarithmic(axes.xaxis, counted)
                logarithmic(axes.yaxis, lasting)
                axes.legend(fontsize=7.5)


def draw(found, lines):
    os.makedirs(FOLDER, exist_ok=True)
    for theme in map(Theme, THEMES):
        if "compare" in found:
            for plot in (cpu, latency, streams, memory):
                plot(theme, found["compare"])
        if "decision" in found:
            decision(theme, found["decision"])
        if lines:
            growth(theme, lines)
