"""The PyTorch side of the comparison: nets P and F with the same batch, data and number of threads as kiln's.

usage: reference.py FOLDER [--threads 2] [--images 6000]
  FOLDER holds MNIST's raw IDX files (kiln leaves them in the cache folder of burn-dataset, under mnist/train).
Prints one JSON object per net. Needs: pip install torch numpy.
"""

import argparse
import json
import pathlib
import time

import numpy as np
import torch
from torch import nn

ROUNDS = 3


def images_and_labels(folder):
    pixels = np.fromfile(folder / "train-images-idx3-ubyte", dtype=np.uint8)[16:].reshape(-1, 1, 28, 28)
    labels = np.fromfile(folder / "train-labels-idx1-ubyte", dtype=np.uint8)[8:]
    return torch.from_numpy(pixels.copy()), torch.from_numpy(labels.copy()).long()


def inputs(pixels):
    return (pixels.float() / 255 - 0.1307) / 0.3081


def net_p():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10),
    )


def net_f():
    return nn.Sequential(
        nn.Conv2d(1, 24, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(24, 32, 3), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(800, 256), nn.ReLU(), nn.Linear(256, 10),
    )


def best(work):
    """Images per second of the fastest round, after one that warms up."""
    work()
    rates = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        images = work()
        rates.append(images / (time.perf_counter() - start))
    return max(rates)


def measure(name, net, batch, pixels, labels, count):
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def train():
        for start in range(0, count - batch + 1, batch):
            part = slice(start, start + batch)
            loss = nn.functional.cross_entropy(net(inputs(pixels[part])), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return count // batch * batch

    def infer():
        with torch.inference_mode():
            for start in range(0, count, 500):
                net(inputs(pixels[start : start + 500])).argmax(1)
        return count

    print(json.dumps({"net": name, "train_images_per_second": best(train), "inference_images_per_second": best(infer)}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--net", choices=["p", "f"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    pixels, labels = images_and_labels(arguments.folder)
    for name, make, batch in (("p", net_p, 100), ("f", net_f, 256)):
        if arguments.net in (None, name):
            measure(name, make(), batch, pixels, labels, arguments.images)


if __name__ == "__main__":
    main()
