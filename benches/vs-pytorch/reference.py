"""The PyTorch side of the comparison: nets P and F with the same batch, data and number of threads as kiln's, and the
train_mnist_fast recipe (one epoch over all training images, then the test images).

usage: reference.py FOLDER {p,f,fast} [--threads 2] [--images 6000] [--seed 1]
  FOLDER holds MNIST's raw IDX files in train/ and test/: kiln leaves them in the cache folder of burn-dataset, under mnist.
Prints one JSON object. Needs: pip install torch numpy.
"""

import argparse
import json
import pathlib
import time

import numpy as np
import torch
from torch import nn

ROUNDS = 3


def images_and_labels(folder, part, prefix):
    pixels = np.fromfile(folder / part / f"{prefix}-images-idx3-ubyte", dtype=np.uint8)[16:].reshape(-1, 1, 28, 28)
    labels = np.fromfile(folder / part / f"{prefix}-labels-idx1-ubyte", dtype=np.uint8)[8:]
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


def measure(net, batch, pixels, labels, count):
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

    print(json.dumps({"train_images_per_second": best(train), "inference_images_per_second": best(infer)}))


def fast(pixels, labels, test_pixels, test_labels):
    """The recipe: Adam 0.01 with betas 0.7 and 0.9, one cycle, batches of 256 in the order of the files."""
    prepared, batch = inputs(pixels), 256
    net = net_f()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, betas=(0.7, 0.9))
    steps = -(-len(prepared) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    start = time.perf_counter()
    for first in range(0, len(prepared), batch):
        part = slice(first, first + batch)
        loss = nn.functional.cross_entropy(net(prepared[part]), labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - start
    with torch.inference_mode():
        correct = sum(
            (net(inputs(images)).argmax(1) == right).sum().item()
            for images, right in zip(test_pixels.split(500), test_labels.split(500))
        )
    print(json.dumps({"train_seconds": seconds, "test_accuracy": correct / len(test_labels)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("what", choices=["p", "f", "fast"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    train = images_and_labels(arguments.folder, "train", "train")
    if arguments.what == "fast":
        fast(*train, *images_and_labels(arguments.folder, "test", "t10k"))
    else:
        make, batch = {"p": (net_p, 100), "f": (net_f, 256)}[arguments.what]
        measure(make(), batch, *train, arguments.images)


if __name__ == "__main__":
    main()
