"""The wheel in an environment with nothing else: the command, the predictor against it on 10,000 images, training."""

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import kiln


def command(*words: str, code: int = 0) -> str:
    ran = subprocess.run(["kiln", *words], capture_output=True, text=True)
    assert ran.returncode == code, (words, ran.returncode, ran.stderr)
    return ran.stdout + ran.stderr


def images(data: Path) -> list[bytes]:
    found = next(data.rglob("t10k-images*"))
    content = gzip.decompress(found.read_bytes()) if found.suffix == ".gz" else found.read_bytes()
    _, count, height, width = struct.unpack(">4I", content[:16])
    assert (count, height, width) == (10_000, 28, 28)
    return [content[16 + 784 * index :][:784] for index in range(count)]


def the_command_is_there(_: Path) -> None:
    assert command("--version").startswith("kiln ")
    assert "no command" not in command("nonsense", code=2)


def training_tells_how_it_goes(_: Path) -> None:
    events: list[dict] = []
    run = kiln.train("smoke", {"train.epochs": 2, "name": "told", "optimizer.learning_rate": 0.003}, runs="runs", progress=events.append)
    assert run.path == Path("runs/told-0001") and run.model is not None and run.model.is_file(), run
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == [1, 2]
    assert events[0]["event"] == "start" and any(event["event"] == "iteration" for event in events)
    assert run.epochs == 2 and run.test_accuracy is not None and run.report is not None
    config = command("config", "show", str(run.path / "config.toml"))
    assert "learning_rate = 0.003" in config, config


def what_the_function_raises_stops_the_run(_: Path) -> None:
    def stop(event: dict) -> None:
        if event["event"] == "epoch":
            raise ZeroDivisionError("enough")

    try:
        kiln.train("smoke", {"name": "raised", "train.epochs": 50}, progress=stop)
    except ZeroDivisionError:
        pass
    else:
        raise AssertionError("nothing was raised")
    command("resume", "runs/raised-0001", "--quiet")


def an_interrupt_stops_the_run(_: Path) -> None:
    threading.Thread(target=lambda: (time.sleep(0.7), os.kill(os.getpid(), signal.SIGINT))).start()
    begun = time.monotonic()
    try:
        kiln.train("smoke", {"name": "interrupted", "train.epochs": 5000})
    except KeyboardInterrupt:
        assert time.monotonic() - begun < 20
    else:
        raise AssertionError("not interrupted")


def errors_say_what_to_do(_: Path) -> None:
    for call, words in [
        (lambda: kiln.Predictor("nowhere.bpk"), "nowhere.bpk"),
        (lambda: kiln.train("smoke", {"train.epoch": 3}), "train.epochs"),
        (lambda: kiln.Predictor("runs/told-0001").predict(b"no picture"), "PNG"),
    ]:
        try:
            call()
        except kiln.KilnError as error:
            assert words in str(error), error
        else:
            raise AssertionError(words)
    try:
        kiln.Predictor("runs/told-0001").predict(7)
    except TypeError as error:
        assert "got int" in str(error)


def answers_equal_those_of_the_command(data: Path) -> None:
    """On all test images of MNIST, to the last bit of every probability."""
    command("train", "mnist-fast", "--quiet", "--set", "name=digits", "--set", "train.epochs=1")
    command("eval", "runs/digits-0001/model.bpk", "--save", "answers.jsonl", "--quiet")
    saved = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    predictor = kiln.Predictor("runs/digits-0001")

    class Array:  # what a NumPy array looks like
        __array_interface__ = {}
        dtype, ndim, shape = "uint8", 2, (28, 28)

        def __init__(self, pixels: bytes) -> None:
            self.tobytes = lambda: pixels

    begun = time.monotonic()
    answers = predictor.predict_batch([Array(image) for image in images(data)], raw=True)
    seconds = time.monotonic() - begun
    assert len(answers) == len(saved) == 10_000
    for answer, line in zip(answers, saved):
        probabilities = dict(answer.ranked)
        assert [probabilities[name] for name in predictor.classes] == list(line["probabilities"]), line
    right = sum(answer.label == str(line["label"]) for answer, line in zip(answers, saved))
    print(f"        10,000 answers equal, {right} right, {10_000 / seconds:,.0f} images/s")


def the_lock_is_let_go(data: Path) -> None:
    """Another thread goes on counting while a batch is computed."""
    predictor, count, done = kiln.Predictor("runs/digits-0001"), 0, threading.Event()

    class Array:
        __array_interface__ = {}
        dtype, ndim, shape = "uint8", 2, (28, 28)

        def __init__(self, pixels: bytes) -> None:
            self.tobytes = lambda: pixels

    pictures = [Array(image) for image in images(data)]

    def predict() -> None:
        predictor.predict_batch(pictures, raw=True)
        done.set()

    thread = threading.Thread(target=predict)
    thread.start()
    while not done.is_set():
        count += 1
        time.sleep(0.001)
    thread.join()
    assert count > 20, count


def sweeps_start_the_command_again(_: Path) -> None:
    out = command("sweep", "smoke", "--over", "optimizer.learning_rate=0.001,0.01", "--quiet", "--json")
    assert "smoke-sweep-0001" in out, out


if __name__ == "__main__":
    tests = [value for value in list(globals().values()) if getattr(value, "__module__", "") == "__main__" and callable(value)]
    for test in tests:
        if test.__name__ in ("command", "images"):
            continue
        test(Path(sys.argv[1]))
        print("ok      " + test.__name__.replace("_", " "))
