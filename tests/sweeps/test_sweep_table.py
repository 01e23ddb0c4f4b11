"""Tables and pictures of sweeps."""

import csv
import itertools

import numpy as np
import pytest
from PIL import Image

from gan_lightning.sweeps.figure import draw
from gan_lightning.sweeps.jobs import Outcome
from gan_lightning.sweeps.space import read
from gan_lightning.sweeps.table import Row, printed, ranked, write_table

SPACE = read({}, ["loss=hinge,wgan", "optim.g.lr=tag(log,interval(1e-5,1e-3))"]).swept


def row(number, state="finished", best=None, higher=False, loss="hinge", lr="0.0001", error=None):
    score = "fd" if best is not None else None
    return Row(number, {"loss": loss, "optim.g.lr": lr}, f"/s/{number}",
               Outcome(state, score, best, best, 0.5 if best else None, higher, "ab" if best else None, 4.0, 10.0, error))


def test_csv(tmp_path):
    write_table(tmp_path / "sweep.csv", [row(0, best=2.0), row(1, "failed", error='no "images", none'), row(2, "waiting")])
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open(newline="")))
    assert list(rows[0]) == ["number", "state", "loss", "optim.g.lr", "score", "best", "last", "reals", "kimg", "seconds",
                             "fingerprint", "folder", "error"]
    assert rows[0] | {} == {"number": "0", "state": "finished", "loss": "hinge", "optim.g.lr": "0.0001", "score": "fd",
                            "best": "2.0", "last": "2.0", "reals": "0.5", "kimg": "4.0", "seconds": "10.0",
                            "fingerprint": "ab", "folder": "/s/0", "error": ""}
    assert (rows[1]["error"], rows[1]["best"]) == ('no "images", none', "")
    assert list(tmp_path.iterdir()) == [tmp_path / "sweep.csv"]  # nothing temporary


@pytest.mark.parametrize("higher, order", [(False, [2, 0, 3]), (True, [3, 0, 2])])
def test_the_best_comes_first(higher, order):
    rows = [row(0, best=2.0, higher=higher), row(1, "failed"), row(2, best=-1.0, higher=higher), row(3, best=7.0, higher=higher),
            row(4, best=float("nan"), higher=higher)]
    assert [one.number for one in ranked(rows)] == order
    lines = printed(rows).splitlines()
    assert lines[0].split() == ["job", "state", "loss", "optim.g.lr", "fd", "reals", "kimg", "seconds"]
    assert [int(line.split()[0]) for line in lines[1:]] == order
    assert len(printed(rows, limit=1).splitlines()) == 2


def test_without_scores_there_is_still_a_table():
    assert [line.split()[0] for line in printed([row(0), row(1, "failed"), row(2, "waiting")]).splitlines()] == ["job", "0", "1"]
    assert printed([row(0, "waiting")]) == ""


def count(path, color) -> int:
    pixels = np.array(Image.open(path).convert("RGB")).astype(int)
    return int((np.abs(pixels - np.array(color)).max(-1) < 40).sum())


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_picture(tmp_path, scale):
    """Whole runs in blue, pruned ones in orange, failures crossed out; more of them is more ink."""
    blue, orange = (87, 153, 199), (255, 127, 14)
    lrs = itertools.cycle(["0.00001", "0.0001", "0.001"])
    rows = [row(i, best=1.0 + i * scale, lr=next(lrs), loss="wgan" if i % 2 else "hinge") for i in range(6)]
    draw(tmp_path / "a.png", rows, SPACE)
    draw(tmp_path / "b.png", [*rows, *[row(i, "pruned", 2.0 + i, lr=next(lrs)) for i in range(6, 12)]], SPACE)
    draw(tmp_path / "c.png", [*rows, *[row(i, "failed", lr=next(lrs)) for i in range(6, 12)]], SPACE)
    assert count(tmp_path / "a.png", orange) == 0 < count(tmp_path / "b.png", orange)
    assert count(tmp_path / "a.png", blue) > 50
    dark = [count(tmp_path / f"{name}.png", (89, 89, 89)) for name in "ac"]
    assert dark[1] > dark[0]


def test_picture_of_one_run(tmp_path):
    draw(tmp_path / "one.png", [row(0, best=1.0)], SPACE)
    draw(tmp_path / "plain.png", [Row(0, {}, "/s/0", Outcome("finished", "fd", 1.0))], {})
    assert (tmp_path / "one.png").exists() and (tmp_path / "plain.png").exists()
