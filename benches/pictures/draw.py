"""Draws digits as people photograph and draw them: 10 digits in 11 styles, and in every font that is given.

usage: draw.py FOLDER [FONT.ttf ...]             then: kiln predict MODEL FOLDER --json
       draw.py --held-out FOLDER FONT.ttf ...    each digit in each font and each of the kinds below
       draw.py --letters FOLDER FONT.ttf ...     letters that are no digit, as 28x28 pixels in FOLDER/train and FOLDER/test
       draw.py --score < ANSWERS                 right answers per kind, of what `kiln predict --json` said of the first two
Each file's name begins with its digit. Needs: pip install pillow numpy.
"""

import collections
import colorsys
import json
import math
import pathlib
import random
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont


def arc(x, y, across, down, start=0.0, end=1.0):
    """Points on an ellipse, in turns clockwise from the top."""
    turns = [2 * math.pi * (start + (end - start) * i / 32) - math.pi / 2 for i in range(33)]
    return [(x + across * math.cos(turn), y + down * math.sin(turn)) for turn in turns]


STROKES = {  # in units of the digit's square
    0: [arc(0.5, 0.5, 0.2, 0.3)],
    1: [[(0.52, 0.2), (0.5, 0.8)]],
    2: [arc(0.5, 0.35, 0.18, 0.15, -0.2, 0.35) + [(0.3, 0.78), (0.72, 0.78)]],
    3: [arc(0.48, 0.34, 0.17, 0.14, -0.15, 0.5) + arc(0.48, 0.64, 0.19, 0.16, 0, 0.65)],
    4: [[(0.36, 0.2), (0.32, 0.52), (0.7, 0.52)], [(0.62, 0.2), (0.6, 0.82)]],
    5: [[(0.68, 0.22), (0.38, 0.22), (0.36, 0.46)] + arc(0.48, 0.62, 0.19, 0.17, 0, 0.62)],
    6: [[(0.6, 0.18), (0.44, 0.36), (0.36, 0.6)] + arc(0.5, 0.66, 0.15, 0.14, -0.25, 0.75)],
    7: [[(0.3, 0.22), (0.7, 0.22), (0.46, 0.82)]],
    8: [arc(0.5, 0.35, 0.13, 0.14, 0.5, -0.5) + arc(0.5, 0.65, 0.16, 0.16, 0, 1)],
    9: [arc(0.48, 0.36, 0.15, 0.15, 0.25, -0.75) + [(0.63, 0.5), (0.58, 0.82)]],
}

# name: picture size, side and corner of the digit's square, pen, ink, paper, degrees, noise (with uneven light and blur)
STYLES = {
    "thick": ((200, 200), 200, (0, 0), 26, "black", "white", 0, 0),
    "thin": ((200, 200), 200, (0, 0), 3, "black", "white", 0, 0),
    "blue": ((300, 200), 170, (90, 20), 9, (30, 60, 200), "white", 0, 0),
    "white_on_black": ((128, 128), 128, (0, 0), 10, "white", "black", 0, 0),
    "off_centre": ((400, 300), 110, (270, 170), 9, (20, 20, 20), (250, 250, 245), 0, 0),
    "red_turned": ((240, 240), 220, (10, 10), 12, (200, 20, 30), (255, 250, 240), 12, 0),
    "turned_left": ((240, 240), 220, (10, 10), 14, (40, 40, 40), "white", -12, 0),
    "photo": ((640, 480), 380, (120, 60), 24, (50, 50, 70), (215, 210, 200), 6, 14),
    "tiny": ((16, 16), 16, (0, 0), 2, "black", "white", 0, 0),
    "large": ((4000, 3000), 2600, (700, 200), 150, (10, 10, 10), (240, 240, 235), 4, 6),
    "green_paper": ((200, 260), 190, (5, 40), 12, (250, 250, 210), (30, 90, 60), 0, 0),
}


