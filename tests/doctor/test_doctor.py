"""The data doctor, on folders in which each fault is made by hand: it is found, and not found where it is not."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lightning.data.base import ImageData
from gan_lightning.data.digits import Digits
from gan_lightning.data.folder import Folder
from gan_lightning.data.gaussians import Ring
from gan_lightning.data.sources import InMemory
from gan_lightning.doctor.examination import examine, sample_advice
from gan_lightning.doctor.findings import Finding, Findings, report

random = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    """Smooth enough that compression changes little, and no two alike."""
    small = Image.fromarray(random.integers(0, 256, (6, 6, *shape[2:]), dtype=np.uint8))
    return np.asarray(small.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def save(path: Path, pixels: np.ndarray, **options) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def healthy(root: Path, n: int = 12) -> Path:
    """Two classes in two splits, all different: cat and dog, n images each to train on."""
    for split, count in (("train", n), ("test", 3)):
        for label in ("cat", "dog"):
            for i in range(count):
                save(root / split / label / f"{i:02}.png", noise(16, 16, 3))
    return root


def folder(root: Path, **settings) -> Folder:
    defaults = {"resolution": 16, "channels": 3, "num_classes": 2, "batch_size": 4, "workers": 0}
    return Folder(root=str(root), **defaults | settings)


def found(data: ImageData, **settings) -> dict[str, Finding]:
    findings = examine(data, **settings)
    topics = [finding.topic for finding in findings.found]
    assert len(topics) == len(set(topics)), "one finding per topic"
    text = report(findings)
    assert all(finding.text.split()[0] in text for finding in findings.found)
    assert json.loads(json.dumps(findings.to_dict()))["worst"] == findings.worst
    return {finding.topic: finding for finding in findings.found}


@pytest.mark.parametrize("memory_gb", [4.0, 0.0])
def test_a_healthy_set(tmp_path, memory_gb):
    findings = examine(folder(healthy(tmp_path), memory_gb=memory_gb))
    assert [f.topic for f in findings.found if f.severity != "ok"] == ["count"]
    assert {f.topic for f in findings.found} == {"count", "classes", "damaged", "lossy", "upscaled", "cropped", "values",
                                                 "empty", "duplicates", "conflicts", "leaks", "near copies", "mirrored"}
    facts = findings.facts
    assert (facts["train"], facts["test"], facts["images"]) == ("24 images", "6 images", "16 x 16, 3 channels")
    assert facts["classes"] == {"cat": 12, "dog": 12}
    assert facts["files"] == {"sizes": "16x16", "formats": {"PNG": 24}, "modes": {"RGB": 24}}


@pytest.mark.parametrize("n, batch_size, severity", [
    (40, 41, "problem"), (40, 40, "warning"), (99, 4, "warning"), (100, 4, "note"), (4999, 4, "note"), (5000, 4, "ok"),
])
def test_number_of_images(n, batch_size, severity):
    assert found(Ring(n=n, resolution=1, channels=2, num_classes=8, batch_size=batch_size))["count"].severity == severity


@pytest.mark.parametrize("cats, dogs, severity", [(6, 6, "ok"), (3, 6, "ok"), (3, 7, "note"), (1, 10, "note"), (1, 11, "warning")])
def test_balance(tmp_path, cats, dogs, severity):
    for i in range(cats + dogs):
        save(tmp_path / ("cat" if i < cats else "dog") / f"{i}.png", noise(16, 16, 3))
    finding = found(folder(tmp_path))["classes"]
    assert finding.severity == severity and (cats == dogs or f"cat has {cats} images, dog {dogs}" in finding.text)


def test_a_class_without_training_images(tmp_path):
    save(healthy(tmp_path) / "test/eel/1.png", noise(16, 16, 3))
    finding = found(folder(tmp_path, num_classes=3))["classes"]
    assert finding.severity == "warning" and "1 of 3 classes have no train images: eel" in finding.text


def test_no_labels_and_no_test_split(tmp_path):
    for i in range(5):
        save(tmp_path / f"{i}.png", noise(16, 16, 3))
    findings = found(folder(tmp_path, num_classes=0))
    assert findings["classes"].severity == findings["splits"].severity == "note"
    assert "conflicts" not in findings and "leaks" not in findings
    assert "has no test folder" in findings["splits"].text


@pytest.mark.parametrize("on_error, severity", [("raise", "problem"), ("skip", "warning")])
@pytest.mark.parametrize("memory_gb", [4.0, 0.0])
def test_damaged_files_are_all_named(tmp_path, on_error, severity, memory_gb):
    root = healthy(tmp_path)
    (root / "train/cat/01.png").write_bytes(b"no image")
    whole = (root / "train/dog/02.png").read_bytes()
    (root / "train/dog/02.png").write_bytes(whole[:len(whole) // 2])        # its header can be read
    (root / "test/dog/00.png").write_bytes(b"")
    findings = found(folder(root, on_error=on_error, memory_gb=memory_gb))
    finding = findings["damaged"]
    assert finding.severity == severity and "3 files cannot be read" in finding.text
    assert all(name in finding.text for name in ("train/cat/01.png", "train/dog/02.png", "test/dog/00.png"))
    assert findings["duplicates"].severity == findings["near copies"].severity == "ok"      # stand-ins are no copies


@pytest.mark.parametrize("options, word", [({"format": "JPEG"}, "JPEG"), ({"format": "WEBP", "quality": 60}, "WEBP"),
                                           ({"format": "WEBP", "lossless": True}, "")])
def test_lossy_files_by_content(tmp_path, options, word):
    root = healthy(tmp_path)
    for name in ("00", "01", "02"):
        save(root / f"test/cat/{name}.png", noise(16, 16, 3), **options)
    finding = found(folder(root))["lossy"]
    if word:
        assert finding.severity == "warning" and finding.text.startswith("3 of 30 files (10 %)")
        assert f"({word}); train: 0%; test: 50%" in finding.text
    else:
        assert finding.severity == "ok"


def test_enlarged_files(tmp_path):
    root = healthy(tmp_path, n=17)                                          # 40 files, two of which are 5 %
    for i, severity in enumerate(["note", "note", "warning"]):
        save(root / f"train/cat/{i:02}.png", noise(12 - i, 20, 3))
        finding = found(folder(root))["upscaled"]
        assert finding.severity == severity
        assert "smaller than data.resolution=16" in finding.text and f"the smallest has {12 - i} px" in finding.text
    assert "at most 12" in finding.advice                                   # all but 5 % reach that
    assert found(folder(root, resolution=8))["upscaled"].severity == "ok"


def test_cropped_files(tmp_path):
    root = healthy(tmp_path)
    save(root / "train/cat/00.png", noise(16, 20, 3))
    assert found(folder(root))["cropped"].severity == "note"
    save(root / "train/cat/01.png", noise(64, 32, 3))
    finding = found(folder(root))["cropped"]
    assert finding.severity == "warning" and "2 of 30 files" in finding.text and "1 are at least 2 times" in finding.text
    assert f"{(0.2 + 0.5) / 30:.1%}" in finding.text


def test_colour_and_depth_that_are_not_handed_out(tmp_path):
    root = healthy(tmp_path)
    findings = found(folder(root))
    assert "colour" not in findings and "depth" not in findings
    save(root / "train/cat/00.png", random.integers(0, 65536, (16, 16)).astype(np.uint16))
    findings = found(folder(root, channels=1))
    assert findings["colour"].text.startswith("29 of 30 files") and findings["depth"].text.startswith("1 of 30 files")


def test_grey_images_in_a_colour_set(tmp_path):
    root = healthy(tmp_path)
    assert "grey" not in found(folder(root))
    save(root / "train/dog/03.png", noise(16, 16))
    finding = found(folder(root))["grey"]
    assert finding.severity == "note" and finding.text.startswith("1 of 24") and "train/dog/03.png" in finding.text
    assert "grey" not in found(folder(root, channels=1))
    assert found(digits(channels=3))["grey"].severity == "warning"


def digits(**settings) -> Digits:
    return Digits(**{"resolution": 8, "channels": 1, "num_classes": 10} | settings)


def test_empty_images(tmp_path):
    root = healthy(tmp_path)
    for i, value in enumerate([0, 0, 255, 90]):
        save(root / f"train/cat/{i:02}.png", np.full((16, 16, 3), value, dtype=np.uint8))
    save(root / "train/cat/04.png", np.full((16, 16, 3), 90, dtype=np.uint8) + random.integers(0, 2, (16, 16, 3), dtype=np.uint8))
    finding = found(folder(root))["empty"]
    assert finding.severity == "warning" and finding.text.startswith("5 of 24 images")
    assert "2 black, 1 white, 1 of another colour, 1 with next to no contrast" in finding.text


class Held(ImageData):
    """Images that a test made."""

    def __init__(self, real: torch.Tensor, label: torch.Tensor | None = None):
        super().__init__(resolution=real.shape[-1], channels=real.shape[1], num_classes=0, batch_size=2)
        self.real, self.label = real, label

    def load(self, split):
        return InMemory(self.real, self.label)


@pytest.mark.parametrize("most, severity", [(1, "problem"), (40, "warning"), (200, "ok")])
def test_range_of_values(most, severity):
    real = torch.from_numpy(random.integers(0, most + 1, (20, 1, 8, 8), dtype=np.uint8))
    assert found(Held(real))["values"].severity == severity


def test_copies_conflicts_and_leaks(tmp_path):
    root = healthy(tmp_path)
    pixels = {name: np.asarray(Image.open(root / name)) for name in ("train/cat/00.png", "train/dog/05.png")}
    save(root / "train/cat/11.png", pixels["train/cat/00.png"])
    findings = found(folder(root))
    assert findings["duplicates"].text.startswith("1 of 24 train images") and findings["conflicts"].severity == "ok"
    assert "train/cat/00.png = train/cat/11.png" in findings["duplicates"].text and findings["leaks"].severity == "ok"
    save(root / "train/dog/01.png", pixels["train/cat/00.png"])
    findings = found(folder(root))
    assert findings["duplicates"].text.startswith("2 of 24 train images")
    assert findings["conflicts"].severity == "warning" and findings["conflicts"].text.startswith("3 equal images")
    assert "train/cat/00.png = train/dog/01.png" in findings["conflicts"].text
    save(root / "test/dog/02.png", pixels["train/dog/05.png"])
    finding = found(folder(root))["leaks"]
    assert finding.severity == "warning" and finding.text.startswith("1 of 6 test images")
    assert "train/dog/05.png = test/dog/02.png" in finding.text
    assert findings["near copies"].severity == "ok"                         # those are exact


def test_near_and_mirrored_copies(tmp_path):
    root = healthy(tmp_path)
    photo = np.asarray(Image.open(root / "train/cat/03.png"))
    save(root / "train/dog/04.jpg", photo, quality=95, subsampling=0)
    save(root / "test/dog/04.png", (photo * 0.8 + 20).astype(np.uint8))
    save(root / "train/dog/05.png", np.asarray(Image.open(root / "train/dog/06.png"))[:, ::-1])
    findings = found(folder(root))
    assert findings["duplicates"].severity == findings["leaks"].severity == "ok"
    near, mirrored = findings["near copies"].text, findings["mirrored"].text
    assert near.startswith("2 of 32 images") and "1 of them are test images" in near
    assert "train/cat/03.png ~ train/dog/04.jpg" in near and "train/cat/03.png ~ test/dog/04.png" in near
    assert mirrored.startswith("1 of 32 images") and "train/dog/05.png ~ train/dog/06.png" in mirrored


def test_copies_against_brute_force():
    """Digits with copies, noisy and mirrored ones among them, against every pair compared."""
    real = digits().source().real[:300].clone()
    real[100:110] = real[0:10]
    bright = (real[20:30] * 0.9 + torch.from_numpy(random.integers(0, 8, (10, 1, 8, 8)))).to(torch.uint8)
    real[110:120], real[120:130] = bright, real[40:50].flip(-1)
    findings = found(Held(real))
    assert findings["duplicates"].text.startswith("10 of 300")

    def expected(flip: bool) -> set[int]:
        rows = real.double().flatten(1)
        rows = (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True, correction=0)
        asked = rows.unflatten(1, (8, 8)).flip(-1).flatten(1) if flip else rows
        pairs = (torch.cdist(asked, rows) / 8 <= 0.1).nonzero().tolist()
        copied = {i for i, j in pairs if j < i and not torch.equal(real[i], real[j])}
        return copied - set(range(100, 110))

    # A thumbnail of 8 x 8 pixels is the image itself, so that here the closer of the two limits decides.
    assert findings["near copies"].text.startswith(f"{len(expected(False))} of 600")
    assert findings["mirrored"].text.startswith(f"{len(expected(True))} of 600")


def test_a_large_set_is_sampled(tmp_path):
    root = healthy(tmp_path)
    findings = examine(folder(root, memory_gb=0), limit=10)
    assert findings.facts["looked at train"] == "10 of 24, chosen at random"
    assert "looked at test" not in findings.facts
    assert "looked at train" not in examine(folder(root), limit=10).facts       # in memory all is looked at


def test_points():
    data = Ring(n=500, resolution=1, channels=2, num_classes=8)
    findings = found(data)
    assert set(findings) == {"count", "classes", "values", "duplicates", "conflicts", "leaks"}
    assert findings["values"].severity == findings["duplicates"].severity == "ok"
    data.source().real[7] = float("nan")
    assert found(data)["values"].text.startswith("1 of 500 points")


def test_digits_with_and_without_a_test_split():
    assert "data.holdout" in found(digits())["splits"].text
    findings = found(digits(holdout=0.2))
    assert "splits" not in findings and findings["leaks"].severity == "ok"


@pytest.mark.parametrize("n_fake, n_real, dim, words", [
    (50_000, 50_000, 2048, []), (5000, 5000, 2048, ["5,000 generated images for 2,048 features"]),
    (50_000, 2048, 2048, ["2,048 real images, but 2,048 features"]),
    (99, 5000, 19, ["99 generated images: with fewer than 100"]),
    (50, 5000, 64, ["50 generated images: with", "50 generated images, but 64 features"]),
])
def test_sample_advice(n_fake, n_real, dim, words):
    lines = sample_advice(n_fake, n_real, dim)
    assert len(lines) == len(words) and all(line.startswith(word) for line, word in zip(lines, words, strict=True))


def test_the_worst_comes_first_in_a_report():
    findings = Findings("set", {"train": "3 images"})
    for severity in ("ok", "problem", "note", "warning"):
        findings.add(severity, f"the {severity}", "text " * 40, "advice")
    text = report(findings)
    places = [text.index(f"the {severity}") for severity in ("problem", "warning", "note", "ok")]
    assert places == sorted(places) and max(map(len, text.splitlines())) <= 110
    assert findings.worst == "problem" and Findings("set").worst == "ok"
