#!/usr/bin/env bash
# `make fuzz`: every target under fuzz/ for a while (needs a C++ compiler; no nightly toolchain).
#   scripts/fuzz.sh [SECONDS_EACH [TARGET …]]
set -euo pipefail
. "$(dirname "$0")/lib.sh"
seconds=${1:-30}
shift $(($# > 0 ? 1 : 0))
cd "$root"
fuzz=$(scripts/tools.sh cargo-fuzz) || die "cargo-fuzz is needed"
# cargo-fuzz asks for unstable flags; a stable compiler takes them so.
export RUSTC_BOOTSTRAP=1
target=$(rustc -vV | sed -n 's/^host: //p')

# What each target starts from, besides what it found before (fuzz/corpus, which is not kept).
seeds() {
  case $1 in
    ask_parse | with_model | dialect_write) say tests/fixtures/captures ;;
    rules_load) say rules ;;
  esac
}

if [ $# -eq 0 ]; then
  read -r -d "" -a all < <("$fuzz" list) || true
  set -- "${all[@]}"
fi
for name; do
  step "fuzz $name, $seconds s"
  mkdir -p "fuzz/corpus/$name"
  # No address sanitizer: the crate has no unsafe code, and without it there are twice as many runs.
  "$fuzz" run --sanitizer none --target "$target" "$name" "fuzz/corpus/$name" "$(seeds "$name")" -- \
    -max_total_time="$seconds" -max_len=8192 -timeout=20 -rss_limit_mb=4096 -print_final_stats=1
done
