"""What a generator's latents do: walks through them, one as every class, mixed styles, directions that matter."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gan_lightning.errors import ConfigError
from gan_lightning.networks.equalised import EqualLinear
from gan_lightning.sampling import GAN

SHOWS = ("samples", "walk", "classes", "mixing", "directions", "noise")
POSITIONS = 7  # along a direction; also of what noise leaves open


class Shown(NamedTuple):
    """Images (N, C, H, W) or points (N, 2), and how many stand in a row; None for as many as there are rows."""

    samples: Tensor
    columns: int | None


def shown(gan: GAN, cfg: Any) -> Shown:
    """What `cfg.show` names, with the other settings of `sample.py`."""
    if cfg.show not in SHOWS:
        raise ConfigError(f"show={cfg.show}: must be one of {', '.join(SHOWS)}")
    if cfg.show == "samples":
        return Shown(gan.sample(cfg.n, cfg.seed, cfg.label, cfg.truncation, cfg.start), None)
    z = gan.latents(cfg.n, cfg.seed, cfg.truncation, cfg.start)
    if cfg.show == "walk":
        return walk(gan, z, cfg.frames, cfg.label)
    if cfg.show == "classes":
        return class_sweep(gan, z)
    if cfg.show == "noise":
        return noises(gan, z, cfg.label)
    if cfg.show == "mixing":
        others = gan.latents(cfg.n, cfg.seed, cfg.truncation, cfg.start + cfg.n)
        return style_mixing(gan, z, others, cfg.mix_at, cfg.label)
    return along_direction(gan, z, cfg.direction, cfg.strength, cfg.label)


def walk(gan: GAN, z: Tensor, frames: int, label: int | None = None) -> Shown:
    """From each latent to the next and from the last back to the first, so that a film of it has no end.

    Normal latents are taken along great circles, where their lengths stay usual ones (White 2016, arXiv:1609.04468);
    others on straight lines. A row of the grid is the way from one to the next.
    """
    if len(z) < 2 or frames < 1:
        raise ConfigError(f"show=walk: needs n of at least 2 and frames of at least 1, got n={len(z)} frames={frames}")
    between = straight if gan.task.latent == "uniform" else great_circle
    steps = torch.arange(frames) / frames
    way = torch.cat([between(a, b, steps) for a, b in zip(z, z.roll(-1, 0), strict=True)])
    return Shown(gan.images(way, _first_label(gan, label)), frames)


def great_circle(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points (T, D) at shares t (T,) of the way from a (D,) to b (D,): direction turns, and length changes, evenly."""
    a, b, t = a.double(), b.double(), t.double()[:, None]
    angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    if angle.sin() < 1e-6:  # the same direction, or opposite ones, between which no great circle is given
        return straight(a, b, t[:, 0]).float()
    direction = (torch.sin((1 - t) * angle) * a / a.norm() + torch.sin(t * angle) * b / b.norm()) / angle.sin()
    return (direction * torch.lerp(a.norm(), b.norm(), t)).float()


