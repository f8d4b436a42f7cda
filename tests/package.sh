#!/usr/bin/env bash
# What is installed, tried as installed: laid out elsewhere it finds its libraries, model and rules; as a Debian package
# it installs, starts and goes without a trace in a bare Debian (that part as root, with debootstrap and cargo-deb).
#   tests/package.sh [debian]     debian: bring a bare Debian into .cache if there is none (some minutes, once)
# BRAINSTEM_BIN   the binary (default target/debug/brainstem)
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
cd "$root"
export BRAINSTEM_BIN=${BRAINSTEM_BIN:-$root/target/debug/brainstem}
work=$(mktemp -d "${TMPDIR:-/tmp}/brainstem-package.XXXXXX")
chmod 755 "$work"
server=
clean() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  if mountpoint -q "$work/debian/proc" 2>/dev/null; then umount "$work/debian/proc"; fi
  rm -rf "$work"
}
trap clean EXIT
skip() { say "skipped: $1 ($2)"; report skipped "$1" "$2"; exit 0; }
wrong() { die "wrong: $*"; }

[ "$(uname -s)" = Linux ] || skip "the package" "it is for Linux"

step "laid out elsewhere"
mkdir "$work/away"
scripts/package.sh stage "$work/stage"
# Where nothing of this checkout is near, in a folder that is not the one it was made in.
mv "$work/stage" "$work/there"
cd "$work/away"
there=$work/there
bare() { env -i PATH="$PATH" BRAINSTEM_CONFIG="$there/etc/brainstem/brainstem.toml" "$@"; }
if ldd "$there/usr/bin/brainstem" | grep -F "$root"; then wrong "it leans on the checkout"; fi
if ldd "$there/usr/bin/brainstem" | grep -F "not found"; then wrong "a library is missing"; fi
sed -i "s|\"/etc/|\"$there/etc/|; s|\"/usr/|\"$there/usr/|" "$there/etc/brainstem/brainstem.toml"
bare "$there/usr/bin/brainstem" check
told=$(bare "$there/usr/bin/brainstem" explain --json "привет")
case $told in *'"route": "local"'*) ;; *) wrong "a greeting is not answered: $told" ;; esac
label=$(echo "write a python function that sorts a list of numbers" | bare "$there/usr/bin/brainstem" classify)
case $label in *'"label":"coding"'*) ;; *) wrong "the classifier says $label" ;; esac
gzip -dc "$there/usr/share/man/man1/brainstem.1.gz" | grep -q '^\.TH brainstem 1' || wrong "no manual page"
bash -n "$there/usr/share/bash-completion/completions/brainstem"
cd "$root"
report ran "what is installed, laid out elsewhere"

step "as a Debian package"
[ "$(id -u)" = 0 ] || skip "the Debian package in a bare Debian" "root is needed for a chroot"
have debootstrap || skip "the Debian package in a bare Debian" "apt-get install debootstrap"
have cargo-deb || [ -x "$cache/tools/bin/cargo-deb" ] || skip "the Debian package in a bare Debian" "scripts/tools.sh cargo-deb builds it"
base=$cache/debian-bookworm.tar
if [ ! -f "$base" ]; then
  [ "${1:-}" = debian ] || skip "the Debian package in a bare Debian" "tests/package.sh debian brings one"
  say "    a bare Debian (once)"
  retry debootstrap --variant=minbase --include=libstdc++6 bookworm "$work/new" >"$work/debootstrap.log" 2>&1 || {
    tail -3 "$work/debootstrap.log"
    skip "the Debian package in a bare Debian" "debootstrap could not fetch it"
  }
  tar -C "$work/new" -cf "$base.part" . && mv "$base.part" "$base"
  rm -rf "$work/new"
fi
mkdir "$work/debian"
tar -C "$work/debian" -xf "$base"
mount -t proc proc "$work/debian/proc" 2>/dev/null || skip "the Debian package in a bare Debian" "no right to mount /proc in it"
scripts/package.sh deb --fast
cp target/debian/brainstem_*.deb "$work/debian/tmp/brainstem.deb"
inside() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$work/debian" "$@"; }
inside dpkg -i /tmp/brainstem.deb
inside brainstem check
[ -L "$work/debian/etc/systemd/system/multi-user.target.wants/brainstem.service" ] || wrong "the service is not enabled"

# As the unit starts it: nobody's rights, no page ever written and run (MemoryDenyWriteExecute), rules read-only.
proxy=127.0.0.1:$(free_port) admin=127.0.0.1:$(free_port)
env -i PATH=/usr/bin BRAINSTEM_CONFIG=/etc/brainstem/brainstem.toml BRAINSTEM_PROXY_LISTEN="$proxy" BRAINSTEM_ADMIN_LISTEN="$admin" \
  python3 - "$work/debian" >"$work/log" 2>&1 <<'PY' &
import ctypes, os, sys
os.chroot(sys.argv[1])
os.chdir("/")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)  # NoNewPrivileges
if libc.prctl(65, 1, 0, 0, 0) != 0:
    print("this kernel has no PR_SET_MDWE: MemoryDenyWriteExecute is not tried", flush=True)
os.execv("/usr/bin/brainstem", ["brainstem", "serve"])
PY
server=$!
ask() { python3 - "$@" <<'PY'
import json, sys, urllib.request
url, *body = sys.argv[1:]
reply = urllib.request.urlopen(urllib.request.Request(url, body[0].encode() if body else None), timeout=5)
print(reply.headers.get("x-brainstem-route", "-"), reply.read().decode())
PY
}
for _ in $(seq 200); do
  ready=$(ask "http://$admin/readyz" 2>/dev/null) && case $ready in *'"state": "ready"'*) break ;; esac
  kill -0 "$server" 2>/dev/null || { cat "$work/log"; wrong "it does not run"; }
  sleep 0.1
done
case $ready in *'"state": "ready"'*) ;; *) cat "$work/log"; wrong "its classifier is not up: $ready" ;; esac
said=$(ask "http://$proxy/api/chat" '{"model":"auto","stream":false,"messages":[{"role":"user","content":"Привет!"}]}')
case $said in local*) say "$said" ;; *) wrong "a greeting got $said" ;; esac
told=$(ask "http://$admin/explain?path=/api/chat" '{"model":"auto","messages":[{"role":"user","content":"my grandmother always told me that autumn evenings are good for long stories"}]}')
case $told in *'"asked": true'*'"probability": 0'*) ;; *) wrong "the classifier is not asked: $told" ;; esac
grep -F MDWE "$work/log" || true
kill "$server"; wait "$server" || wrong "it did not end well"
server=
inside dpkg -P brainstem >/dev/null
for left in usr/bin/brainstem usr/lib/brainstem etc/brainstem usr/share/brainstem etc/systemd/system/multi-user.target.wants/brainstem.service; do
  [ ! -e "$work/debian/$left" ] && [ ! -L "$work/debian/$left" ] || wrong "$left stays behind"
done
report ran "the Debian package, installed, started, removed"
