"""Heads that compare images with each other and with their classes: ContraGAN's 2C, ReACGAN's D2D-CE.

Batches are the joint ones of all devices, so what is compared does not depend on how many there are.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_lightning.conditioning.base import Head, class_logits
from gan_lightning.errors import ConfigError
from gan_lightning.joint import joint_cat
from gan_lightning.tasks.base import Step


class _Contrast(Head):
    """An embedding of images, and one of classes, both of length 1; subclasses say what they cost."""

    def __init__(self, num_features: int, num_classes: int, embed_dim: int = 512, temperature: float = 1.0):
        super().__init__()
        if temperature <= 0:
            raise ConfigError(f"model.head.temperature={temperature}: must be above 0")
        if embed_dim < 1:
            raise ConfigError(f"model.head.embed_dim={embed_dim}: must be at least 1")
        self.num_classes, self.temperature = num_classes, temperature
        self.embed = nn.Linear(num_features, embed_dim)
        self.proxy = nn.Embedding(num_classes, embed_dim)
        # Only their directions count, which Adam turns the more slowly the longer they are: N(0, 1) has length 22 in
        # 512 dimensions.
        nn.init.orthogonal_(self.proxy.weight)
        self.proxy.weight.data = F.normalize(self.proxy.weight.data, dim=1)

    def d_loss(self, step: Step) -> Tensor:
        return self._of(step.real_features, step.cond)

    def g_loss(self, step: Step) -> Tensor:
        return self._of(step.fake_features, step.cond)

    def _of(self, features: Tensor, label: Tensor) -> Tensor:
        embedded = joint_cat(F.normalize(class_logits(self.embed, features), dim=1))
        label = joint_cat(label)
        with torch.autocast(features.device.type, enabled=False):
            proxy = F.normalize(self.proxy(label).to(embedded.dtype), dim=1)
            return self.contrast((embedded * proxy).sum(1), embedded @ embedded.T, label[:, None] == label)

    def contrast(self, to_class: Tensor, to_others: Tensor, alike: Tensor) -> Tensor:
        """Cosines of images with their class (N,) and with all images (N, N), and which are of one class -> scalar."""
        raise NotImplementedError


class ConditionalContrast(_Contrast):
    """2C: close to its class and the images of it, far from the others (Kang & Park 2020, arXiv:2006.12681, eq. 8)."""

    def contrast(self, to_class: Tensor, to_others: Tensor, alike: Tensor) -> Tensor:
        own = torch.eye(len(alike), dtype=torch.bool, device=alike.device)
        others = (to_others / self.temperature).masked_fill(own, float("-inf"))
        to_class = to_class[:, None] / self.temperature
        near = torch.cat([to_class, others.masked_fill(~alike, float("-inf"))], dim=1).logsumexp(1)
        return (torch.cat([to_class, others], dim=1).logsumexp(1) - near).mean()


class DataToDataCrossEntropy(_Contrast):
    """D2D-CE: close to its class, up to a margin, and far from the images of other classes, from a margin on (Kang et
    al. 2021, ReACGAN, arXiv:2111.01118, eq. 7).

    Args:
        margin: the cosine with its class from which an image costs nothing more; those with images of other classes
            cost nothing below 1 - margin.
    """

    def __init__(self, num_features: int, num_classes: int, embed_dim: int = 512, temperature: float = 0.5,
                 margin: float = 0.98):
        super().__init__(num_features, num_classes, embed_dim, temperature)
        if not -1 <= margin <= 1:
            raise ConfigError(f"model.head.margin={margin}: must be a cosine, from -1 to 1")
        self.margin = margin

    def contrast(self, to_class: Tensor, to_others: Tensor, alike: Tensor) -> Tensor:
        easy = (to_class - self.margin).clamp(max=0)[:, None] / self.temperature
        hard = (to_others - (1 - self.margin)).clamp(min=0) / self.temperature
        return (torch.cat([easy, hard.masked_fill(alike, float("-inf"))], dim=1).logsumexp(1) - easy[:, 0]).mean()