def straight(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points (T, D) at shares t (T,) of the straight way from a (D,) to b (D,)."""
    return a + t.to(a.dtype)[:, None] * (b - a)


def class_sweep(gan: GAN, z: Tensor) -> Shown:
    """Each latent as every class: a row per latent, a column per class."""
    if not gan.num_classes:
        raise ConfigError("show=classes: this generator takes no labels")
    classes = torch.arange(gan.num_classes)
    return Shown(gan.images(z.repeat_interleave(len(classes), 0), classes.repeat(len(z))), len(classes))


def noises(gan: GAN, z: Tensor, label: int | None = None) -> Shown:
    """Each latent with ever new noise between the layers: a row per latent (Karras et al. 2019, StyleGAN,
    arXiv:1812.04948, fig. 4). The first of a row is without noise."""
    gan.noise = "none"
    label = _first_label(gan, label)
    plain = gan.images(z, label)
    gan.noise = "random"
    noisy = gan.images(z.repeat_interleave(POSITIONS - 1, 0), label)
    rows = torch.cat([plain[:, None], noisy.unflatten(0, (len(z), POSITIONS - 1))], 1)
    return Shown(rows.flatten(0, 1), POSITIONS)


@torch.no_grad()
def style_mixing(gan: GAN, z: Tensor, others: Tensor, mix_at: int | None = None, label: int | None = None) -> Shown:
    """Images with the styles of `z` up to layer `mix_at` and of `others` from there on (Karras et al. 2019, StyleGAN,
    arXiv:1812.04948, fig. 3). The first row shows `others`, the first column `z`; the corner is white."""
    if not has_styles(gan):
        raise ConfigError("show=mixing: this generator has no styles to mix (model=stylegan2 has)")
    layers = gan.network.num_ws
    mix_at = layers // 2 if mix_at is None else mix_at
    if not 0 < mix_at < layers:
        raise ConfigError(f"mix_at={mix_at}: must be from 1 to {layers - 1}, as there are {layers} styles")
    with gan.evaluating():
        coarse, fine = (styles(gan, part, label) for part in (z, others))
        tops, lefts = from_styles(gan, fine), from_styles(gan, coarse)
        mixed = [from_styles(gan, torch.cat([row.expand(len(fine), -1, -1)[:, :mix_at], fine[:, mix_at:]], 1))
                 for row in coarse]
    corner = torch.ones_like(tops[:1])
    rows = [torch.cat([corner, tops]), *(torch.cat([left[None], row]) for left, row in zip(lefts, mixed, strict=True))]
    return Shown(torch.cat(rows), len(fine) + 1)


@torch.no_grad()
def along_direction(gan: GAN, z: Tensor, direction: int = 0, strength: float = 3.0, label: int | None = None) -> Shown:
    """Each latent, or its style, moved along a direction that matters, from -strength to strength: a row per latent."""
    directions = directions_that_matter(gan)
    if not 0 <= direction < len(directions):
        raise ConfigError(f"direction={direction}: must be from 0 to {len(directions) - 1}")
    moves = torch.linspace(-strength, strength, POSITIONS)[:, None] * directions[direction]
    if has_styles(gan):
        with gan.evaluating():
            ws = styles(gan, z, label)
            moved = (ws[:, None] + moves.to(ws)[:, None]).flatten(0, 1)
            return Shown(from_styles(gan, moved), POSITIONS)
    moved = (z[:, None] + moves).flatten(0, 1)
    return Shown(gan.images(moved, _first_label(gan, label)), POSITIONS)


@torch.no_grad()
def directions_that_matter(gan: GAN) -> Tensor:
    """Unit vectors (K, z_dim or w_dim) in the space that G starts from, the one that changes most first: right singular
    vectors of the weights that read z, or of all that read w (Shen & Zhou 2021, SeFa, arXiv:2007.06600, eq. 4).

    Raises:
        ConfigError: no layer reads the whole of z.
    """
    g = gan.network
    if has_styles(gan):
        weights = [part.affine.weight for part in g.modules() if hasattr(part, "affine")]
    else:
        first = next((part for part in g.modules() if isinstance(part, (nn.Linear, EqualLinear))), None)
        # What follows z in such a layer's input is the label's embedding.
        weights = [first.weight[:, :g.z_dim]] if first is not None and first.in_features >= g.z_dim else []
    if not weights:
        raise ConfigError("show=directions: the first layer of this generator does not read the whole of z")
    return torch.linalg.svd(torch.cat(weights).double().cpu(), full_matrices=False).Vh.float()


def has_styles(gan: GAN) -> bool:
    """Whether G makes images of a style w for each layer, rather than of z at once."""
    return hasattr(gan.network, "synthesis")


def styles(gan: GAN, z: Tensor, label: int | None = None) -> Tensor:
    """The styles (N, num_ws, w_dim) that G uses for these latents. The mode of the network is the caller's."""
    g, weight, labels = gan.network, next(gan.network.parameters()), gan._labels(len(z), _first_label(gan, label))
    w = g.mapping(gan.task.fed(z).to(weight), None if labels is None else labels.to(weight.device))
    return torch.lerp(g.w_avg, w, g.psi)[:, None].expand(-1, g.num_ws, -1)


def from_styles(gan: GAN, ws: Tensor, batch_size: int = 32) -> Tensor:
    """The images (N, C, H, W), float32, of these styles. The mode of the network is the caller's."""
    images = []
    for start in range(0, len(ws), batch_size):
        part = ws[start:start + batch_size]
        gan.number_noise(range(start, start + len(part)))
        images.append(gan.network.synthesis(part))
    return torch.cat(images).cpu().float()


def _first_label(gan: GAN, label: int | None) -> int | None:
    return 0 if label is None and gan.num_classes else label
