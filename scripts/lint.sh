#!/usr/bin/env bash
# `make lint`: everything that reads the code without running it. A linter that is not installed is skipped, and said so.
set -uo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root" || exit 1
bad=0

check() { # check NAME COMMAND …
  step "$1"
  shift
  "$@" || bad=1
}
skip() { say "skipped: $1 ($2)"; }

if cargo fmt --version >/dev/null 2>&1; then check rustfmt cargo fmt --check; else skip rustfmt "rustup component add rustfmt"; fi
if cargo clippy --version >/dev/null 2>&1; then
  check clippy cargo clippy --locked --all-targets -- -D warnings
else
  skip clippy "rustup component add clippy"
fi
if deny=$(scripts/tools.sh cargo-deny); then
  check "cargo deny" "$deny" --locked check bans licenses sources
  # The advisories come from GitHub.
  step "cargo deny, advisories"
  out=$("$deny" --locked check advisories 2>&1); code=$?
  case $code:$out in
    0:*) say "no advisories" ;;
    *"failed to fetch"* | *"failed to clone"* | *"unable to"*) skip advisories "the advisory database on GitHub cannot be reached" ;;
    *) say "$out"; bad=1 ;;
  esac
else
  skip "cargo deny" "it could not be built"
fi
if shellcheck=$(scripts/tools.sh shellcheck); then
  check shellcheck "$shellcheck" -x -P SCRIPTDIR -S warning scripts/*.sh tests/*.sh tests/e2e/run.sh tests/e2e/console/run.sh benches/run.sh .ci/run
else
  skip shellcheck "not installed"
fi
check "console's page" scripts/console.sh check
exit $bad