def draw(digit, size, side, corner, pen, ink, paper, degrees, noise):
    finer = 4 if size[0] < 500 else 1  # drawn finer and shrunk, so that edges are smooth
    picture = Image.new("RGB", (size[0] * finer, size[1] * finer), paper)
    canvas = ImageDraw.Draw(picture)
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    for stroke in STROKES[digit]:
        points = []
        for x, y in stroke:
            x, y = (x - 0.5) * side, (y - 0.5) * side
            points.append(((corner[0] + side / 2 + x * cosine - y * sine) * finer,
                           (corner[1] + side / 2 + x * sine + y * cosine) * finer))
        canvas.line(points, fill=ink, width=pen * finer, joint="curve")
        for x, y in (points[0], points[-1]):
            half = pen * finer / 2
            canvas.ellipse((x - half, y - half, x + half, y + half), fill=ink)
    picture = picture.resize(size, Image.LANCZOS)
    if not noise:
        return picture
    light = np.asarray(Image.linear_gradient("L").rotate(90 * (digit % 2)).resize(size), float)[..., None] / 255
    grain = np.random.RandomState(digit).normal(0, noise, (size[1], size[0], 1))
    pixels = np.asarray(picture, float) * (0.62 + 0.38 * light) + grain
    return Image.fromarray(pixels.clip(0, 255).astype("uint8")).filter(ImageFilter.GaussianBlur(1.5))


def plain(digit, font, rng):
    return glyph(digit, font, 90, (150, 170), "black", "white", 0)


def coloured(digit, font, rng):
    hue = rng.random()
    ink, paper = (tuple(int(255 * level) for level in hsv(hue + turn, 0.8, value)) for turn, value in ((0, 0.45), (0.4, 0.97)))
    if rng.random() < 0.3:
        ink, paper = paper, ink
    return glyph(digit, font, rng.randint(60, 110), (220, 180), ink, paper, 0)


def turned(digit, font, rng):
    degrees = rng.choice((-1, 1)) * rng.uniform(5, 15)
    return glyph(digit, font, 90, (180, 180), (40, 40, 40), (250, 250, 245), degrees)


def photo(digit, font, rng):
    """Off the centre, a little turned, seen at a slant, with uneven light, grain and blur."""
    side = rng.randint(320, 480)
    paper = tuple(rng.randint(185, 225) for _ in range(3))
    ink = tuple(rng.randint(20, 70) for _ in range(3))
    picture = glyph(digit, font, int(side * rng.uniform(0.35, 0.5)), (side, side), ink, paper, rng.uniform(-8, 8),
                    [rng.uniform(-0.12, 0.12) * side for _ in range(2)])
    slant = [rng.uniform(-0.06, 0.06) * side for _ in range(8)]
    corners = (0, 0, 0, side, side, side, side, 0)
    picture = picture.transform((side, side), Image.QUAD, [c + s for c, s in zip(corners, slant)], Image.BILINEAR,
                                fillcolor=paper)
    noise = np.random.RandomState(rng.randrange(2**31))
    light = np.asarray(Image.linear_gradient("L").rotate(90 * rng.randrange(4)).resize((side, side)), float) / 255
    grain = noise.normal(0, 10, (side, side, 1))
    pixels = np.asarray(picture, float) * (0.6 + 0.4 * light[..., None]) + grain
    return Image.fromarray(pixels.clip(0, 255).astype("uint8")).filter(ImageFilter.GaussianBlur(rng.uniform(0.8, 2)))


KINDS = {"plain": plain, "coloured": coloured, "turned": turned, "photo": photo}


def hsv(hue, saturation, value):
    return colorsys.hsv_to_rgb(hue % 1, saturation, value)


