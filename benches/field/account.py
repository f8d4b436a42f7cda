"""What a target's processes take: CPU as `overhead` counts it, memory from /proc."""
import re
import time

from overhead import cpu, ticks

MIB = 1024


def memory(pids):
    """Proportional set size in MiB: pages that processes share count once."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as rollup:
                total += int(re.search(r"^Pss: +(\d+) kB", rollup.read(), re.M)[1])
        except OSError:
            continue
    return round(total / MIB, 2)


class Meter:
    """CPU seconds of a target while a block runs."""

    def __init__(self, target):
        self.pids = target.pids()

    def __enter__(self):
        self.fine, self.coarse = cpu(self.pids), ticks(self.pids)
        return self

    def __exit__(self, *_):
        fine, coarse = cpu(self.pids) - self.fine, ticks(self.pids) - self.coarse
        # The fine counter forgets threads that have ended, the coarse one is too coarse for little.
        self.seconds = max(fine, coarse) if coarse > 0.5 else fine


def settle(target, patience=12):
    """Waits until a target is through with what a client has left behind."""
    pids, end = target.pids(), time.monotonic() + patience
    while pids and time.monotonic() < end:
        before = cpu(pids)
        time.sleep(0.1)
        if cpu(pids) - before < 0.01:
            return
