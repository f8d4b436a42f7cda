#!/usr/bin/env bash
# The console's page (console/) built into src/admin/page, which is committed: a build of brainstem needs no node.
#   scripts/console.sh          build it (node 18 or newer and npm)
#   scripts/console.sh check    is what is committed made of these sources? needs no node; exit code 1 if not
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"
page=src/admin/page
stamp=$page/sources.sha256

hash() { if have sha256sum; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }
files() { find "$@" -type f ! -name '.*' | LC_ALL=C sort; }
# What went in and what came out, so that neither can be changed alone.
hashes() {
  { printf '%s\n' console/package.json console/package-lock.json console/tsconfig.json console/build.mjs; files console/src; files "$page" | grep -v "^$stamp$"; } |
    while IFS= read -r file; do hash "$file"; done
}

case ${1:-build} in
  check)
    [ -f "$stamp" ] || die "$page has no page: scripts/console.sh"
    if ! difference=$(diff "$stamp" <(hashes)); then
      say "$difference" | sed -n 's/^[<>] [0-9a-f]* */    changed: /p' | sort -u
      die "$page is not made of console/ as it is: run scripts/console.sh and commit both"
    fi
    ;;
  build)
    have node && have npm || die "node 18 or newer and npm are needed"
    lock=$(cat console/package-lock.json)
    if ! fresh console/node_modules/.stamp "$lock"; then
      (cd console && retry npm ci --no-audit --no-fund --loglevel=error) && printf '%s' "$lock" >console/node_modules/.stamp
    fi
    (cd console && npm run --silent check && npm run --silent build)
    hashes >"$stamp"
    say "$page: $(cat "$page"/*.* | wc -c | tr -d ' ') bytes"
    ;;
  *) die "usage: scripts/console.sh [check]" ;;
esac
