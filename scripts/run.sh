#!/usr/bin/env bash
# `make run`: the proxy in the foreground, and three lines to try as soon as it listens.
#   scripts/run.sh [FLAGS OF brainstem serve]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

listen=127.0.0.1:11440 admin=127.0.0.1:9464 before=
for word in "$@"; do
  case $before in --listen) listen=$word ;; --admin) admin=$word ;; esac
  case $word in --listen=*) listen=${word#*=} ;; --admin=*) admin=${word#*=} ;; esac
  before=$word
done

invite() {
  local proxy=$1
  for _ in $(seq 300); do
    sleep 0.1
    kill -0 "$2" 2>/dev/null || return 0
    listens "${proxy##*:}" && break
  done
  cat <<T

brainstem listens on http://$proxy (point your clients there). Try, in another terminal:

  curl $proxy/api/chat -d '{"model": "auto", "messages": [{"role": "user", "content": "Привет!"}]}'
  curl -i $proxy/v1/chat/completions -d '{"model": "auto", "messages": [{"role": "user", "content": "what can you do?"}]}'
  curl '$admin/explain?path=/api/chat' -d '{"model": "auto", "messages": [{"role": "user", "content": "fix this stack trace"}]}'

T
}

cd "$root"
invite "$listen" $$ >&2 &
exec target/release/brainstem serve "$@"
