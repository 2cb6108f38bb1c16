#!/usr/bin/env bash
# The workers of a sweep on real engines. On HyperQueue and on SLURM, with two workers each, one is killed with -9 in the
# middle of a trial: every run must be trained once and none be lost, and all weights must be those of the same sweep trained
# here. A SLURM job that is asked to stop must save, be queued again, and go on.
#
#   tests/engines.sh PROGRAM [hyperqueue] [slurm]
#
# Both without a name. SLURM needs root, and `slurm-wlm` and `munge` (Debian); HyperQueue needs `hq` on the path, its own or
# tests/hq.py with its wheel.
set -euo pipefail
kiln=$(realpath "$1")
shift
engines=("${@:-hyperqueue slurm}")
read -ra engines <<<"${engines[*]}"
work=$(mktemp -d)
started=()
finish() {
  for process in "${started[@]}"; do kill "$process" 2>/dev/null || true; done
  wait 2>/dev/null || true
  # What an engine that ended early has left behind.
  pkill -f -- "kiln sweep (work|trial) $work" || true
  rm -rf "$work"
}
trap finish EXIT
cd "$work"
say() { printf '%s\n' "$*"; }
fail() { say "FAILED: $*"; exit 1; }
# Waits until a command succeeds; at most the first argument's seconds.
until_true() {
  local limit=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$limit" ] || fail "waited in vain for: $*"
    sleep 0.1
  done
}

# Eight runs of some seconds each.
what=(smoke --device flex --over optimizer.learning_rate=0.001,0.003,0.01,0.03 --seeds 2 --set data.seed=1
  --set data.train=2000 --set train.epochs="${EPOCHS:-150}" --set checkpoint.keep_last=1)

# What a sweep came to, without what differs between any two: names and times.
outcome() {
  python3 - "$1" <<'PY'
import json, sys
result = json.load(open(sys.argv[1] + "/result.json"))
result.pop("name")
for trial in result["trials"]:
    trial.pop("seconds")
    for run in trial["runs"]:
        run.pop("seconds")
        assert run["error"] is None and run["weights_sha256"], run
print(json.dumps(result, sort_keys=True))
PY
}

# Whether some run in the sweep is in the middle.
in_the_middle() { cat "$1"/trials/*/seed-*/metrics.jsonl | head -3 | grep -q '"epoch":3'; }

# The processes that work on a sweep.
workers_of() { pgrep -f -- "sweep work $1" ; }
two_workers() { [ "$(pgrep -fc -- "[k]iln sweep work $1")" -ge 2 ]; }

# All was done, once each but for the one run whose worker was killed, and as it is done here.
check() {
  local folder=$1 engine=$2 twice
  outcome "$folder" >"$engine.json"
  cmp -s here.json "$engine.json" || fail "$engine: the outcome is not that of the same sweep trained here"
  twice=$(for job in "$folder"/jobs/*-seed-*; do ls "$job" | grep -c '^claim-[0-9]*$'; done | awk '$1 > 1' | wc -l)
  [ "$twice" -eq 1 ] || fail "$engine: $twice runs were taken up twice, and one worker was killed"
  say "ok      $engine: 8 runs, one of them taken over from a killed worker, and every weight as trained here"
}

"$kiln" sweep "${what[@]}" --runs here --quiet >/dev/null
outcome here/smoke-sweep-0001 >here.json

try_hyperqueue() {
  command -v hq >/dev/null || fail "there is no hq on the path"
  export HQ_SERVER_DIR=$work/hq
  hq server start >server.log 2>&1 &
  started+=($!)
  until_true 30 hq server info
  local -a engine_workers=()
  for number in 1 2; do
    hq worker start --cpus=1 --on-server-lost=stop >"worker-$number.log" 2>&1 &
    engine_workers+=($!)
    started+=($!)
  done
  "$kiln" sweep submit "${what[@]}" --runs hyperqueue --engine hyperqueue --workers 2
  local folder=$work/hyperqueue/smoke-sweep-0001
  until_true 60 two_workers "$folder"
  until_true 60 in_the_middle "$folder"
  # The engine's worker, and what it started, which it can no longer report on.
  local -a tasks
  mapfile -t tasks < <(pgrep -P "${engine_workers[0]}")
  [ "${#tasks[@]}" -gt 0 ] || fail "the engine's worker has no task"
  kill -KILL "${engine_workers[0]}" "${tasks[@]}"
  until_true 300 test -f "$folder/result.json"
  timeout 60 hq job wait all >wait.log 2>&1 || fail "hyperqueue: a task of the job failed: $(cat wait.log)"
  check "$folder" hyperqueue
}

try_slurm() {
  command -v slurmctld >/dev/null && command -v munged >/dev/null || fail "SLURM or munge is not installed"
  mkdir -p slurm/state slurm/spool /run/munge
  chown munge:munge /run/munge
  munge -n >/dev/null 2>&1 || runuser -u munge -- munged --force
  export SLURM_CONF=$work/slurm/slurm.conf
  cat >"$SLURM_CONF" <<CONF
ClusterName=kiln
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation=$work/slurm/state
SlurmdSpoolDir=$work/slurm/spool
SlurmctldPidFile=$work/slurm/slurmctld.pid
SlurmdPidFile=$work/slurm/slurmd.pid
SlurmctldLogFile=$work/slurm/slurmctld.log
SlurmdLogFile=$work/slurm/slurmd.log
SlurmctldPort=17817
SlurmdPort=17818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
NodeName=$(hostname) NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  slurmctld -D >/dev/null 2>&1 &
  started+=($!)
  slurmd -D >/dev/null 2>&1 &
  started+=($!)
  until_true 60 sh -c "sinfo -h -o %T | grep -q idle"

  "$kiln" sweep submit "${what[@]}" --runs slurm-runs --engine slurm --workers 2 -- --mem=0
  local folder=$work/slurm-runs/smoke-sweep-0001
  until_true 60 two_workers "$folder"
  until_true 60 in_the_middle "$folder"
  kill -KILL "$(pgrep -of -- "[k]iln sweep work $folder")"
  until_true 300 test -f "$folder/result.json"
  check "$folder" slurm

  # A single worker is asked to stop, as before its time limit: it saves, is queued again, and goes on where it was.
  "$kiln" sweep submit "${what[@]}" --runs again --engine slurm --workers 1 -- --mem=0
  folder=$work/again/smoke-sweep-0001
  until_true 60 in_the_middle "$folder"
  local job
  job=$(squeue -h -t RUNNING -o %A | head -1)
  scancel --batch --signal=TERM "$job"
  until_true 60 sh -c "squeue -h -j $job -o %T | grep -q PENDING"
  [ -z "$(pgrep -f -- "[k]iln sweep work $folder")" ] || fail "slurm: the worker that was asked to stop works on"
  # SLURM lets a job that was queued again wait for some minutes; nothing is gained by that here.
  scontrol update "JobId=$job" StartTime=now
  until_true 300 test -f "$folder/result.json"
  outcome "$folder" >again.json
  cmp -s here.json again.json || fail "slurm: the outcome after a stop is not that of the same sweep trained here"
  grep -q resumed "$folder"/trials/*/seed-*/run.json || fail "slurm: no run was resumed"
  say "ok      slurm: a worker that was asked to stop saved, was queued again, and went on to the same outcome"
}

for engine in "${engines[@]}"; do "try_$engine"; done
