#!/usr/bin/env bash
# Teaches the classifier from nothing but this repository, PyPI, crates.io and the public sets: some hours on two cores.
# usage: scripts/teach/make.sh DATA_DIR [OUT_DIR]      SMOKE=1: a handful of steps each, to see that every stage runs
# DATA_DIR holds the public sets as docs/classifier.md lists them. OUT_DIR (.cache/teach/out) gets model.safetensors,
# config.json, tokenizer.json and golden.json. Seeds and steps are fixed. The weights that ship came of the same stages in several passes (docs/classifier.md),
# so this makes weights of their kind, not their bytes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib.sh"
[ $# -ge 1 ] || { say "usage: $0 DATA_DIR [OUT_DIR]" >&2; exit 2; }
[ -d "$1" ] || die "no such folder: $1"
TEACH_DATA=$(cd "$1" && pwd)
TEACH_WORK=$cache/teach
[ -z "${SMOKE:-}" ] || TEACH_WORK=$cache/teach/smoke
mkdir -p "$TEACH_WORK" "${2:-$TEACH_WORK/out}"
out=$(cd "${2:-$TEACH_WORK/out}" && pwd)
export TEACH_DATA TEACH_WORK PYTHONDONTWRITEBYTECODE=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}

venv=$cache/teach/venv
python=$venv/bin/python
if ! fresh "$venv/stamp" "$(cat "$here/requirements.txt")"; then
  step "Python packages"
  python_env "$venv"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "python3 3.11 or newer is needed"
  retry "$python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cat "$here/requirements.txt" >"$venv/stamp"
fi
step "Features"
CARGO_TARGET_DIR=$TEACH_WORK/feat cargo build --quiet --release --locked --manifest-path "$here/feat/Cargo.toml"
for stage in vocab teacher pool student; do
  step "$stage"
  "$python" "$here/$stage.py"
done
step "export"
"$python" "$here/export.py" "$out"
step "check"
"$python" "$here/check.py" "$out"
say "The model is in $out."
