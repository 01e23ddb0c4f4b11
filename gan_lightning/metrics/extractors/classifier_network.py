"""The small convolutional classifier behind `classifier` features, and the fixed recipe that trains it.

The recipe is a ruler: whatever changes what comes out of it must raise `RECIPE`.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.randomness import mix

RECIPE = 1
FEATURES = 64                 # numbers per image
SMALLEST, LARGEST = 8, 64     # px that the network looks at; larger images are averaged down to LARGEST
WIDTHS = (16, 32, 64)         # maps of the first layers; the last width repeats
BATCH, LEARNING_RATE, WEIGHT_DECAY = 64, 3e-3, 1e-2
EPOCHS, FEWEST_SEEN, MOST_SEEN = 16, 20_000, 100_000


def shrink(images: Tensor) -> Tensor:
    """(b, C, H, W) -> the same as float32, averaged over areas down to LARGEST px if larger."""
    images = images.float()
    return F.adaptive_avg_pool2d(images, LARGEST) if images.shape[-1] > LARGEST else images


class Network(nn.Module):
    """Convolutions of stride 2 down to 4 px, a layer of 64, a linear layer to the classes; batch norm throughout.

    The features are the layer of 64 after its batch norm and before its ReLU: nearer to a Gaussian than what a ReLU
    leaves, and they saw noise and blur better and missing digits as well on a ladder of corrupted MNIST.
    """

    def __init__(self, resolution: int, channels: int, classes: int):
        super().__init__()
        side, layers = min(resolution, LARGEST), []
        strides = [1 if side <= 2 * SMALLEST - 1 else 2, 1]
        maps, depth = channels, 0
        while side > 4 or depth < len(strides):
            stride = strides[depth] if depth < len(strides) else 2
            width = WIDTHS[min(depth, len(WIDTHS) - 1)]
            layers += [nn.Conv2d(maps, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            maps, side, depth = width, -(-side // stride), depth + 1
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.features = nn.Sequential(nn.Linear(maps * side**2, FEATURES, bias=False), nn.BatchNorm1d(FEATURES))
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images in 0..255, (b, C, H, W) -> features (b, 64) and logits (b, classes)."""
        features = self.features(self.body(shrink(images) / 127.5 - 1))
        return features, self.head(F.relu(features))


def build(resolution: int, channels: int, classes: int, seed: int = 0) -> Network:
    """An untrained network; its weights are functions of `seed`, and no global generator moves."""
    with torch.random.fork_rng(devices=[]):  # layers draw from the global generator when they are made
        network = Network(resolution, channels, classes)
    random = torch.Generator().manual_seed(mix(seed, RECIPE))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.weight[0].numel()), generator=random)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def images_to_see(n: int) -> int:
    """How many images training on a set of `n` goes through: 16 epochs, at least 20,000 and at most 100,000 images."""
    return min(max(EPOCHS * n, FEWEST_SEEN), MOST_SEEN)


def train(images: Tensor, label: Tensor, classes: int, seed: int, device: torch.device,
          seen: int | None = None) -> Network:
    """A network trained on uint8 images (n, C, H, W) and labels (n,), in eval mode, on `device`.

    AdamW, cosine decay after a tenth of warm-up, un-augmented, `seen` images in all (by default `images_to_see(n)`):
    about half a minute for MNIST on one CPU core, at most a few minutes at 64 px. The same on every CPU that rounds
    alike, whatever the number of threads and whatever surrounds the call: autocast, inference mode, seeds.
    """
    steps = (seen or images_to_see(len(images))) // BATCH
    with _apart(device):
        network = build(images.shape[-1], images.shape[1], classes, seed).to(device)
        images, label = images.to(device), label.to(device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        for step, chosen in enumerate(_batches(len(images), steps, seed)):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * _pace((step + 1) / steps)
            chosen = chosen.to(device)
            loss = F.cross_entropy(network(images[chosen])[1], label[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval().requires_grad_(False)


def accuracy(network: Network, images: Tensor, label: Tensor) -> float:
    """The share of images that `network` names rightly; 0 if there are none."""
    device = next(network.parameters()).device
    right = 0
    with _apart(device), torch.no_grad():
        for batch, truth in zip(images.split(512), label.split(512), strict=True):
            right += (network(batch.to(device))[1].argmax(1).cpu() == truth.cpu()).sum().item()
    return right / max(len(images), 1)


def _pace(done: float) -> float:
    """The learning rate at a fraction of the training, as a fraction of its largest."""
    return min(1.0, 10 * done) * (1 + math.cos(math.pi * done)) / 2


def _batches(n: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Indices in full batches, shuffled anew in every epoch; batches run on over the end of one."""
    random = torch.Generator().manual_seed(mix(seed, RECIPE, 1))
    left = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        while len(left) < BATCH:
            left = torch.cat((left, torch.randperm(n, generator=random)))
        yield left[:BATCH]
        left = left[BATCH:]


@contextmanager
def _apart(device: torch.device) -> Iterator[None]:
    """Float32 arithmetic with gradients, always the same way, whatever the caller is in the middle of."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    if device.type == "cpu":
        torch.set_num_threads(1)  # sums are split by thread, and so would depend on how many there are
    try:
        with (torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False),
              torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
