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
# Prints where each bench's program lies.
programs=$(cargo bench --locked --no-run --message-format=json --bench inside --bench bare_pingora |
  python3 -c 'import json, sys
for line in sys.stdin:
    made = json.loads(line)
    if made.get("executable") and "bench" in made["target"]["kind"]:
        print(made["target"]["name"], made["executable"])')
program() { say "$programs" | sed -n "s/^$1 //p"; }
target=$(cargo metadata --locked --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')

exec python3 benches/overhead.py --nginx "$nginx" --wrk "$wrk" --brainstem "$target/release/brainstem" \
  --bare "$(program bare_pingora)" --inside "$(program inside)" "$@"
