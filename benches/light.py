"""The light model and mlx-lm on the same weights, in turns: light.py DIR BENCH [TURNS]
BENCH is the built benches/light.rs. Prints a line of figures for each and their ratio (ours over theirs; for the first token
theirs over ours), so that more is better. Needs mlx-lm; a machine that is busy with other things spoils times, less so ratios."""
import json
import resource
import subprocess
import sys
import time


def theirs(directory, rounds):
    import mlx.core as mx
    from mlx_lm.generate import generate_step
    from mlx_lm.utils import load_model
    from pathlib import Path
    mx.set_cache_limit(64 << 20)
    model, _ = load_model(Path(directory))
    prompt = lambda seed, length: mx.array([300 + (seed * 977 + i * 131) % 5000 for i in range(length)])  # noqa: E731

    def first(ids):
        clock = time.perf_counter()
        next(generate_step(ids, model, max_tokens=1))
        return time.perf_counter() - clock

    times = [[], [], []]
    for turn in range(rounds + 1):
        short, read = first(prompt(3 * turn, 20)), first(prompt(3 * turn + 1, 256))
        steps = generate_step(prompt(3 * turn + 2, 20), model, max_tokens=49)
        next(steps)
        clock = time.perf_counter()
        for _ in range(48):
            next(steps)
        written = time.perf_counter() - clock
        if turn:
            for kept, value in zip(times, (short, read, written)):
                kept.append(value)
    short, read, written = map(min, times)
    return {"first_token_ms": short * 1e3, "prefill_tokens_s": 256 / read, "decode_tokens_s": 48 / written,
            "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main(directory, bench, turns):
    ours, other = [], []
    for _ in range(turns):
        ours.append(json.loads(subprocess.check_output([bench, directory, "3"])))
        other.append(json.loads(subprocess.check_output([sys.executable, __file__, "--theirs", directory])))
    best = lambda all, key: (min if key.endswith(("ms", "mb")) else max)(one[key] for one in all)  # noqa: E731
    for key in ours[0]:
        a, b = best(ours, key), best(other, key)
        print(f"{key:18} ours {a:9.1f}   mlx-lm {b:9.1f}   ratio {b / a if key.endswith(('ms', 'mb')) else a / b:.2f}")


if sys.argv[1] == "--theirs":
    print(json.dumps(theirs(sys.argv[2], 3)))
else:
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 3)
