"""Pictures in the forms that Python programs have: all are answered alike, and as the command does."""

import io
import json
import subprocess
from pathlib import Path

import numpy
from PIL import Image, ImageDraw

import kiln

predictor = kiln.Predictor("runs/digits-0001")
picture = Image.new("RGB", (300, 260), (240, 238, 230))
ImageDraw.Draw(picture).line([(90, 60), (190, 55), (130, 210)], fill=(20, 30, 90), width=16, joint="curve")
encoded = io.BytesIO()
picture.save(encoded, "PNG")
grey = picture.convert("L")

expected = predictor.predict(encoded.getvalue())
assert expected.label == "7" and len(expected.ranked) == 10, expected
for same in [picture, numpy.asarray(picture), memoryview(encoded.getvalue()), picture.convert("RGBA"), numpy.asarray(picture.convert("RGBA"))]:
    assert predictor.predict(same) == expected, same
assert predictor.predict(grey) == predictor.predict(numpy.asarray(grey)) == predictor.predict(numpy.asarray(grey)[:, :, None])
# A view that does not lie in one piece.
wide = numpy.repeat(numpy.asarray(picture), 2, axis=1)
assert predictor.predict(wide[:, ::2]) == expected
assert predictor.predict_batch([picture, grey])[0] == expected

Path("seven.png").write_bytes(encoded.getvalue())
said = json.loads(subprocess.run(["kiln", "predict", "runs/digits-0001", "seven.png", "--json"], check=True, capture_output=True, text=True).stdout)
assert (said["label"], said["probability"]) == (expected.label, expected.probability)

for wrong in [numpy.zeros((28, 28), numpy.float32), numpy.zeros(784, numpy.uint8), numpy.zeros((3, 28, 28), numpy.uint8)]:
    try:
        predictor.predict(wrong)
    except TypeError:
        pass
    else:
        raise AssertionError(wrong.shape)
for call in [lambda: predictor.predict(numpy.zeros((0, 5), numpy.uint8)), lambda: predictor.predict(grey, raw=True)]:
    try:
        call()
    except kiln.KilnError:
        pass
    else:
        raise AssertionError("not refused")
print("ok      bytes, PIL images and NumPy arrays are answered alike")
