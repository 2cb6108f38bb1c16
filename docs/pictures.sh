#!/usr/bin/env bash
# Makes the pictures of README.md anew, from real runs of the default config: some minutes on two cores.
# Needs npm and Chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build
kiln=$PWD/target/debug/kiln
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$kiln" train --runs "$work" --quiet
"$kiln" explain --html "$work/lesson.html" --quiet

cd tests/page
npm ci --silent
node page.mjs --kiln "$kiln" --model "$work/mnist-0001/model.bpk" --screenshot ../../docs/serve.png
node report.mjs --report "$work/mnist-0001/report.html" --screenshot ../../docs/report.png
node lesson.mjs --lesson "$work/lesson.html" --screenshot ../../docs/lesson.png
node board.mjs --kiln "$kiln" --screenshot ../../docs/board.png
