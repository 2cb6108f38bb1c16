"""Draws digits as people photograph and draw them: 10 digits in 11 styles, and in every font that is given.

usage: draw.py FOLDER [FONT.ttf ...]        then: kiln predict MODEL FOLDER --json
Each file's name begins with its digit. Needs: pip install pillow numpy.
"""

import math
import pathlib
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


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for digit in STROKES:
        for name, style in STYLES.items():
            draw(digit, *style).save(folder / f"{digit}_{name}.{'jpg' if style[-1] else 'png'}")
        for index, font in enumerate(sys.argv[2:]):
            picture = Image.new("L", (90, 120), 255)
            ImageDraw.Draw(picture).text((20, 10), str(digit), font=ImageFont.truetype(font, 90), fill=0)
            picture.save(folder / f"{digit}_font{index}.png")


if __name__ == "__main__":
    main()
