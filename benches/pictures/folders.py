"""Makes up folders of pictures to try `kiln new` and `kiln train` on.

usage: folders.py shapes|marks|digits|many FOLDER
  shapes  415 pictures of circles, squares and (few) triangles in any colours and sizes, with broken files and a Thumbs.db
  marks   600 pictures of 20 classes: five shapes drawn in four ways
  digits  600 handwritten digits of MNIST
  many    100,000 colour pictures of 32 x 32 pixels in 10 classes
Needs: pip install pillow numpy.
"""

import gzip
import pathlib
import sys

import numpy as np
from PIL import Image

rng = np.random.default_rng(1)


def shape(corners, style, side):
    """A shape of so many corners, 0 for a circle, somewhere in a picture, turned by any angle, in two colours that differ."""
    ground = rng.uniform(0, 255, 3)
    ink = rng.uniform(0, 255, 3)
    while np.abs(ground - ink).sum() < 150:
        ink = rng.uniform(0, 255, 3)
    radius = rng.uniform(0.2, 0.42) * side
    x, y = rng.uniform(radius, side - radius, 2)
    turn = rng.uniform(0, 2 * np.pi)
    down, right = np.mgrid[0:side, 0:side] + 0.5
    down, right = down - y, right - x
    distance = np.hypot(right, down)
    edge = radius
    if corners:
        part = 2 * np.pi / corners
        edge = radius * np.cos(part / 2) / np.cos((np.arctan2(down, right) + turn) % part - part / 2)
    inside = distance < edge
    if style == "outlined":
        inside &= distance > 0.75 * edge
    elif style == "striped":
        inside &= (right * np.cos(turn) - down * np.sin(turn)) / side * 14 % 2 < 1
    elif style == "dotted":
        inside &= (right / side * 10 % 1 < 0.7) & (down / side * 10 % 1 < 0.7)
    pixels = np.where(inside[..., None], ink, ground) + rng.uniform(-1, 1, (side, side, 3)) * rng.uniform(0, 25)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def save(picture, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)


def shapes(folder):
    for name, corners, count in [("circle", 0, 205), ("square", 4, 185), ("triangle", 3, 25)]:
        for number in range(count):
            place = folder / name / ("more" if number % 5 == 0 else ".")
            ending = ["png", "jpg", "bmp"][rng.integers(3)]
            save(shape(corners, "filled", int(rng.integers(40, 120))), place / f"{number:03}.{ending}")
    (folder / "circle/cut.png").write_bytes(next((folder / "circle").glob("*.png")).read_bytes()[:300])
    (folder / "square/cut.jpg").write_bytes(next((folder / "square").glob("*.jpg")).read_bytes()[:300])
    (folder / "square/empty.png").write_bytes(b"")
    (folder / "triangle/notes.txt").write_text("there are few of these")
    (folder / "circle/Thumbs.db").write_bytes(bytes(100))


def marks(folder):
    for corners, name in [(0, "circle"), (3, "triangle"), (4, "square"), (5, "pentagon"), (2, "bar")]:
        for style in ["filled", "outlined", "striped", "dotted"]:
            for number in range(30):
                picture = shape(corners if corners > 2 or corners == 0 else 4, style, int(rng.integers(56, 86)))
                if corners == 2:
                    # A bar is a square that was squeezed.
                    side = picture.width
                    picture = picture.resize((side // 3, side)).resize((side, side), box=(0, 0, side // 3, side // 3))
                save(picture, folder / f"{style} {name}" / f"{number:02}.png")


def digits(folder):
    data = pathlib.Path(__file__).parents[2] / "data/mnist"
    images = np.frombuffer(gzip.open(data / "train-images-idx3-ubyte.gz").read(), np.uint8, offset=16)
    labels = np.frombuffer(gzip.open(data / "train-labels-idx1-ubyte.gz").read(), np.uint8, offset=8)
    for number in range(600):
        pixels = images[784 * number : 784 * (number + 1)].reshape(28, 28)
        save(Image.fromarray(pixels), folder / str(labels[number]) / f"{number:03}.png")


def many(folder):
    for number in range(100_000):
        kind = number % 10
        picture = shape([0, 3, 4, 5, 6][kind % 5], ["filled", "outlined"][kind // 5], 32)
        save(picture, folder / f"class {kind}" / f"{number:05}.png", compress_level=1)


if __name__ == "__main__":
    makers = {"shapes": shapes, "marks": marks, "digits": digits, "many": many}
    if len(sys.argv) != 3 or sys.argv[1] not in makers:
        sys.exit(__doc__)
    makers[sys.argv[1]](pathlib.Path(sys.argv[2]))
