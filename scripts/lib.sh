# shellcheck shell=bash disable=SC2034
# What the scripts share. Sourced, not run; works in bash 3.2 (macOS).

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache

say() { printf '%s\n' "$*"; }
step() { printf '\033[1m==> %s\033[0m\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# retry COMMAND …: four attempts, for registries that hiccup.
retry() {
  local attempt pause=2
  for attempt in 1 2 3 4; do
    "$@" && return 0
    [ "$attempt" = 4 ] && break
    say "    attempt $attempt of \`$1 …\` did not work; again in $pause s" >&2
    sleep "$pause"
    pause=$((pause * 2))
  done
  return 1
}

# fresh FILE TEXT: does the stamp FILE hold exactly TEXT?
fresh() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

# report RESULT NAME [WHY]: one line for the summary of `make test`.
report() {
  [ -z "${BRAINSTEM_SUMMARY:-}" ] || printf '%s\t%s\t%s\n' "$1" "$2" "${3:-}" >>"$BRAINSTEM_SUMMARY"
}

# listens PORT: is anything listening on 127.0.0.1:PORT?
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# debian_unpack DIR PACKAGE …: Debian packages unpacked into DIR, without root; apt's lists are fetched into DIR for the
# while when the system has none.
debian_unpack() {
  local dir=$1 own
  shift
  have apt-get && have dpkg-deb || return 1
  mkdir -p "$dir/lists/partial"
  (
    cd "$dir" || exit 1
    own="-o Dir::State::Lists=$dir/lists -o Dir::Cache=$dir -o APT::Sandbox::User=$(id -un)"
    # shellcheck disable=SC2086  # several options
    apt-get download -qq "$@" >/dev/null 2>&1 ||
      { retry apt-get $own update -qq >/dev/null 2>&1 && apt-get $own download -qq "$@" >/dev/null 2>&1; }
    for package in *.deb; do dpkg-deb -x "$package" . || exit 1; done
    rm -rf lists ./*.deb ./*.bin archives
  ) 2>/dev/null
}

# tool NAME PACKAGE …: prints the path of the system's own, or of one from Debian packages in .cache/bench.
tool() {
  local name=$1 dir=$cache/bench/$1 found libraries
  shift
  found=$(PATH=$PATH:/usr/sbin:/opt/homebrew/bin:/usr/local/sbin command -v "$name") && say "$found" && return 0
  [ -x "$dir/run" ] && say "$dir/run" && return 0
  rm -rf "$dir"
  debian_unpack "$dir" "$@" || return 1
  found=$(find "$dir/usr" -path "*bin/$name" -type f)
  [ -n "$found" ] || return 1
  libraries=$(find "$dir" -name '*.so*' -exec dirname {} + | sort -u | paste -sd: -)
  printf '#!/bin/sh\nexport LD_LIBRARY_PATH="%s"\nexec "%s" "$@"\n' "$libraries" "$found" >"$dir/run"
  chmod +x "$dir/run"
  say "$dir/run"
}

# bench_programs NAME …: builds benches; prints the name of each and where its program lies.
bench_programs() {
  local name flags=
  for name in "$@"; do flags="$flags --bench $name"; done
  # shellcheck disable=SC2086  # several words
  cargo bench --locked --no-run --message-format=json $flags |
    python3 -c 'import json, sys
for line in sys.stdin:
    made = json.loads(line)
    if made.get("executable") and "bench" in made["target"]["kind"]:
        print(made["target"]["name"], made["executable"])'
}

target_directory() {
  cargo metadata --locked --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])'
}

# Debian's python3 comes without ensurepip and without pip. `venv --without-pip` still works, and pip's own wheel
# can run itself; so neither python3-venv nor root is needed.
pip_wheel=pip-26.3-py3-none-any.whl
python_env() { # python_env DIR: a virtual environment with pip
  local dir=$1
  [ -x "$dir/bin/pip" ] && "$dir/bin/python" -c 'import pip' 2>/dev/null && return 0
  rm -rf "$dir"
  have python3 || die "python3 is needed: sudo apt-get install python3"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' || die "python3 3.9 or newer is needed"
  python3 -m venv "$dir" >/dev/null 2>&1 && [ -x "$dir/bin/pip" ] && return 0
  rm -rf "$dir"
  python3 -m venv --without-pip "$dir" 2>/dev/null ||
    die "python3 cannot make a virtual environment here. This mends it: sudo apt-get install python3-venv"
  local wheel
  wheel=$(ls /usr/share/python-wheels/pip-*.whl 2>/dev/null | tail -1 || true)
  if [ -z "$wheel" ]; then
    wheel=$(retry fetch_pip "$dir") ||
      die "pip could not be fetched from PyPI. This mends it: sudo apt-get install python3-venv"
  fi
  "$dir/bin/python" "$wheel/pip" install --quiet --no-index --disable-pip-version-check "$wheel" 2>/dev/null ||
    retry "$dir/bin/python" "$wheel/pip" install --quiet --disable-pip-version-check pip
}

fetch_pip() { # fetch_pip DIR: pip's wheel from PyPI into DIR, checked against the hash that the index gives; prints its path
  "$1/bin/python" - "$1" "$pip_wheel" <<'PY'
import hashlib, json, sys, urllib.request
where, name = sys.argv[1:]
try:
    index = urllib.request.Request("https://pypi.org/simple/pip/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    files = json.load(urllib.request.urlopen(index, timeout=60))["files"]
    wheel = next(file for file in files if file["filename"] == name)
    data = urllib.request.urlopen(wheel["url"], timeout=60).read()
except (OSError, StopIteration) as reason:
    sys.exit(f"    {name}: {reason!r}")
if hashlib.sha256(data).hexdigest() != wheel["hashes"]["sha256"]:
    sys.exit(f"    {name} arrived damaged")
path = f"{where}/{name}"
open(path, "wb").write(data)
print(path)
PY
}
