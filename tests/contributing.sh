#!/usr/bin/env bash
# Applies the worked examples of CONTRIBUTING.md to a copy of the tree and runs the crate's own tests there, which walk every
# kind; those of rooms that know no kinds are left out. With the tree's target folder it costs one build of kiln's tests; what was built of the tree itself stays as it is.
#
# usage: tests/contributing.sh TARGET_FOLDER [ARGUMENT_FOR_CARGO...]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=$(realpath "${1:?usage: tests/contributing.sh TARGET_FOLDER [ARGUMENT_FOR_CARGO...]}")
shift
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cd "$root"
git ls-files -z --cached --others --exclude-standard | xargs -0 -I{} sh -c '[ ! -f "$1" ] || printf "%s\0" "$1"' _ {} \
  | tar --null -T - -cf - | tar -xf - -C "$copy"
cd "$copy"

# A block "```rust file=PATH" is the new file; a block "```rust list=PATH" is the line for the list in that file.
awk '
  /^```rust (file|list)=/ { split($2, word, "="); what = word[1]; path = word[2]; next }
  /^```$/                 { what = ""; next }
  what == "file"          { print > path }
  what == "list"          { print path "\t" $0 }
' CONTRIBUTING.md > lines.tsv
applied=0
while IFS=$'\t' read -r path line; do
  last=$(grep -nE '^ +([a-z_0-9]+: [A-Z][A-Za-z0-9]*\([A-Za-z0-9]+\)|[A-Z][A-Za-z0-9]* = [a-z_0-9]+),$' "$path" | tail -1 | cut -d: -f1)
  [ -n "$last" ] || { echo "error: $path has no list of kinds" >&2; exit 1; }
  sed -i "${last}r /dev/stdin" "$path" <<< "$line"
  applied=$((applied + 1))
done < lines.tsv
rm lines.tsv
[ "$applied" -eq 6 ] || { echo "error: CONTRIBUTING.md has $applied of 6 examples" >&2; exit 1; }
echo "applied $applied examples"
sed -n 's/^```rust file=//p' CONTRIBUTING.md | xargs rustfmt --edition 2024 --check

# The reference of all keys is refreshed by whoever adds a kind; here it stays as it is.
cargo "$@" test --package kiln --lib --target-dir "$target" -- --skip the_reference_in_the_documentation_is_up_to_date \
  --skip compare:: --skip board:: --skip serve:: --skip report:: --skip fuzz:: --skip drawn_digits:: --skip bench:: --skip a_file_with_any
