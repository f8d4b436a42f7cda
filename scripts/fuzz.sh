#!/usr/bin/env bash
# `make fuzz`: every target under fuzz/ for a while (needs a C++ compiler; no nightly toolchain).
#   scripts/fuzz.sh SECONDS_EACH
set -euo pipefail
. "$(dirname "$0")/lib.sh"
seconds=${1:-30}
cd "$root"
[ -f fuzz/Cargo.toml ] || die "there is no fuzz/Cargo.toml"
fuzz=$(scripts/tools.sh cargo-fuzz) || die "cargo-fuzz is needed"
# cargo-fuzz sets RUSTFLAGS, which replaces the run path that .mlx/cargo.toml gives.
export LD_LIBRARY_PATH=$root/.mlx/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# The sanitizer's flags are unstable ones.
export RUSTC_BOOTSTRAP=1
target=$(rustc -vV | sed -n 's/^host: //p')
for name in $("$fuzz" list); do
  step "fuzz $name, $seconds s"
  "$fuzz" run --target "$target" "$name" -- -max_total_time="$seconds" -rss_limit_mb=4096 -print_final_stats=1
done
