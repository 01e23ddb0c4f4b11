"""What each score sees: real digits, damaged in known ways, against other real digits.

    python benchmarks/ladder.py [--splits 8] [--metrics classifier] [--picture docs/ladder.png] [--json FILE]

scikit-learn's 1,797 digits are dealt into two halves, several times. One half is the reference, on which the extractor
is prepared; the other plays the generator: as it is, which shows how much a score varies by chance, and damaged. A
damage counts as seen by a score if its mean lies more than four standard deviations of that chance on the worse side.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from torch import Tensor

from gan_lightning.build import instantiate
from gan_lightning.config import conf_dir, resolvers, schema
from gan_lightning.data.base import ImageData
from gan_lightning.data.digits import Digits
from gan_lightning.data.sources import InMemory
from gan_lightning.metrics.collecting import ImageSet
from gan_lightning.metrics.evaluation import Evaluation
from gan_lightning.pictures import figure_png, grid, new_figure

SEEN = 4.0  # standard deviations
Set = tuple[Tensor, Tensor]  # uint8 (n, 1, 8, 8), labels (n,)


class Half(ImageData):
    """Some of the digits as a data set."""

    def __init__(self, images: Tensor, label: Tensor):
        super().__init__(resolution=8, channels=1, num_classes=10)
        self.images, self.label = images, label

    def load(self, split: str) -> InMemory:
        return InMemory(self.images, self.label)


def noisy(fresh: Set, reference: Set, random: torch.Generator) -> Set:
    images = fresh[0].float() + 0.1 * 255 * torch.randn(fresh[0].shape, generator=random)
    return images.round().clamp(0, 255).byte(), fresh[1]


def blurred(fresh: Set, reference: Set, random: torch.Generator) -> Set:
    return F.avg_pool2d(F.pad(fresh[0].float(), (1, 1, 1, 1), mode="replicate"), 3, stride=1).round().byte(), fresh[1]


def of_classes(classes: range) -> Callable[[Set, Set, torch.Generator], Set]:
    """As many as before, drawn again from some classes alone."""

    def only(fresh: Set, reference: Set, random: torch.Generator) -> Set:
        kept = torch.isin(fresh[1], torch.tensor(classes)).nonzero()[:, 0]
        drawn = kept[torch.randint(len(kept), (len(fresh[1]),), generator=random)]
        return fresh[0][drawn], fresh[1][drawn]

    return only


def copies(fresh: Set, reference: Set, random: torch.Generator) -> Set:
    chosen = torch.randperm(len(reference[1]), generator=random)[:50]
    drawn = chosen[torch.randint(50, (len(fresh[1]),), generator=random)]
    return reference[0][drawn], reference[1][drawn]


def pixel_gaussian(fresh: Set, reference: Set, random: torch.Generator) -> Set:
    """Independent draws from the normal distribution with the pixels' mean and covariance."""
    pixels = fresh[0].flatten(1).double()
    values, vectors = torch.linalg.eigh(pixels.T.cov())
    z = torch.randn(pixels.shape, generator=random, dtype=torch.float64)
    drawn = pixels.mean(0) + z * values.clamp(min=0).sqrt() @ vectors.T
    return drawn.round().clamp(0, 255).byte().view_as(fresh[0]), fresh[1]


DAMAGES = {
    "real": lambda fresh, reference, random: fresh,
    "noise 0.1": noisy,
    "blur 3x3": blurred,
    "no 9": of_classes(range(9)),
    "no 5 to 9": of_classes(range(5)),
    "only 3": of_classes(range(3, 4)),
    "50 training\nimages": copies,
    "pixel\nGaussian": pixel_gaussian,
}


def evaluation(metrics: str) -> Evaluation:
    """The evaluation that `metrics=` names, on its default settings."""
    resolvers.register()
    schema.register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return instantiate(compose("config", [f"metrics={metrics}", "logger=none"]).metrics)


