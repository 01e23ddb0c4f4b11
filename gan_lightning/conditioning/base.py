"""What D says of an image besides real or fake: heads on the features of any discriminator."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from gan_lightning.errors import ConfigError
from gan_lightning.networks.layers import add_spectral_norm
from gan_lightning.precision import at_least_float32
from gan_lightning.tasks.base import Step


class Head(nn.Module):
    """Reads D's features (N, num_features); its weights belong to D. Subclasses write the losses, and what they need.

    Attributes:
        num_classes: how many labels it knows; 0 if it takes none.
    """

    num_classes = 0

    def logit(self, features: Tensor, cond: Tensor | None) -> Tensor | None:
        """A summand (N, 1) of D's logit that depends on the label, if the method has one."""
        return None

    def d_loss(self, step: Step) -> Tensor:
        """The scalar that D minimises besides; G is frozen."""
        raise NotImplementedError

    def g_loss(self, step: Step) -> Tensor:
        """The scalar that G minimises besides; D is frozen."""
        raise NotImplementedError


class Conditioned(nn.Module):
    """A discriminator that is not told labels, with a head that is.

    Args:
        backbone: with `num_features`, and features on request.
        head: number of features -> a Head. It has spectral norm where the backbone has.
    """

    def __init__(self, backbone: nn.Module, head: Callable[..., Head]):
        super().__init__()
        if not hasattr(backbone, "num_features"):
            raise ConfigError(f"model.head: {type(backbone).__name__} has no features for it (num_features); choose "
                              "conditioning=native or another model")
        if backbone.num_classes:
            raise ConfigError("model.discriminator.num_classes: must be 0 beside model.head, through which labels come")
        self.backbone, self.head = backbone, head(num_features=backbone.num_features)
        self.num_features, self.num_classes = backbone.num_features, self.head.num_classes
        if any(is_parametrized(part) for part in backbone.modules()):
            add_spectral_norm(self.head)

    def forward(self, x: Tensor, cond: Tensor | None = None,
                return_features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        logits, features = self.backbone(x, return_features=True)
        more = self.head.logit(features, cond)
        logits = logits if more is None else logits + more
        return (logits, features) if return_features else logits


def beneath_head(d: nn.Module) -> nn.Module:
    """The discriminator itself, of one that may have a head."""
    return d.backbone if isinstance(d, Conditioned) else d


def class_logits(layer: nn.Module, features: Tensor) -> Tensor:
    """`layer` of `features`, in float32: logarithms of small probabilities do not survive half precision."""
    with torch.autocast(features.device.type, enabled=False):
        return layer(at_least_float32(features))
