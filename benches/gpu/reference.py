"""PyTorch's side of `benches/gpu/run`: training steps of one of the nets on the first CUDA device, eager and compiled, with
the images on the device from the beginning.

usage: reference.py {p,f,resnet} [--batch N] [--images 60000] [--rounds 3]
The images are made up: the speed does not depend on them. Prints one JSON object.
"""

import argparse
import json
import pathlib
import sys
import time

import torch
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "vs-pytorch"))
from reference import NETS  # noqa: E402


def rate(net, batch, pixels, labels, images, rounds):
    """Images per second of the fastest round, after one that warms up, compiles and tunes."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    fastest = 0.0
    for round_number in range(rounds + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        order = torch.randperm(images, device="cuda")
        for first in range(0, images - batch + 1, batch):
            part = order[first : first + batch]
            given = (pixels[part].float() / 255 - 0.1307) / 0.3081
            loss = nn.functional.cross_entropy(net(given), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        torch.cuda.synchronize()
        if round_number > 0:
            fastest = max(fastest, images // batch * batch / (time.perf_counter() - start))
    return fastest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", choices=["p", "f", "resnet"])
    parser.add_argument("--batch", type=int)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("PyTorch finds no CUDA device")
    make, batch = NETS[arguments.net]
    batch = arguments.batch or batch
    pixels = torch.randint(0, 256, (arguments.images, 1, 28, 28), dtype=torch.uint8, device="cuda")
    labels = torch.randint(0, 10, (arguments.images,), device="cuda")
    found = {}
    for name, prepare in (("eager", lambda net: net), ("compiled", torch.compile)):
        net = prepare(make().to("cuda").train())
        found[name] = rate(net, batch, pixels, labels, arguments.images, arguments.rounds)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
