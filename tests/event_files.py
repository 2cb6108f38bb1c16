"""What kiln writes for TensorBoard, as TensorBoard's own reader finds it.

usage: event_files.py RUN ...        Needs: pip install tensorboard pillow
Each RUN is a directory that `kiln train` made with `log.tensorboard = true`, whatever happened to it since.
"""

import io
import json
import pathlib
import sys

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {
    "loss/train": "train_loss",
    "loss/validation": "validation_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/validation": "validation_accuracy",
    "learning_rate": "learning_rate",
    "images_per_second": "images_per_second",
    "epoch": "epoch",
}


def check(run):
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert epochs, f"{run}: no epochs"
    for tag, key in TAGS.items():
        expected = [(epoch["iteration"], epoch[key]) for epoch in epochs if epoch[key] is not None]
        found = [(event.step, event.value) for event in events.Scalars(tag)] if tag in tags["scalars"] else []
        assert len(found) == len(expected), f"{run}: {tag}: {len(found)} values of {len(expected)}"
        for (step, value), (expected_step, expected_value) in zip(found, expected):
            assert step == expected_step, f"{run}: {tag}: step {step}, not {expected_step}"
            assert abs(value - expected_value) <= 1e-6 * max(1.0, abs(expected_value)), f"{run}: {tag}: {value}"

    steps = [event.step for event in events.Scalars("loss/epoch so far")] if "loss/epoch so far" in tags["scalars"] else []
    assert steps == sorted(set(steps)), f"{run}: steps are told twice or out of order"

    config = events.Tensors("config")[-1].tensor_proto.string_val[0].decode()
    assert config == f"```toml\n{(run / 'config.toml').read_text()}```\n", f"{run}: the config is another"

    record = json.loads((run / "run.json").read_text())
    wanted = ["training pictures"] + (["worst mistakes"] if done_with_mistakes(record) else [])
    for tag in wanted:
        [image] = events.Images(tag)
        picture = Image.open(io.BytesIO(image.encoded_image_string))
        picture.load()
        assert picture.size == (image.width, image.height), f"{run}: {tag}: {picture.size}"
    if record["status"] == "done":
        accuracy = events.Scalars("accuracy/test")[-1].value
        assert abs(accuracy - record["result"]["test_accuracy"]) < 1e-6, f"{run}: test accuracy {accuracy}"
    print(f"{run}: {len(epochs)} epochs, {len(steps)} values between them, {len(wanted)} sheets")


def done_with_mistakes(record):
    result = record.get("result")
    return record["status"] == "done" and result["test_correct"] < result["test_total"]


if not sys.argv[1:]:
    sys.exit(__doc__)
for run in sys.argv[1:]:
    check(pathlib.Path(run))
