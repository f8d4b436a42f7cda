"""What is read off the results: medians over rounds, ratios and differences made within each round."""
import math
import statistics


def deep(run, path):
    """`path` like "jitter_us.p99"; None where nothing came."""
    for key in path.split("."):
        run = run[key] if run else None
    return run


def median(runs, path):
    seen = [value for value in (deep(run, path) for run in runs) if value is not None]
    return statistics.median(seen) if seen else None


def span(runs, path):
    seen = [value for value in (deep(run, path) for run in runs) if value is not None]
    return (min(seen), max(seen)) if seen else None


def paired(runs, others, path, combine):
    """The median over the rounds that both took part in."""
    theirs = {run["round"]: deep(run, path) for run in others}
    seen = [combine(deep(run, path), theirs[run["round"]]) for run in runs
            if deep(run, path) is not None and theirs.get(run["round"])]
    return statistics.median(seen) if seen else None


def ratio(row, name, base, path="cpu_us"):
    return paired(row.get(name, []), row.get(base, []), path, lambda mine, theirs: mine / theirs)


def added(row, name, path):
    """Beyond what the upstream takes without anything between."""
    return paired(row.get(name, []), row.get("direct", []), path, lambda mine, theirs: mine - theirs)


def slope(points, last=3):
    """The exponent with which cost grows over the last points: 0 not at all, 1 in step, 2 with the square."""
    xs, ys = zip(*((math.log(count), math.log(max(cost, 1e-3))) for count, cost in points[-last:]))
    x, y = statistics.mean(xs), statistics.mean(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)
