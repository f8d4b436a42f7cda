#!/usr/bin/env bash
# Test tools that the machine may lack, brought into .cache without root. Prints the path of the tool;
# exit code 3 and one line on stderr when it cannot be had here.
#   scripts/tools.sh cargo-deny | cargo-fuzz | promtool
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cannot() { say "$*" >&2; exit 3; }

cargo_tool() { # cargo_tool NAME VERSION
  local name=$1 version=$2 bin=$cache/tools/bin/$1
  if have "$name"; then command -v "$name"; return; fi
  if [ -x "$bin" ] && [ "$(cat "$cache/tools/$name.version" 2>/dev/null)" = "$version" ]; then say "$bin"; return; fi
  say "    building $name $version into .cache/tools (once; a few minutes)" >&2
  mkdir -p "$cache/tools"
  # Built to be ready soon, not to run fast.
  (cd "$cache/tools" && CARGO_TARGET_DIR=$cache/tools/target-$$ CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 retry cargo install --quiet --locked --root "$cache/tools" "$name" --version "$version" >&2) ||
    cannot "$name could not be built"
  rm -rf "$cache/tools/target-$$"
  printf %s "$version" >"$cache/tools/$name.version"
  say "$bin"
}

# Debian's prometheus package, unpacked. apt's lists are fetched into .cache when the system has none.
debian_promtool() {
  if have promtool; then command -v promtool; return; fi
  local dir=$cache/prometheus
  if [ -x "$dir/usr/bin/promtool" ]; then say "$dir/usr/bin/promtool"; return; fi
  have apt-get && have dpkg-deb || cannot "promtool is not installed"
  mkdir -p "$dir/lists/partial"
  (
    cd "$dir"
    apt-get download -qq prometheus >/dev/null 2>&1 || {
      own="-o Dir::State::Lists=$dir/lists -o Dir::Cache=$dir -o APT::Sandbox::User=$(id -un)"
      # shellcheck disable=SC2086  # several options
      retry apt-get $own update -qq >/dev/null 2>&1 && apt-get $own download -qq prometheus >/dev/null 2>&1
    }
    dpkg-deb -x prometheus_*.deb . 2>/dev/null
  ) || cannot "promtool is not installed and Debian's prometheus package could not be fetched"
  find "$dir" -mindepth 1 -maxdepth 1 ! -name usr -exec rm -rf {} +
  find "$dir/usr" -type f ! -name promtool -delete
  "$dir/usr/bin/promtool" --version >/dev/null 2>&1 || cannot "Debian's promtool does not run here"
  say "$dir/usr/bin/promtool"
}

case ${1:-} in
  cargo-deny) cargo_tool cargo-deny 0.20.2 ;;
  cargo-fuzz) cargo_tool cargo-fuzz 0.13.2 ;;
  promtool) debian_promtool ;;
  *) die "usage: scripts/tools.sh cargo-deny | cargo-fuzz | promtool" ;;
esac
