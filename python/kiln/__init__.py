"""kiln: train, measure and use small-image classifiers.

    import kiln

    run = kiln.train("mnist", {"train.epochs": 3}, progress=print)
    predictor = kiln.Predictor(run.model)
    print(predictor.predict(open("digit.png", "rb").read()).label)

The command ``kiln`` does the same and more; ``kiln --help`` lists it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

# Burn restores an optimizer's state on its default device, which must be there; set before any thread starts.
os.environ["BURN_DEVICE"] = "flex"

from . import _kiln  # noqa: E402
from ._kiln import KilnError  # noqa: E402

__all__ = ["KilnError", "Prediction", "Predictor", "Run", "train"]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The answer for one picture."""

    label: str
    """The likeliest class."""
    probability: float
    """Its probability, 0 to 1."""
    ranked: list[tuple[str, float]]
    """All classes with their probabilities, the likeliest first."""


class Predictor:
    """A model file, ready to answer. It holds all that it takes: weights, preprocessing, class names. Threads may share it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens a model file of any format, or a run's directory, and checks all of it."""
        path = Path(path)
        inside = path / "model.bpk"
        self._predictor = _kiln.Predictor(inside if inside.is_file() else path)
        self._manifest: dict[str, Any] = json.loads(self._predictor.manifest())

    @property
    def manifest(self) -> dict[str, Any]:
        """What the model says about itself: classes, preprocessing, metrics, where it came from."""
        return self._manifest

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the labels."""
        return list(self._manifest["classes"])

    def predict(self, picture: Any, *, raw: bool = False) -> Prediction:
        """The answer for one picture: the bytes of a PNG, JPEG, BMP, WebP or GIF, a PIL image, or a NumPy array of bytes
        ``[height, width]`` or ``[height, width, 1, 3 or 4]``. It may have any size; with ``raw`` it is taken as the
        training images are, and must have the network's."""
        return self.predict_batch([picture], raw=raw)[0]

    def predict_batch(self, pictures: Iterable[Any], *, raw: bool = False) -> list[Prediction]:
        """The answers for many pictures, in their order."""
        found = self._predictor.predict([_pixels(picture) for picture in pictures], raw)
        return [Prediction(*ranked[0], ranked) for ranked in found]

    def __repr__(self) -> str:
        return f"<kiln.Predictor: {self._manifest['model']['kind']}, {len(self._manifest['classes'])} classes>"


@dataclasses.dataclass(frozen=True)
class Run:
    """What a training run came to."""

    path: Path
    """Its directory."""
    model: Path | None
    """Its model file; absent when no epoch was finished."""
    report: Path | None
    """The page that shows it."""
    test_accuracy: float | None
    """The accuracy of the best epoch's model on the test images, 0 to 1."""
    validation_accuracy: float | None
    """That on the validation images."""
    best_epoch: int | None
    epochs: int
    iterations: int
    train_seconds: float | None
    warnings: list[str]


def train(
    config: str | os.PathLike[str] = "mnist",
    overrides: Mapping[str, Any] | None = None,
    *,
    runs: str | os.PathLike[str] = "runs",
    progress: Callable[[dict[str, Any]], object] | None = None,
) -> Run:
    """Trains an experiment, as ``kiln train`` does.

    ``config`` is a file, or the name of one that is built in. ``overrides`` changes keys of it: ``{"train.epochs": 3}``.
    ``progress`` is called with a dictionary whose ``event`` is ``start``, ``iteration`` or ``epoch``. What it raises, and
    Ctrl-C, stops the run in good order: what was trained is saved, and ``kiln resume`` goes on with it.
    """
    sets = [f"{key}={_toml(value)}" for key, value in (overrides or {}).items()]
    found = _kiln.train(os.fspath(config), sets, Path(runs), progress)
    path = lambda key: Path(found[key]) if found.get(key) is not None else None  # noqa: E731
    return Run(
        path=Path(found["run"]),
        model=path("model"),
        report=path("report"),
        test_accuracy=found.get("test_accuracy"),
        validation_accuracy=found.get("validation_accuracy"),
        best_epoch=found.get("best_epoch"),
        epochs=found.get("epochs", 0),
        iterations=found["iterations"],
        train_seconds=found.get("train_seconds"),
        warnings=found["warnings"],
    )


def _toml(value: Any) -> str:
    """A value as ``--set`` takes it. JSON's texts, numbers and lists are TOML's."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    return json.dumps(os.fspath(value) if isinstance(value, os.PathLike) else value)


def _pixels(picture: Any) -> bytes | tuple[int, int, int, bytes]:
    """Encoded bytes, or width, height, channels and pixels."""
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if hasattr(picture, "__array_interface__") and hasattr(picture, "dtype"):
        if str(picture.dtype) != "uint8" or picture.ndim not in (2, 3):
            raise TypeError(
                "an array must hold bytes (dtype uint8), [height, width] or [height, width, channels], "
                f"got {picture.dtype} with {picture.ndim} dimensions"
            )
        height, width = picture.shape[:2]
        channels = picture.shape[2] if picture.ndim == 3 else 1
        if channels not in (1, 3, 4):
            raise TypeError(f"an array must have 1, 3 or 4 channels, the last of its dimensions, got {channels}")
        return width, height, channels, picture.tobytes()
    if hasattr(picture, "convert") and hasattr(picture, "getbands"):
        has_alpha = "A" in picture.getbands() or "transparency" in picture.info
        picture = picture.convert("RGBA" if has_alpha else "L" if picture.mode == "L" else "RGB")
        return picture.width, picture.height, len(picture.getbands()), picture.tobytes()
    raise TypeError(f"a picture must be bytes, a PIL image or a NumPy array, got {type(picture).__name__}")


def _main() -> int:
    program = Path(sys.argv[0]).absolute()
    if not program.exists() and program.with_suffix(".exe").exists():
        program = program.with_suffix(".exe")
    return _kiln.main(program, sys.argv[1:])
