#!/usr/bin/env bash
# For RUSTC_WRAPPER: compiles as told, and watches the coverage of brainstem itself, which is what libFuzzer follows.
# The dependencies stay as other builds have left them. None of these flags needs a nightly compiler.
case " $* " in
  *" --crate-name brainstem "*)
    set -- "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
      -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
      -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$@"
