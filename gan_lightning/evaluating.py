"""Scores after training: what `evaluate.py` does."""

import json
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from gan_lightning.build import instantiate
from gan_lightning.checkpoint import LAST, locate, write_atomically
from gan_lightning.data.base import ImageData
from gan_lightning.doctor.examination import examine, sample_advice
from gan_lightning.doctor.findings import report
from gan_lightning.errors import ConfigError, UserError
from gan_lightning.metrics.augmentation import Augmentation
from gan_lightning.metrics.collecting import choose, stored
from gan_lightning.metrics.evaluation import Evaluation
from gan_lightning.metrics.folders import lossy_share, open_like, open_pair
from gan_lightning.metrics.generated import fakes_of, made_by, scored_noise
from gan_lightning.metrics.path_length import PathLength
from gan_lightning.metrics.result import Result
from gan_lightning.metrics.table import table
from gan_lightning.pictures import save_png
from gan_lightning.sampling import check_device, load
from gan_lightning.summary import shown

OUT = "evaluation.json"


def main(cfg: DictConfig) -> None:
    """Evaluates checkpoints, a folder of images, or the data themselves; prints a table, writes evaluation.json."""
    check_device(cfg.device)
    kind = _kind(cfg)
    results, where = {"ckpt": _checkpoints, "fake": _folders, "data": _doctor}[kind](cfg)
    if not results:
        return
    out = Path(cfg.out or where / OUT)
    content = {name: result.to_dict() for name, result in results.items()}
    text = json.dumps(content if len(content) > 1 else next(iter(content.values())), indent=2) + "\n"
    try:
        write_atomically(out, lambda file: file.write(text.encode()))
        for number, result in enumerate(results.values(), 1):
            for name, pixels in result.pictures.items():
                save_png(out.with_name(f"{name}.png" if len(results) == 1 else f"{name}_{number}.png"), pixels)
    except OSError as error:
        raise UserError(f"out={out}: cannot be written: {error.strerror or error}") from error
    print(table(results))
    print(f"written to {shown(out)}")


def _kind(cfg: DictConfig) -> str:
    given = [name for name in ("ckpt", "fake") if cfg[name] is not None]
    if len(given) > 1:
        raise ConfigError("ckpt and fake are both given: evaluate.py scores a checkpoint (ckpt=RUN) or a folder of "
                          "images (fake=DIR real=DIR)")
    if given == ["fake"] and (cfg.real is None) == (cfg.data is None):
        raise ConfigError(f"fake={cfg.fake} needs reals to be compared with: either real=DIR_OR_ZIP or data=NAME")
    if given != ["fake"] and cfg.real is not None:
        raise ConfigError(f"real={cfg.real}: goes with fake=DIR_OR_ZIP; reals for a checkpoint are data=...")
    if not given and cfg.data is None:
        raise ConfigError("nothing to evaluate: give ckpt=RUN, or fake=DIR_OR_ZIP real=DIR_OR_ZIP, or data=NAME to "
                          "examine a data set")
    if given != ["ckpt"]:
        for name, usual in (("truncation", None), ("psi", None), ("noise", None), ("standing", 0)):
            if cfg[name] != usual:
                raise ConfigError(f"{name}={cfg[name]}: says how samples are drawn, and goes with ckpt=RUN")
    return given[0] if given else "data"


def _checkpoints(cfg: DictConfig) -> tuple[dict[str, Result], Path]:
    runs = list(cfg.ckpt) if isinstance(cfg.ckpt, ListConfig) else [cfg.ckpt]
    for run in runs:
        locate(str(run))  # a missing one is better known before the others are measured
    results = {str(run): _checkpoint(cfg, str(run)) for run in runs}
    path = locate(str(runs[0])).absolute()
    in_run = path.parent.name == LAST.parent.name and len(runs) == 1
    return results, path.parents[1] if in_run else Path.cwd()


