"""The top-level settings of `config.yaml`, `sample.yaml` and `evaluate.yaml`.

First in a defaults list (`- schema`), each makes a misspelt top-level key in any file an error, and a
wrong type too. What is inside a group is described by the constructor that its `_target_` names.
"""

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class Config:
    """| key             | what it sets                                                                |
    |-----------------|------------------------------------------------------------------------------|
    | `data`          | which data; `data.resolution`, `channels`, `num_classes` feed the networks   |
    | `model`         | the networks, and the knobs that they share                                  |
    | `loss`          | the adversarial loss, its terms, `n_critic`                                  |
    | `task`          | which game is played                                                         |
    | `augment`       | what is done to images before D sees them                                    |
    | `metrics`       | how good the samples are: scores, extractor, how many, how often             |
    | `optim`         | optimizers, clipping, accumulation, learning-rate decay, EMA                 |
    | `callbacks`     | named callbacks; null switches one off                                       |
    | `logger`        | named loggers                                                                |
    | `trainer`       | Lightning's Trainer: devices, precision                                      |
    | `max_kimg`      | length of the training, in thousands of real images that D has seen          |
    | `ckpt_path`     | checkpoint to continue from                                                  |
    | `seed`          | decides every random number                                                  |
    | `channels_last` | memory format of the networks and images                                     |
    | `tf32`          | whether float32 products on a GPU may be rounded to TensorFloat-32            |
    | `compile`       | whether torch.compile makes both networks faster, at the cost of a slow start |
    | `allow_changes` | whether a resumed run may have another model than its checkpoint             |

    `term`, `conditioning`, `score`, `experiment` and `hparams_search` are groups that only set these, without a key of
    their own.
    """

    data: Any = MISSING
    model: Any = MISSING
    loss: Any = MISSING
    task: Any = MISSING
    augment: Any = None
    metrics: Any = None
    optim: Any = MISSING
    callbacks: Any = None
    logger: Any = None
    trainer: Any = MISSING
    max_kimg: float = MISSING
    ckpt_path: str | None = None
    seed: int = 0
    channels_last: bool = True
    tf32: bool = True
    compile: bool = False
    allow_changes: bool = False


@dataclass
class SampleConfig:
    """Images from a checkpoint: `start` is the index of the first latent, `ema` takes the averaged G, `show` what is
    drawn."""

    ckpt: str = MISSING
    n: int = 64
    seed: int = 0
    label: int | None = None
    truncation: float | None = None
    psi: float | None = None
    noise: str = "const"
    show: str = "samples"
    frames: int = 30
    fps: int = 30
    mix_at: int | None = None
    direction: int = 0
    strength: float = 3.0
    standing: int = 0
    out: str = "samples.png"
    start: int = 0
    device: str = "cpu"
    ema: bool = True


@dataclass
class EvaluateConfig:
    """Scores of samples of `ckpt`, of images in `fake` against those in `real`, or of `data` against themselves."""

    ckpt: Any = None
    fake: str | None = None
    real: str | None = None
    data: Any = None
    metrics: Any = None
    num_fake: int | None = None
    seed: int | None = None
    resolution: int | None = None
    channels: int | None = None
    fake_split: str | None = None
    truncation: float | None = None
    psi: float | None = None
    noise: str | None = None
    standing: int = 0
    ema: bool = True
    device: str = "cpu"
    out: str | None = None


def register() -> None:
    """Makes them known to Hydra as `schema`, `sample_schema`, `evaluate_schema`; calling it again changes nothing."""
    store = ConfigStore.instance()
    # Hydra copies the whole store for each group that it looks into, most of the time that `--help` takes. What
    # it loads from there it copies once more, so one store can serve all.
    ConfigStore.__deepcopy__ = lambda store, memo: store
    store.store(name="schema", node=Config)
    store.store(name="sample_schema", node=SampleConfig)
    store.store(name="evaluate_schema", node=EvaluateConfig)
