"""A game whose random numbers belong to images: the same whichever process an image is on."""

from hashlib import blake2b

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gan_lightning.tasks.generation import Generation

KINDS = {torch.rand: torch.rand, torch.rand_like: torch.rand, torch.randn: torch.randn, torch.randn_like: torch.randn}
OTHERS = {torch.randint, torch.randint_like, torch.randperm, torch.bernoulli, torch.normal, torch.multinomial,
          torch.poisson, torch.dropout, torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.bernoulli_}


class ByImage(TorchFunctionMode):
    """Row i of whatever is drawn is a function of image i and of how many draws there were before."""

    def __init__(self, images: Tensor):
        super().__init__()
        self.images = [image.numpy().tobytes() for image in images.detach()]
        self.draws = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        drawn = function(*args, **(kwargs or {}))
        if (kwargs or {}).get("generator") is not None:  # equal on all devices by its own means
            return drawn
        if function in OTHERS:
            raise NotImplementedError(f"{function.__name__}: make it a function of the image too")
        if function not in KINDS:
            return drawn
        assert len(drawn) == len(self.images), f"{function.__name__} drew {tuple(drawn.shape)}"
        self.draws += 1
        for row, image in zip(drawn, self.images, strict=True):
            seed = int.from_bytes(blake2b(image + bytes([self.draws]), digest_size=7).digest(), "big")
            row.copy_(KINDS[function](row.shape, generator=torch.Generator().manual_seed(seed), dtype=row.dtype))
        return drawn


class RandomByImage(Generation):
    def d_loss(self, batch, clock):
        with ByImage(batch["real"]):
            return super().d_loss(batch, clock)

    def g_loss(self, batch, clock):
        with ByImage(batch["real"]):
            return super().g_loss(batch, clock)


class NotesSeeds(Generation):
    """Notes the seed of each step: what is random depends on it, which latents do in any other game."""

    noted: list[int] | None = None

    def g_loss(self, batch, clock):
        self.noted = [*(self.noted or []), torch.initial_seed()]
        return super().g_loss(batch, clock)


class Rare(RandomByImage):
    """D and G have a weight each that one image in about eight has a say in, and one that none ever has."""

    def __init__(self, generator, discriminator, objective, latent="normal"):
        super().__init__(generator, discriminator, objective, latent)
        for network in (self.g, self.d):
            network.rare, network.never = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
            network.register_buffer("lacked", torch.zeros(()))

    def d_loss(self, batch, clock):
        return super().d_loss(batch, clock) | self._rare(batch["real"], self.d)

    def g_loss(self, batch, clock):
        return super().g_loss(batch, clock) | self._rare(batch["real"], self.g)

    def _rare(self, real, network):
        chosen = sum(blake2b(image.numpy().tobytes(), digest_size=1).digest()[0] < 32 for image in real)
        if not chosen:
            network.lacked += 1
            return {"rare": real.new_zeros(())}
        return {"rare": chosen / len(real) * (network.rare - 3).square().sum()}
