"""The plain loop that the engine is compared with: what a tidy person writes by hand, and nothing clever."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.functional import relu, softplus

from gan_lightning.build import build_task
from gan_lightning.networks import resnet


class PlainLoop:
    """n_critic steps of D and one of G, as tutorials write them: default Adam, contiguous tensors, float32, D left
    differentiable in G's step, the usual gradient penalty, a loop over parameters for the average of G.

    The weights, their number and the values that the networks compute are the engine's. Residual blocks are computed
    as their papers draw them, pooling after a convolution; `same_networks` computes them as gan_lightning does, in one.
    """

    def __init__(self, cfg: DictConfig, images: Tensor, device: str = "cpu", same_networks: bool = False,
                 half: torch.dtype | None = None):
        torch.manual_seed(cfg.seed)
        task = build_task(cfg).to(device)
        self.g, self.d, self.average = task.g, task.d, deepcopy(task.g)
        self.images, self.device, self.half = images, torch.device(device), half
        self.published = nullcontext if same_networks else as_published
        self.n_critic, self.batch_size = cfg.loss.n_critic, cfg.data.batch_size
        self.loss = cfg.loss.adversarial._target_.rsplit(".", 1)[1]
        lr, betas = cfg.loss.trains_with.lr, tuple(cfg.loss.trains_with.betas)
        self.g_adam = torch.optim.Adam(self.g.parameters(), lr, betas)
        self.d_adam = torch.optim.Adam(self.d.parameters(), lr, betas)

    def round(self) -> None:
        with self.published():
            for _ in range(self.n_critic):
                self.d_step()
            self.g_step()
        with torch.no_grad():
            for average, weight in zip(self.average.parameters(), self.g.parameters(), strict=True):
                average.lerp_(weight, 0.001)
            for average, buffer in zip(self.average.buffers(), self.g.buffers(), strict=True):
                average.copy_(buffer)

    def d_step(self) -> None:
        index = torch.randint(len(self.images), (self.batch_size,))
        real = self.images[index].to(self.device).float() / 127.5 - 1
        with self.autocast():
            fake = self.g(self.noise()).detach()
            real_logits, fake_logits = self.d(real), self.d(fake)
        loss = self.d_loss(real_logits.float(), fake_logits.float())
        if self.loss == "Wasserstein":
            loss = loss + 10 * self.gradient_penalty(real, fake.float())
        self.d_adam.zero_grad()
        loss.backward()
        self.d_adam.step()

    def g_step(self) -> None:
        with self.autocast():
            fake_logits = self.d(self.g(self.noise())).float()
        loss = softplus(-fake_logits).mean() if self.loss == "NonSaturating" else -fake_logits.mean()
        self.g_adam.zero_grad()
        loss.backward()
        self.g_adam.step()

    def d_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        if self.loss == "Hinge":
            return relu(1 - real_logits).mean() + relu(1 + fake_logits).mean()
        if self.loss == "Wasserstein":
            return fake_logits.mean() - real_logits.mean()
        return softplus(-real_logits).mean() + softplus(fake_logits).mean()

    def gradient_penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        x = torch.lerp(real, fake, torch.rand(len(real), 1, 1, 1, device=self.device)).requires_grad_()
        logits = self.d(x)
        (gradient,) = torch.autograd.grad(logits, x, torch.ones_like(logits), create_graph=True)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()

    def noise(self) -> Tensor:
        return torch.randn(self.batch_size, self.g.z_dim, device=self.device)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.half, enabled=self.half is not None)


@contextmanager
def as_published() -> Iterator[None]:
    """Within, residual blocks pool what a convolution made, and convolve what was upsampled."""
    joined = resnet.conv_pool, resnet.upsample_conv
    resnet.conv_pool = lambda conv, x: F.avg_pool2d(conv(x), 2)
    resnet.upsample_conv = lambda conv, x: conv(F.interpolate(x, scale_factor=2))
    try:
        yield
    finally:
        resnet.conv_pool, resnet.upsample_conv = joined