def glyph(character, font, size, canvas, ink, paper, degrees, away=(0, 0)):
    """A character in the middle of a canvas, or away from it, turned about its middle."""
    finer = 2
    font = ImageFont.truetype(font, size * finer)
    picture = Image.new("RGB", (canvas[0] * finer, canvas[1] * finer), paper)
    middle = ((canvas[0] / 2 + away[0]) * finer, (canvas[1] / 2 + away[1]) * finer)
    box = font.getbbox(str(character))
    corner = (middle[0] - (box[0] + box[2]) / 2, middle[1] - (box[1] + box[3]) / 2)
    ImageDraw.Draw(picture).text(corner, str(character), font=font, fill=ink)
    picture = picture.rotate(degrees, Image.BICUBIC, center=middle, fillcolor=paper)
    return picture.resize(canvas, Image.LANCZOS)


def held_out(folder, fonts):
    rng = random.Random(2026)
    for index, font in enumerate(fonts):
        for digit in range(10):
            for kind, make in KINDS.items():
                make(digit, font, rng).save(folder / f"{digit}_{kind}_{index}.{'jpg' if kind == 'photo' else 'png'}")


# Not those that some font or hand draws as a digit: B D I J O Q S Z, and b g i j l o q s z.
LETTERS = "ACEFGHKLMNPRTUVWXY" + "acdefhkmnprtuvwxy"


def letters(folder, fonts):
    """As MNIST is: bright on black, fitted into 20x20 pixels, its centre of mass in the middle of 28x28."""
    for index, font in enumerate(fonts):
        for letter in LETTERS:
            picture = glyph(letter, font, 120, (260, 260), "white", "black", 0).convert("L")
            picture = picture.crop(picture.getbbox())
            scale = 20 / max(picture.size)
            picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.LANCZOS)
            ink = np.asarray(picture, float)
            rows, columns = np.indices(ink.shape)
            across, down = (columns * ink).sum() / ink.sum(), (rows * ink).sum() / ink.sum()
            out = Image.new("L", (28, 28), 0)
            out.paste(picture, (round(13.5 - across), round(13.5 - down)))
            case = "upper" if letter.isupper() else "lower"
            # A data set has both parts; the letters are asked about in the second.
            for part in ("train", "test"):
                place = folder / part / f"{case}_{letter}"
                place.mkdir(parents=True, exist_ok=True)
                out.save(place / f"{index}.png")


def score(lines):
    """Right answers by kind, and how many pictures of each got a warning."""
    kinds = collections.defaultdict(lambda: [0, 0, 0])
    for line in lines:
        answer = json.loads(line)
        digit, kind = pathlib.Path(answer["picture"]).stem.split("_", 1)
        if kind.rsplit("_", 1)[-1].isdigit():
            kind = kind.rsplit("_", 1)[0]
        for name in (kind, "all"):
            kinds[name][0] += 1
            kinds[name][1] += answer.get("top", [{}])[0].get("label") == digit
            kinds[name][2] += bool(answer.get("out_of_distribution"))
    for name, (pictures, right, warned) in kinds.items():
        print(f"{name:<16} {right:>4} of {pictures:>4} right ({100 * right / pictures:5.1f} %), {warned} warned of")


def main():
    if sys.argv[1] == "--score":
        return score(sys.stdin)
    special = {"--held-out": held_out, "--letters": letters}.get(sys.argv[1])
    folder = pathlib.Path(sys.argv[2 if special else 1])
    folder.mkdir(parents=True, exist_ok=True)
    if special:
        return special(folder, sys.argv[3:])
    for digit in STROKES:
        for name, style in STYLES.items():
            draw(digit, *style).save(folder / f"{digit}_{name}.{'jpg' if style[-1] else 'png'}")
        for index, font in enumerate(sys.argv[2:]):
            picture = Image.new("L", (90, 120), 255)
            ImageDraw.Draw(picture).text((20, 10), str(digit), font=ImageFont.truetype(font, 90), fill=0)
            picture.save(folder / f"{digit}_font{index}.png")


if __name__ == "__main__":
    main()