def _checkpoint(cfg: DictConfig, run: str) -> Result:
    gan = load(run, cfg.device, cfg.ema)
    gan.psi, gan.noise = cfg.psi, cfg.noise or scored_noise(gan)
    config = OmegaConf.create(gan.config)
    if cfg.data is None and str(config.data.get("root")).startswith("pipe:"):
        raise ConfigError(f"{run}: its data come from a command, data.root={config.data.root!r}, which a checkpoint "
                          "must not run by itself: give data=webdataset and data.root=... yourself")
    data: ImageData = instantiate(cfg.data if cfg.data is not None else config.data)
    for name in ("resolution", "channels", *(["num_classes"] if gan.num_classes else [])):
        if getattr(data, name) != config.data[name]:
            raise ConfigError(f"data.{name}={getattr(data, name)}: the generator of {run} was trained with "
                              f"{config.data[name]}; choose data.{name}={config.data[name]}")
    evaluation = _evaluation(_metrics(cfg, config), cfg)
    data.prepare()
    _ready(evaluation, data, cfg, gan.num_classes)
    _advise(evaluation, data, evaluation.num_fake)
    reals = evaluation.reals(data)
    if cfg.standing:
        gan.take_standing_statistics(cfg.standing, evaluation.seed, cfg.truncation)
    fakes = fakes_of(gan, evaluation.num_fake, evaluation.seed, reals, cfg.truncation, evaluation.block)
    return evaluation.measure(fakes, data, cfg.device, made_by(gan, cfg.truncation, cfg.standing))


def _metrics(cfg: DictConfig, config: DictConfig) -> DictConfig | None:
    """The run's own metrics, unless others are chosen on the command line or it had none."""
    chosen = any(override.startswith("metrics=") for override in HydraConfig.get().overrides.task)
    return cfg.metrics if chosen or config.get("metrics") is None else config.metrics


def _folders(cfg: DictConfig) -> tuple[dict[str, Result], Path]:
    evaluation = _evaluation(cfg.metrics, cfg)
    if cfg.real is not None:
        fake, data = open_pair(cfg.fake, cfg.real, cfg.resolution, cfg.channels, evaluation.split or "train",
                               cfg.fake_split)
    else:
        data = instantiate(cfg.data)
        data.prepare()
        fake = open_like(cfg.fake, data, cfg.fake_split)
    _ready(evaluation, data, cfg, fake.num_classes)
    source = fake.source()
    indices = choose(len(source), cfg.num_fake, f"num_fake={cfg.num_fake}: {cfg.fake}")
    images = stored(source, indices, fake.num_classes)
    _advise(evaluation, data, len(indices))
    _tell_lossy(fake, data)
    return {cfg.fake: evaluation.measure(images, data, cfg.device, {"images": True})}, Path.cwd()


def _doctor(cfg: DictConfig) -> tuple[dict[str, Result], Path]:
    data: ImageData = instantiate(cfg.data)
    evaluation = _evaluation(cfg.metrics, cfg) if cfg.metrics is not None else None
    data.prepare()
    print(report(examine(data)), flush=True)
    if not isinstance(evaluation, Evaluation):
        return {}, Path.cwd()
    _ready(evaluation, data, cfg)
    _advise(evaluation, data, evaluation.num_fake)
    return {"reals": evaluation.floors(data, cfg.device)}, Path.cwd()


def _evaluation(node: DictConfig | None, cfg: DictConfig) -> Evaluation | Augmentation | PathLength:
    if node is None:
        raise ConfigError("metrics=none: nothing would be measured; choose another, such as metrics=auto")
    changed = {name: cfg[name] for name in ("num_fake", "seed") if cfg[name] is not None}
    return instantiate(node, **changed)


def _ready(evaluation: Evaluation, data: ImageData, cfg: DictConfig, fake_classes: int | None = None) -> None:
    evaluation.prepare(data, cfg.device, fake_classes)
    evaluation.agree(data)


def _tell_lossy(*sets: ImageData) -> None:
    shares = [f"{share:.0%} of {images.root}" for images in sets if (share := lossy_share(images))]
    if shares:
        print(f"compressed with loss: {' and '.join(shares)}: compression alone moves a distance, and most if only one "
              "side is compressed")


def _advise(evaluation: Evaluation | Augmentation | PathLength, data: ImageData, num_fake: int) -> None:
    if not isinstance(evaluation, Evaluation):
        return
    for line in sample_advice(num_fake, len(evaluation.reals(data).indices), evaluation.extractor.dim):
        print(line, flush=True)
