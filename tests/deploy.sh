#!/usr/bin/env bash
# The form of what deploy/ holds, as far as this machine has the tools: hadolint, Compose's own schema, systemd-analyze, plutil's rules,
# ruby. Prometheus and Grafana have tests/e2e/python/test_prometheus.py.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
cd "$root"
skip() { say "skipped: $1 ($2)"; report skipped "$1" "$2"; }
wrong() { die "wrong: $*"; }

step "deploy/"
if hadolint=$(scripts/tools.sh hadolint 2>"$cache/hadolint.log"); then
  "$hadolint" deploy/docker/Dockerfile
  report ran "hadolint"
else
  skip "hadolint" "$(tail -1 "$cache/hadolint.log")"
fi

# The layer that sets MLX up has no sources yet; cargo must be content with what it finds there.
bare=$(mktemp -d "${TMPDIR:-/tmp}/brainstem-layer.XXXXXX")
mkdir "$bare/src" "$bare/benches"
cp Cargo.toml Cargo.lock "$bare"
cp benches/*.rs "$bare/benches"
touch "$bare/src/lib.rs" "$bare/src/main.rs"
cargo metadata --quiet --no-deps --format-version 1 --manifest-path "$bare/Cargo.toml" >/dev/null || wrong "the Dockerfile's first layer"
rm -rf "$bare"

# Compose's published schema, as a package of PyPI carries it; then every file that is mounted or built from.
venv=$cache/deploy
wanted="compose-spec==0.2.1 PyYAML==6.0.3"
# shellcheck disable=SC2086  # two packages
if fresh "$venv/stamp" "$wanted" ||
  { python_env "$venv" && retry "$venv/bin/pip" install -q --disable-pip-version-check $wanted && printf %s "$wanted" >"$venv/stamp"; }; then
  "$venv/bin/python" - deploy/docker/compose.yaml <<'PY'
import pathlib, sys
import yaml
from compose_spec.models import ComposeSpecification
path = pathlib.Path(sys.argv[1])
parsed = yaml.safe_load(path.read_text())
ComposeSpecification.model_validate(parsed)
services, volumes = parsed["services"], parsed["volumes"]
for name, service in services.items():
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        known = (path.parent / source).exists() if source.startswith(".") else source in volumes
        assert known, f"{name}: {source} is not there"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), f"{name}: {port} is open to everybody"
    build = service.get("build")
    if build:
        context = path.parent / build["context"]
        assert (context / build["dockerfile"]).exists(), build
    for other in service.get("depends_on", []):
        assert other in services, other
for target in yaml.safe_load((path.parent / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"][0]["targets"]:
    assert target.split(":")[0] in services, target
source = yaml.safe_load((path.parent / "../grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]["url"]
assert source.split("/")[2].split(":")[0] in services, source
for copied in (line.split()[1:-1] for line in (path.parent / "Dockerfile").read_text().splitlines() if line.startswith("COPY ") and "--from" not in line):
    for source in copied:
        assert (context / source).exists(), f"COPY {source}"
PY
  report ran "compose.yaml against Compose's schema"
else
  skip "compose.yaml against Compose's schema" "its package could not be fetched from PyPI"
fi

if have systemd-analyze && systemd-analyze security --help 2>/dev/null | grep -q -- --offline; then
  # The binary and the manual are not installed here; nothing else may be amiss.
  amiss=$(systemd-analyze verify deploy/systemd/brainstem.service 2>&1 | grep -v -e '/usr/bin/brainstem is not executable' -e 'man brainstem(1)' || true)
  [ -z "$amiss" ] || wrong "$amiss"
  score=$(systemd-analyze security --offline=true --no-pager deploy/systemd/brainstem.service | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')
  grep -qF "**$score, OK**" docs/deploy.md || wrong "docs/deploy.md does not say that systemd-analyze security gives $score"
  report ran "systemd-analyze verify and security" "$score"
else
  skip "systemd-analyze verify and security" "no systemd-analyze that works offline"
fi

python3 - deploy/launchd/brainstem.plist <<'PY'
import plistlib, sys
service = plistlib.load(open(sys.argv[1], "rb"))
assert service["KeepAlive"] is True and service["RunAtLoad"] is True
assert service["ProgramArguments"][0].endswith("/brainstem") and service["ProgramArguments"][1] == "serve"
assert service["ProgramArguments"][0].startswith(service["WorkingDirectory"])
PY
if have plutil; then plutil -lint deploy/launchd/brainstem.plist; fi
report ran "the launchd plist"

if have ruby; then
  ruby -c deploy/homebrew/brainstem.rb >/dev/null
  report ran "the Homebrew formula's syntax"
else
  skip "the Homebrew formula's syntax" "no ruby"
fi
