#!/usr/bin/env bash
# The tests of the CPU kernels with every access to memory watched: under AddressSanitizer, then under Valgrind where it is
# installed. An access outside of an array, in our code or in that of the gemm, pulp and rayon crates, fails. Valgrind also
# sees values that were never written, and has no AVX-512, so that the kernels take their other paths.
#
# The kernels and these three crates are compiled in a folder of their own, where only what computes is optimised.
# (Miri, which sees more, comes with nightly toolchains only and does not run vector instructions.)
#
# usage: tests/sanitize.sh [FILTER]   runs the tests whose names contain FILTER
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
crate=${CARGO_TARGET_DIR:-target}/sanitize
mkdir -p "$crate"

# The same requirements and, by the lock file, the same versions as theirs.
{
  printf '[package]\nname = "kernels"\nversion = "0.0.0"\nedition = "2024"\n\n[lib]\npath = "%s"\n\n[workspace]\n\n' "$root/kernels/src/lib.rs"
  sed -n '/^\[dependencies\]/,/^\[lints/{/^\[lints/d;p}' kernels/Cargo.toml
  # Optimised where the tests compute, so that vector instructions are those of kiln; the rest only has to be compiled.
  printf '\n[profile.dev]\nopt-level = 3\ndebug = "line-tables-only"\n[profile.dev.package."*"]\nopt-level = 0\ndebug = false\n'
  printf '[profile.dev.package.%s]\nopt-level = 3\ndebug-assertions = false\n' gemm-common gemm-f32 pulp
} >"$crate/Cargo.toml"
cp Cargo.lock "$crate/Cargo.lock"

host=$(rustc -vV | sed -n 's/^host: //p')
run=(cargo test --quiet --manifest-path "$crate/Cargo.toml" --lib --target "$host")
export RUST_BACKTRACE=0

# The sanitizer's runtime comes with the stable toolchain; its flag is one of the nightly ones'. Leaks are not looked for: the
# thread pool and its scratch memory live until the process ends.
RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 \
  "${run[@]}" --target-dir "$crate/address" -- "$@"

if command -v valgrind >/dev/null; then
  runner=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$host")_RUNNER
  env PROPTEST_CASES=32 "$runner=valgrind --quiet --error-exitcode=1 --fair-sched=yes" \
    "${run[@]}" --target-dir "$crate/valgrind" -- "$@"
else
  echo "no valgrind here: only AddressSanitizer ran"
fi
