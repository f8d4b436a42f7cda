#!/usr/bin/env bash
# The console in a real Chromium. Sets itself up: npm packages here; Chromium is the system's own, else Debian's if this
# is root. Screenshots in .cache/screens.
#   tests/e2e/console/run.sh
# BRAINSTEM_BIN   the binary (default: target/debug/brainstem, built first);  CHROMIUM   the browser
set -uo pipefail
. "$(dirname "$0")/../../../scripts/lib.sh"
cd "$root" || exit 1
here=tests/e2e/console
name="console in Chromium"
skip() { say "skipped: $name ($1)"; report skipped "$name" "$1"; exit 0; }
fail() { report FAILED "$name" "$1"; exit 1; }

node_major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
[ "${node_major:-0}" -ge 18 ] && have npm || skip "node 18 or newer and npm are needed, found ${node_major:-none}"

browser() { for found in chromium chromium-browser google-chrome; do command -v $found && return; done; return 1; }
if [ -z "${CHROMIUM:-}" ] && ! CHROMIUM=$(browser); then
  [ "$(id -u)" = 0 ] && have apt-get || skip "no Chromium: sudo apt-get install chromium, or CHROMIUM=…"
  step "Chromium from Debian (once)"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } \
    >"$cache/chromium.log" 2>&1
  CHROMIUM=$(browser) || skip "no Chromium, and Debian's could not be installed: .cache/chromium.log"
fi
export CHROMIUM

if [ -z "${BRAINSTEM_BIN:-}" ]; then
  scripts/setup-mlx.sh && cargo build --locked || fail "the build"
  export BRAINSTEM_BIN=$root/target/debug/brainstem
fi

lock=$(cat $here/package-lock.json)
if ! fresh $here/node_modules/.stamp "$lock"; then
  step "Playwright (once)"
  (cd $here && retry npm ci --no-audit --no-fund --loglevel=error) && printf '%s' "$lock" >$here/node_modules/.stamp
fi
fresh $here/node_modules/.stamp "$lock" || skip "its packages could not be installed"

since=$SECONDS
step "$name"
node --test --test-reporter=spec $here/console.test.mjs || fail "screenshots in .cache/screens"
report ran "$name" "$((SECONDS - since)) s"
