"""Settings that Lightning has but that would do nothing, or something else, here."""

from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gan_lightning.errors import ConfigError

LENGTH = "training is as long as max_kimg says, in thousands of real images: max_kimg=1000"
CLIP = "each player clips its own gradient norm: optim.g_clip=1.0, optim.d_clip=1.0"
ACCUMULATE = "both players accumulate the same number of batches: optim.accumulate=2"
SAMPLER = "the data deals out its images to the devices itself"


class Refused(NamedTuple):
    """The reason and the setting to use, and the values that mean what happens anyway."""

    instead: str
    harmless: tuple[Any, ...] = (None,)


REFUSED = {
    "trainer.max_steps": Refused(LENGTH, (None, -1)),
    "trainer.max_epochs": Refused(LENGTH, (None, -1)),
    "trainer.min_steps": Refused(LENGTH),
    "trainer.min_epochs": Refused(LENGTH),
    "trainer.gradient_clip_val": Refused(CLIP),
    "trainer.gradient_clip_algorithm": Refused(CLIP),
    "trainer.accumulate_grad_batches": Refused(ACCUMULATE, (None, 1)),
    "trainer.use_distributed_sampler": Refused(SAMPLER, (False,)),
    "trainer.enable_progress_bar": Refused("the progress bar is a callback: callbacks.progress=null", (False,)),
    "trainer.enable_checkpointing": Refused("checkpoints are a callback: callbacks.checkpoint=null", ()),
    "trainer.default_root_dir": Refused("the run's directory is Hydra's: hydra.run.dir=..."),
    "trainer.fast_dev_run": Refused("a short run is max_kimg=1", (False,)),
    "trainer.callbacks": Refused("callbacks are chosen by callbacks=... and set by callbacks.NAME"),
    "trainer.logger": Refused("loggers are chosen by logger=... and set by logger.NAME"),
}


def refusal(path: str, value: Any = "") -> ConfigError | None:
    """The error for a refused setting, whether or not the config has it; None for any other path."""
    entry = REFUSED.get(path)
    if entry is None:
        return None
    given = f"{path}={value}" if value != "" else path
    return ConfigError(f"{given} has no effect on a GAN: {entry.instead}")


def refuse_values(cfg: DictConfig) -> None:
    """Raises ConfigError if the config sets one of them to anything but what happens anyway."""
    for path, entry in REFUSED.items():
        try:
            value = OmegaConf.select(cfg, path)
        except OmegaConfBaseException:
            continue  # a broken interpolation is reported as one, later
        if value not in entry.harmless and value is not None:
            raise refusal(path, value)
