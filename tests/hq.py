#!/usr/bin/env python3
"""The commands of HyperQueue that tests/engines.sh and `kiln sweep submit` need, where its `hq` cannot be had: its Python wheel
holds the same server, workers and client (`pip install hyperqueue`). Server and workers are processes of their own, as with `hq`.

  hq.py server start | server info | worker start --cpus=N --on-server-lost=stop | job wait all
  hq.py submit --name NAME --array 1-N --cpus=N --crash-limit=unlimited --stdout=FILE --stderr=FILE -- COMMAND...

The folder is HQ_SERVER_DIR, as there. Whatever it does not know is an error.
"""

import argparse
import os
import pathlib
import shutil
import signal
import sys

from hyperqueue import Client, LocalCluster
from hyperqueue.cluster import WorkerConfig
from hyperqueue.ffi.protocol import JobDescription, ResourceRequest, TaskDescription
from hyperqueue.output import StdioDef

# As many as the wheel's client can say.
UNLIMITED = 2**16 - 1

folder = pathlib.Path(os.environ["HQ_SERVER_DIR"]).absolute()
jobs = folder / "kiln-test-jobs"


def serve():
    folder.mkdir(parents=True, exist_ok=True)
    cluster = LocalCluster(str(folder))
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    cluster.stop()


def work(cores):
    """A cluster starts its workers by what its folder says of the server. So one that is told of another starts them for that."""
    mine = folder.with_name(f"{folder.name}-worker-{os.getpid()}")
    mine.mkdir()
    cluster = LocalCluster(str(mine))
    current = mine / "hq-current"
    current.unlink()
    current.symlink_to((folder / "hq-current").resolve())
    cluster.start_worker(WorkerConfig(cores=cores))
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    shutil.rmtree(mine, ignore_errors=True)


def submit(words):
    at = words.index("--")
    parser = argparse.ArgumentParser(prog="hq submit", allow_abbrev=False)
    parser.add_argument("--name", required=True)
    parser.add_argument("--array", required=True)
    parser.add_argument("--cpus", required=True, type=int)
    parser.add_argument("--crash-limit", required=True, choices=["unlimited"])
    parser.add_argument("--stdout", required=True)
    parser.add_argument("--stderr", required=True)
    asked = parser.parse_args(words[:at])
    first, last = (int(number) for number in asked.array.split("-"))
    tasks = [
        TaskDescription(
            id=number,
            args=words[at + 1 :],
            cwd=os.getcwd(),
            stdout=StdioDef.from_path(asked.stdout),
            stderr=StdioDef.from_path(asked.stderr),
            stdin=None,
            env={},
            dependencies=[],
            task_dir=False,
            priority=0,
            resource_request=[ResourceRequest(cpus=asked.cpus)],
            crash_limit=UNLIMITED,
        )
        for number in range(first, last + 1)
    ]
    job = Client(str(folder)).connection.submit_job(JobDescription(name=asked.name, tasks=tasks, max_fails=None))
    with jobs.open("a") as file:
        print(job, file=file)
    print(f"Job submitted successfully, job ID: {job}")


def wait():
    ids = [int(line) for line in jobs.read_text().split()]
    failed = Client(str(folder)).connection.wait_for_jobs(ids, lambda status: None)
    sys.exit(f"jobs failed: {failed}" if failed else 0)


def main(words):
    # A signal that a thread of the engine's would take does not end the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    match words:
        case ["server", "start"]:
            serve()
        case ["server", "info"]:
            Client(str(folder))
        case ["worker", "start", cpus, "--on-server-lost=stop"] if cpus.startswith("--cpus="):
            work(int(cpus.removeprefix("--cpus=")))
        case ["submit", *words]:
            submit(words)
        case ["job", "wait", "all"]:
            wait()
        case _:
            sys.exit(f"hq.py knows no `{' '.join(words)}`\n{__doc__}")


main(sys.argv[1:])
