"""Samples as pictures: uint8 arrays (height, width, 3) that a file, TensorBoard or W&B can show."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_lightning.checkpoint import write_atomically

BACKGROUND = 255


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] -> 0..255, rounded to nearest and clamped: the one rule for pictures, files and scores.

    Raises:
        ValueError: an image contains NaN, which no rounding should hide.
    """
    if images.isnan().any():
        raise ValueError("images contain NaN")
    return images.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)


def picture(samples: Tensor, columns: int | None = None, reals: Tensor | None = None) -> np.ndarray:
    """A grid of images (N, C, H, W), or a scatter plot of points (N, 2) over real ones."""
    if samples.ndim == 2:
        return scatter(samples, reals)
    return grid(to_uint8(samples), columns)


def grid(images: Tensor, columns: int | None = None, smallest: int = 32, gap: int | None = None) -> np.ndarray:
    """Images uint8 (N, C, H, W) in rows of `columns` (default: a square), numbered from the upper left.

    Images under `smallest` pixels are enlarged by a whole factor, so that every pixel stays one colour.
    One channel is shown grey, three as RGB, of other numbers the first. `gap`: pixels between images.
    """
    n, c, h, w = images.shape
    columns = columns or max(1, round(n**0.5))
    factor = max(1, -(-smallest // max(h, w)))
    images = images if c == 3 else images[:, :1].expand(-1, 3, -1, -1)
    images = images.repeat_interleave(factor, 2).repeat_interleave(factor, 3).permute(0, 2, 3, 1).cpu().numpy()
    h, w = h * factor, w * factor
    gap = max(1, min(h, w) // 32) if gap is None else gap
    rows = -(-n // columns)
    canvas = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, 3), BACKGROUND, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = gap + i // columns * (h + gap), gap + i % columns * (w + gap)
        canvas[top:top + h, left:left + w] = image
    return canvas


def scatter(fake: Tensor, real: Tensor | None = None) -> np.ndarray:
    """Points (N, 2): fakes in colour over reals in grey; the frame is the reals'."""
    figure = new_figure(5, 5)
    axes = figure.add_subplot()
    if real is not None:
        axes.scatter(*real.cpu().numpy().T, s=4, color="0.7", label="real")
        low, high = real.amin().item(), real.amax().item()
        margin = 0.25 * (high - low)
        axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))
    axes.scatter(*fake.float().cpu().numpy().T, s=4, color="tab:blue", label="fake")
    axes.set_aspect("equal")
    axes.legend(loc="upper right")
    return np.array(Image.open(io.BytesIO(figure_png(figure))).convert("RGB"))


def new_figure(width: float, height: float, layout: str | None = "constrained"):
    """A matplotlib figure of this size in inches, drawn without a display and without global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def figure_png(figure) -> bytes:
    """The figure as a PNG file's bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def save_png(path: str | Path, pixels: np.ndarray) -> None:
    """Writes uint8 (height, width, 3) to `path`, whole or not at all."""
    write_atomically(path, lambda file: Image.fromarray(pixels).save(file, format="PNG"))
