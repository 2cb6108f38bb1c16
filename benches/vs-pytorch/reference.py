"""The PyTorch and the ONNX Runtime side of the comparison: the nets of this folder with the same batch, image size and number
of threads as kiln's, and the train_mnist_fast recipe (one epoch over all training images, then the test images).

usage: reference.py FOLDER {p,f,convnet,resnet,mlp,lenet,convnet-colour,resnet-colour,fast} [--threads 2] [--images 6000]
                    [--rounds 3] [--columns train,inference,single] [--layouts contiguous,channels_last]
                    [--onnx FILE] [--seed 1]
  FOLDER holds MNIST's raw IDX files in train/ and test/: kiln leaves them in the cache folder of burn-dataset, under mnist.
  --onnx FILE also measures ONNX Runtime, one image at a time, with the file that `kiln export --format onnx` wrote.
Prints one JSON object; each figure is that of the better memory layout. Needs: pip install torch numpy onnxruntime.
"""

import argparse
import json
import pathlib
import statistics
import time

import numpy as np
import torch
from torch import nn

# Images that go through the network together where inference is not of one image.
INFERENCE_BATCH = 500
# One image at a time: calls that warm up, calls that are measured at most, and the seconds after which no more are.
WARM_UP, MOST_CALLS, MOST_SECONDS = 20, 1000, 1.0
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def mnist(folder, part, prefix):
    pixels = np.fromfile(folder / part / f"{prefix}-images-idx3-ubyte", dtype=np.uint8)[16:].reshape(-1, 1, 28, 28)
    labels = np.fromfile(folder / part / f"{prefix}-labels-idx1-ubyte", dtype=np.uint8)[8:]
    return torch.from_numpy(pixels.copy()), torch.from_numpy(labels.copy()).long()


def colour(count):
    """Made-up images: the same ones each time."""
    draw = np.random.default_rng(1)
    pixels = draw.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return torch.from_numpy(pixels), torch.from_numpy(draw.integers(0, 10, count))


def inputs(pixels, layout=torch.contiguous_format):
    return ((pixels.float() / 255 - 0.1307) / 0.3081).contiguous(memory_format=layout)


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


def net_lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )


def net_mlp():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    )


def convnet(channels, widths, side):
    """Blocks of convolution, batch norm, ReLU and pool; then 128 hidden units."""
    layers = []
    for width in widths:
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        channels, side = width, side // 2
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(channels * side * side, 128), nn.ReLU(), nn.Linear(128, 10)
    )


class Residual(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
        )
        projected = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.shortcut = projected if stride > 1 or channels != width else nn.Identity()

    def forward(self, images):
        return torch.relu(self.body(images) + self.shortcut(images))


def resnet(channels, widths, blocks):
    layers = [nn.Conv2d(channels, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
    channels = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(Residual(channels, width, 2 if stage > 0 and block == 0 else 1))
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


# How each net is made, and its batch.
NETS = {
    "p": (net_p, 100),
    "f": (net_f, 256),
    "convnet": (lambda: convnet(1, [32, 64], 28), 128),
    "resnet": (lambda: resnet(1, [16, 32, 64], 1), 128),
    "mlp": (net_mlp, 128),
    "lenet": (net_lenet, 64),
    "convnet-colour": (lambda: convnet(3, [64, 128, 128, 256], 32), 128),
    "resnet-colour": (lambda: resnet(3, [32, 64, 128], 2), 128),
}


def best(rounds, work):
    """Images per second of the fastest round, after one that warms up."""
    work()
    rates = []
    for _ in range(rounds):
        start = time.perf_counter()
        images = work()
        rates.append(images / (time.perf_counter() - start))
    return max(rates)


def latency(images, work):
    """The median seconds of a call with one image."""
    seconds, begun = [], None
    for call in range(WARM_UP + MOST_CALLS):
        start = time.perf_counter()
        work(images[call % len(images)])
        now = time.perf_counter()
        if call >= WARM_UP:
            seconds.append(now - start)
            begun = begun or start
            if now - begun > MOST_SECONDS:
                break
    return statistics.median(seconds)


def training(net, batch, pixels, labels, layout, count, rounds):
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def work():
        for start in range(0, count - batch + 1, batch):
            part = slice(start, start + batch)
            loss = nn.functional.cross_entropy(net(inputs(pixels[part], layout)), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return count // batch * batch

    return best(rounds, work)


def inference(net, pixels, layout, count, rounds):
    net.eval()

    def work():
        for start in range(0, count, INFERENCE_BATCH):
            net(inputs(pixels[start : start + INFERENCE_BATCH], layout)).argmax(1)
        return count

    with torch.inference_mode():
        return best(rounds, work)


def single(net, pixels, layout):
    net.eval()
    with torch.inference_mode():
        return latency(pixels.split(1), lambda image: net(inputs(image, layout)).argmax(1).item())


def measure(make, batch, pixels, labels, arguments):
    """Every figure that is asked for, in the better layout for it."""
    count = max(arguments.images // batch, 1) * batch
    infer = max(arguments.images // INFERENCE_BATCH, 1) * INFERENCE_BATCH
    found = {}
    for layout in (LAYOUTS[name] for name in arguments.layouts.split(",")):
        torch.manual_seed(arguments.seed)
        net = make().to(memory_format=layout)
        if "train" in arguments.columns:
            rate = training(net, batch, pixels, labels, layout, count, arguments.rounds)
            found["train_images_per_second"] = max(rate, found.get("train_images_per_second", 0))
        if "inference" in arguments.columns:
            rate = inference(net, pixels, layout, infer, arguments.rounds)
            found["inference_images_per_second"] = max(rate, found.get("inference_images_per_second", 0))
        if "single" in arguments.columns:
            seconds = single(net, pixels[:64], layout)
            found["single_image_seconds"] = min(seconds, found.get("single_image_seconds", seconds))
    return found


def onnx(file, pixels, threads):
    """The median seconds of one image in ONNX Runtime, from raw pixels to the class."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    images = [image.numpy() for image in pixels[:64].split(1)]
    if given.type == "tensor(float)":
        images = [image.astype(np.float32) for image in images]
    output = session.get_outputs()[0].name
    return latency(images, lambda image: session.run([output], {given.name: image})[0].argmax())


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
    return {"train_seconds": seconds, "test_accuracy": correct / len(test_labels)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("what", choices=[*NETS, "fast"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--columns", default="train,inference,single")
    parser.add_argument("--layouts", default=",".join(LAYOUTS))
    parser.add_argument("--onnx", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    if arguments.what == "fast":
        parts = (mnist(arguments.folder, "train", "train"), mnist(arguments.folder, "test", "t10k"))
        print(json.dumps(fast(*parts[0], *parts[1])))
        return
    is_colour = arguments.what.endswith("-colour")
    pixels, labels = colour(2000) if is_colour else mnist(arguments.folder, "train", "train")
    found = measure(*NETS[arguments.what], pixels, labels, arguments)
    if arguments.onnx:
        found["onnx_single_image_seconds"] = onnx(arguments.onnx, pixels, arguments.threads)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
