"""How weights begin: one rule for all weight matrices of a network."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from gan_lightning.networks.layers import Projection, check_choice

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

POWER_ITERATIONS = 15    # as many as spectral_norm itself makes for a new weight

Rule = Callable[[Tensor, float, float], Tensor]    # weight, fan-in, fan-out


def _normal(weight: Tensor, fan_in: float, fan_out: float) -> Tensor:
    return nn.init.normal_(weight, 0.0, 0.02)


def _glorot(weight: Tensor, fan_in: float, fan_out: float) -> Tensor:
    bound = math.sqrt(6 / (fan_in + fan_out))
    return nn.init.uniform_(weight, -bound, bound)


def _he(weight: Tensor, fan_in: float, fan_out: float) -> Tensor:
    return nn.init.normal_(weight, 0.0, math.sqrt(2 / fan_in))


def _orthogonal(weight: Tensor, fan_in: float, fan_out: float) -> Tensor:
    return nn.init.orthogonal_(weight)


RULES: dict[str, Rule] = {"normal": _normal, "glorot": _glorot, "he": _he, "orthogonal": _orthogonal}


def initialise(network: nn.Module, how: str | None) -> None:
    """Redraws the weights of all dense and (transposed) convolution layers, in place; their biases become 0.

    `normal`: N(0, 0.02), and gains of batch norm N(1, 0.02) (Radford et al. 2016, arXiv:1511.06434).
    `glorot`: uniform, variance 2 / (fan-in + fan-out) (Glorot & Bengio 2010, eq. 16).
    `he`: normal, variance 2 / fan-in (He et al. 2015, arXiv:1502.01852, eq. 10).
    `orthogonal`: Saxe et al. 2014, arXiv:1312.6120.
    None leaves the network as it is. Embeddings keep their own values, and so does every module with a true
    `skip_init`, with all below it. One embedding is a linear map, that of a projection: `orthogonal` is for it too, as
    for all weights of BigGAN (Brock et al. 2019, arXiv:1809.11096, app. C).
    """
    if how is None:
        return
    check_choice("model.init", how, RULES)
    with torch.no_grad():
        for module in _modules(network):
            if isinstance(module, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)):
                _redraw(module, RULES[how])
            elif how == "orthogonal" and isinstance(module, Projection):
                _redraw(module.embed, RULES[how])
            elif how == "normal" and isinstance(module, BATCH_NORMS) and module.affine:
                nn.init.normal_(module.weight, 1.0, 0.02)
                nn.init.zeros_(module.bias)


def _modules(network: nn.Module) -> Iterator[nn.Module]:
    if getattr(network, "skip_init", False):
        return
    yield network
    for child in network.children():
        yield from _modules(child)


def _redraw(module: nn.Module, rule: Rule) -> None:
    if nn.utils.parametrize.is_parametrized(module, "weight"):
        rule(module.parametrizations.weight.original, *_fans(module))
        _follow_new_weight(module)
    else:
        rule(module.weight, *_fans(module))
    if getattr(module, "bias", None) is not None:
        nn.init.zeros_(module.bias)


def _follow_new_weight(module: nn.Module) -> None:
    """Lets spectral norm find the singular vectors of a new weight: each look at it is one iteration."""
    was_training = module.training
    module.train()
    for _ in range(POWER_ITERATIONS):
        _ = module.weight
    module.train(was_training)


def _fans(module: nn.Module) -> tuple[float, float]:
    """(inputs per output, outputs per input) away from borders; a stride s thins one of them s^2 times."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, nn.Embedding):    # a projection's: features to classes
        return module.embedding_dim, module.num_embeddings
    kernel, stride = math.prod(module.kernel_size), math.prod(module.stride)
    fan_in = module.in_channels // module.groups * kernel
    fan_out = module.out_channels // module.groups * kernel
    return (fan_in / stride, fan_out) if isinstance(module, TRANSPOSED) else (fan_in, fan_out / stride)
