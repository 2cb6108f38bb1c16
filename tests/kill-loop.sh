#!/usr/bin/env bash
# Kills a run 40 times at random moments, resumes it each time, and compares its last receipt with an uninterrupted run's.
# usage: tests/kill-loop.sh [KILN [KILLS [SEED]]]
set -euo pipefail
kiln=$(realpath "${1:-target/debug/kiln}")
kills=${2:-40}
RANDOM=${3:-1}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
sets=(--set train.epochs=800 --set checkpoint.every_iterations=4 --device flex)
receipt() { tail -n 1 "runs/$1-0001/metrics.jsonl" | grep -o '"weights_sha256":"[0-9a-f]*"'; }

"$kiln" train smoke "${sets[@]}" --set name=whole --quiet >/dev/null
done_kills=0
began=0
while [ "$done_kills" -lt "$kills" ]; do
  if [ "$began" = 0 ]; then
    "$kiln" train smoke "${sets[@]}" --set name=killed --quiet >/dev/null 2>&1 &
  else
    "$kiln" resume runs/killed-0001 --quiet >/dev/null 2>&1 &
  fi
  pid=$!
  sleep "0.$(printf '%03d' $((RANDOM % 400 + 60)))"
  if kill -9 "$pid" 2>/dev/null; then done_kills=$((done_kills + 1)); fi
  wait "$pid" 2>/dev/null || true
  if [ -f runs/killed-0001/config.toml ]; then began=1; else rm -rf runs/killed-0001; fi
  if grep -qs '"status": "done"' runs/killed-0001/run.json; then
    echo "the run ended after $done_kills kills; make it longer" >&2
    exit 1
  fi
done
epochs=$(wc -l <runs/killed-0001/metrics.jsonl)
"$kiln" resume runs/killed-0001 --quiet >/dev/null
echo "$done_kills kills, the last in epoch $((epochs + 1)) of 800"
[ "$(receipt killed)" = "$(receipt whole)" ] || { echo "the receipts differ" >&2; exit 1; }
echo "the same weights: $(receipt whole)"
