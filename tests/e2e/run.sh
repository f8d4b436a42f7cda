#!/usr/bin/env bash
# The end-to-end run: a real Ollama behind a real brainstem, asked by the official clients from PyPI and npm, then the
# scripted upstream for what that Ollama is too old for. Sets itself up in .cache; no root.
#   tests/e2e/run.sh [ARGUMENTS OF pytest]
# BRAINSTEM_BIN   the binary (default: target/debug/brainstem, built first)
# OLLAMA_URL      a running Ollama instead of the suite's own; OLLAMA_MODEL a small model on it
set -uo pipefail
. "$(dirname "$0")/../../scripts/lib.sh"
cd "$root" || exit 1
here=tests/e2e
bad=0
suite() { # suite NAME COMMAND …
  local name=$1 since=$SECONDS
  shift
  step "$name"
  if python3 "$here/stage.py" -- "$@"; then report ran "$name" "$((SECONDS - since)) s"
  else report FAILED "$name" "$((SECONDS - since)) s; logs in .cache/e2e-logs"; bad=1; fi
}
skip() { say "skipped: $1 ($2)"; report skipped "$1" "$2"; }

if [ -z "${BRAINSTEM_BIN:-}" ]; then
  scripts/setup-mlx.sh && cargo build --locked || { report FAILED "build for end to end"; exit 1; }
  export BRAINSTEM_BIN=$root/target/debug/brainstem
fi

if [ -n "${OLLAMA_URL:-}" ]; then
  say "Ollama at $OLLAMA_URL"
else
  scripts/real-ollama.sh >"$cache/real-ollama.log" 2>&1
  case $? in
    0) ;;
    3) skip "end to end, real Ollama" "$(tail -1 "$cache/real-ollama.log")" ;;
    *) cat "$cache/real-ollama.log"; report FAILED "set-up of a real Ollama"; bad=1 ;;
  esac
fi

if PROMTOOL=$(scripts/tools.sh promtool 2>"$cache/promtool.log"); then export PROMTOOL
else skip "promtool check metrics" "$(tail -1 "$cache/promtool.log")"; fi

if PROMETHEUS=$(scripts/tools.sh prometheus 2>"$cache/promtool.log"); then export PROMETHEUS
else skip "a real Prometheus and the dashboard's queries" "$(tail -1 "$cache/promtool.log")"; fi

# --- Python
venv=$cache/e2e-venv
wanted=$(cat $here/requirements.txt)
if ! fresh "$venv/stamp" "$wanted"; then
  step "Python clients (once)"
  python_env "$venv" && retry "$venv/bin/pip" install -q --disable-pip-version-check -r $here/requirements.txt &&
    printf '%s' "$wanted" >"$venv/stamp"
fi
if fresh "$venv/stamp" "$wanted"; then
  suite "end to end, Python clients" "$venv/bin/python" -m pytest -q -rs --no-header -p no:cacheprovider "$here/python" "$@"
else
  report FAILED "end to end, Python clients" "their packages could not be installed"
  bad=1
fi

# --- Node
node_major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
if [ "${node_major:-0}" -lt 18 ] || ! have npm; then
  skip "end to end, Node clients" "node 18 or newer and npm are needed, found ${node_major:-none}"
elif [ $# -gt 0 ]; then
  say "(arguments are for pytest: the Node clients are left out)"
else
  lock=$(cat $here/node/package-lock.json)
  if ! fresh $here/node/node_modules/.stamp "$lock"; then
    step "Node clients (once)"
    (cd $here/node && retry npm ci --no-audit --no-fund --loglevel=error) && printf '%s' "$lock" >$here/node/node_modules/.stamp
  fi
  if fresh $here/node/node_modules/.stamp "$lock"; then
    suite "end to end, Node clients" node --test --test-reporter=spec "$here/node/clients.test.mjs"
  else
    report FAILED "end to end, Node clients" "their packages could not be installed"
    bad=1
  fi
fi
exit $bad