def measure(metrics: str, splits: int) -> tuple[dict[str, dict[str, list[float]]], dict[str, bool | None], dict]:
    """damage -> score -> its value for each split; which way each score points; examples of each damage."""
    source = Digits(resolution=8, channels=1, num_classes=10).source("train")
    values: dict[str, dict[str, list[float]]] = {damage: {} for damage in DAMAGES}
    directions, examples = {}, {}
    for split in range(splits):
        random = torch.Generator().manual_seed(split)
        order = torch.randperm(len(source), generator=random)
        fresh, reference = ((source.real[part], source.label[part]) for part in order.chunk(2))
        data, judge = Half(*reference), evaluation(metrics)
        judge.prepare(data)
        judge.agree(data)
        for damage, apply in DAMAGES.items():
            images, label = apply(fresh, reference, random)
            result = judge.measure(ImageSet(InMemory(images, label), torch.arange(len(images)), 10), data)
            examples[damage] = images[:6]
            for name, scored in result.scores.items():
                values[damage].setdefault(name, []).append(scored.value)
                directions[name] = scored.higher_is_better
        print(f"split {split + 1} of {splits}", file=sys.stderr)
    return values, directions, examples


def deviations(values: dict[str, dict[str, list[float]]], directions: dict[str, bool | None]) -> dict[str, dict]:
    """damage -> score -> how many standard deviations of chance it lies on the worse side."""
    found: dict[str, dict[str, float]] = {}
    for damage, scores in values.items():
        for name, series in scores.items():
            if directions[name] is None:
                continue
            chance = torch.tensor(values["real"][name], dtype=torch.float64)
            worse = torch.tensor(series, dtype=torch.float64).mean() - chance.mean()
            worse = -worse if directions[name] else worse
            found.setdefault(damage, {})[name] = (worse / chance.std().clamp(min=1e-9)).item()
    return found


def draw(values: dict, found: dict, examples: dict[str, Tensor]) -> bytes:
    """A table in colours: scores in rows, damages in columns, their mean values written in."""
    names, damages = list(found["real"]), list(DAMAGES)
    figure = new_figure(1.25 * len(damages) + 1.5, 0.36 * len(names) + 1.35)
    pictures, cells = figure.subplots(2, 1, height_ratios=[0.62, 0.36 * len(names)])
    strip = torch.cat([examples[damage][:2] for damage in damages])
    pictures.imshow(grid(strip, columns=2 * len(damages)), aspect="auto")
    pictures.set_axis_off()
    colours = [[math.log10(max(found[damage][name], 1.0)) for damage in damages] for name in names]
    cells.imshow(colours, aspect="auto", cmap="Reds", vmin=0, vmax=3.2)
    for row, name in enumerate(names):
        for column, damage in enumerate(damages):
            mean = sum(values[damage][name]) / len(values[damage][name])
            cells.text(column, row, f"{mean:.3g}", ha="center", va="center", fontsize=7.5,
                       fontweight="bold" if found[damage][name] > SEEN else "normal")
    cells.set_xticks(range(len(damages)), damages, fontsize=8)
    cells.set_yticks(range(len(names)), names, fontsize=8)
    return figure_png(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=8)
    parser.add_argument("--metrics", default="classifier")
    parser.add_argument("--picture")
    parser.add_argument("--json")
    options = parser.parse_args()
    values, directions, examples = measure(options.metrics, options.splits)
    found = deviations(values, directions)
    print("| damage | seen by (standard deviations of chance) |\n|---|---|")
    for damage in list(DAMAGES)[1:]:
        seen = sorted(((z, name) for name, z in found[damage].items() if z > SEEN), reverse=True)
        print(f"| {damage.replace(chr(10), ' ')} | {', '.join(f'{name} {z:.0f}' for z, name in seen) or 'none'} |")
    if options.picture:
        with open(options.picture, "wb") as file:
            file.write(draw(values, found, examples))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"values": values, "deviations": found}, file, indent=2)


if __name__ == "__main__":
    main()
