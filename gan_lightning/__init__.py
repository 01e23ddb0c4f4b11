"""gan_lightning: adversarial training with PyTorch Lightning and Hydra."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["GAN", "load"]

if TYPE_CHECKING:
    from gan_lightning.sampling import GAN, load


def __getattr__(name: str) -> Any:
    if name in __all__:  # torch takes seconds to import; the command line must not wait for it
        from gan_lightning import sampling

        return getattr(sampling, name)
    raise AttributeError(f"module 'gan_lightning' has no attribute '{name}'")
