"""Samples as files: a grid, an array, a folder of pictures, a film."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from gan_lightning.checkpoint import write_atomically
from gan_lightning.errors import ConfigError
from gan_lightning.pictures import grid, picture, save_png, to_uint8

FILMS = (".gif", ".mp4")
SMALLEST = 128  # pixels of a film's side: smaller images are enlarged


def kind_of(out: str, film: bool = False) -> str:
    """What to write: ".png", ".npz", or "" for a folder; of a film ".gif" or ".mp4" too.

    Raises:
        ConfigError: another ending, an `out` whose place is taken, or a film that nothing here can write.
    """
    path = Path(out)
    kind = "" if out.endswith("/") else path.suffix
    if not out or kind not in ("", ".png", ".npz", *(FILMS if film else ())):
        films = ", .gif or .mp4 (a film)" if film else ""
        hint = "; show=walk makes films" if kind in FILMS else ""
        raise ConfigError(f"out={out}: must end in .png (a grid), .npz (an array) or / (a folder of "
                          f"pictures){films}{hint}")
    if kind == ".mp4" and find_spec("av") is None:
        raise ConfigError(f"out={out}: MP4 films need PyAV: pip install 'gan_lightning[video]', or choose FILE.gif")
    if kind and os.path.isdir(path):
        raise ConfigError(f"out={out}: is a folder; name another file, or end it in / for pictures in it")
    folder = path.parent if kind else path
    for above in (folder, *folder.parents):
        if os.path.lexists(above) and not os.path.isdir(above):
            raise ConfigError(f"out={out}: {above} is a file and cannot be a folder; choose another name")
    return kind


def write(samples: Tensor, out: str, kind: str, start: int = 0, columns: int | None = None, fps: int = 30) -> None:
    """Writes images (N, C, H, W), or points (N, 2), as `kind` says.

    Args:
        start: number of the first picture in a folder.
        columns: of a grid; null makes it a square.
        fps: frames per second of a film.
    """
    if kind == ".png":
        save_png(out, picture(samples, columns))
    elif kind == ".gif":
        _write_gif(samples, out, fps)
    elif kind == ".mp4":
        _write_mp4(samples, out, fps)
    elif kind == ".npz":
        array = (samples if samples.ndim == 2 else to_uint8(samples).permute(0, 2, 3, 1)).numpy()
        write_atomically(out, lambda file: np.savez_compressed(file, samples=array))
    elif samples.ndim == 2:
        raise ConfigError(f"out={out}: points have no pictures of their own; use out=FILE.png or "
                          "out=FILE.npz")
    else:
        for i, image in enumerate(samples, start):
            save_png(Path(out) / f"{i:06}.png", to_uint8(image).permute(1, 2, 0).expand(-1, -1, 3).numpy())


def _frames(samples: Tensor) -> list[np.ndarray]:
    if samples.ndim == 2:
        raise ConfigError("out: points make no films; choose FILE.png")
    return [grid(image[None], smallest=SMALLEST, gap=0) for image in to_uint8(samples)]


def _write_gif(samples: Tensor, out: str, fps: int) -> None:
    first, *others = [Image.fromarray(frame).quantize(dither=Image.Dither.NONE) for frame in _frames(samples)]
    write_atomically(out, lambda file: first.save(file, format="GIF", save_all=True, append_images=others,
                                                  duration=max(20, round(1000 / fps)), loop=0))


def _write_mp4(samples: Tensor, out: str, fps: int) -> None:
    import av

    frames = _frames(samples)
    height, width = (side - side % 2 for side in frames[0].shape[:2])  # which H.264 demands

    def encode(file: object) -> None:
        with av.open(file, "w", format="mp4") as film:
            stream = film.add_stream("libx264", rate=fps, options={"crf": "17"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for frame in frames:
                film.mux(stream.encode(av.VideoFrame.from_ndarray(frame[:height, :width].copy(), format="rgb24")))
            film.mux(stream.encode())

    write_atomically(out, encode)
