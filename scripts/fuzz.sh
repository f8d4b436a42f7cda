#!/usr/bin/env bash
# `make fuzz`: every target under fuzz/ for a while, with libFuzzer. Needs a C++ compiler, and neither a nightly
# toolchain nor cargo-fuzz: fuzz/rustc.sh says how. What a target finds is kept in fuzz/artifacts.
#   scripts/fuzz.sh [SECONDS_EACH [TARGET …]]
set -euo pipefail
. "$(dirname "$0")/lib.sh"
seconds=${1:-30}
shift $(($# > 0 ? 1 : 0))
cd "$root"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
[ $# -gt 0 ] || set -- ask_parse with_model rules_load dialect_write stream_end

step "build the fuzz targets"
(cd fuzz && RUSTC_WRAPPER=$root/fuzz/rustc.sh cargo build)

for name; do
  step "fuzz $name, $seconds s"
  # What it starts from, besides what it found before: real requests, or the rules that ship.
  seeds=tests/fixtures/captures
  [ "$name" != rules_load ] || seeds=rules
  mkdir -p "fuzz/corpus/$name" "fuzz/artifacts/$name"
  "$CARGO_TARGET_DIR/debug/$name" "fuzz/corpus/$name" "$seeds" -artifact_prefix="fuzz/artifacts/$name/" \
    -max_total_time="$seconds" -max_len=8192 -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0
done
