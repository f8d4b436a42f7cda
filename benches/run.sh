#!/usr/bin/env bash
# `make bench`: brainstem against bare Pingora and nginx; the table goes to benches/results.md. Under five minutes.
#   benches/run.sh [FLAGS OF overhead.py]      e.g. --rounds 9
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"
cd "$root"

how() {
  case $(uname -s) in
    Darwin) die "$1 is needed: brew install nginx wrk" ;;
    *) die "$1 is needed and could not be fetched from Debian; install nginx and wrk" ;;
  esac
}

have python3 || die "python3 is needed"
step "Tools"
# nginx-light is the same binary with fewer modules beside it.
nginx=$(tool nginx nginx libpcre2-8-0) || how nginx
wrk=$(tool wrk wrk libluajit-5.1-2) || how wrk
say "    $nginx, $wrk"

step "Building"
cargo build --release --locked
programs=$(bench_programs inside bare_pingora)
program() { say "$programs" | sed -n "s/^$1 //p"; }

exec python3 benches/overhead.py --nginx "$nginx" --wrk "$wrk" --brainstem "$(target_directory)/release/brainstem" \
  --bare "$(program bare_pingora)" --inside "$(program inside)" "$@"
