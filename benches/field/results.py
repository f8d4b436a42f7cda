"""benches/field/results.json: each part of the run keeps its own figures in it.

    growth --json | results.py growth
"""
import datetime
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from overhead import first_line, machine  # noqa: E402

PATH = os.path.join(HERE, "results.json")


def read():
    try:
        with open(PATH) as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def keep(part, figures):
    found = read()
    found[part] = {"when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"), "machine": machine(),
                   "commit": first_line(["git", "describe", "--always", "--dirty"]), "load": round(os.getloadavg()[0], 1), **figures}
    with open(PATH, "w") as file:
        json.dump(found, file, indent=1, ensure_ascii=False)
        file.write("\n")


if __name__ == "__main__":
    keep(sys.argv[1], {"lines": json.load(sys.stdin)})
