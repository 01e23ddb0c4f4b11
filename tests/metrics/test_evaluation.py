"""One pass feeds all scores; the value depends on weights, data and settings, and on nothing else."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gan_lightning.errors import ConfigError, UserError
from gan_lightning.metrics.generated import fakes_of, labels_like

ROOT = Path(__file__).parents[2]


def test_the_value_is_that_of_a_direct_computation(toys, tmp_path):
    gan, data = toys.toy_gan(), toys.ToyData()
    evaluation = toys.evaluation(tmp_path)
    result = toys.measure(evaluation, data, gan)

    gan.network.eval()
    labels = labels_like(data.label, 101, 0)
    batch = gan.task.sample_batch(range(101), 0, labels)
    with torch.no_grad():
        x = gan.task.generate(batch, gan.network)
    pixels = ((x.clamp(-1, 1) + 1) * 127.5).round()
    weight = torch.randn(48, 10, generator=torch.Generator().manual_seed(3))[:, :6].double() / 1000
    means = [images.flatten(1).double().mean(0) @ weight for images in (pixels, data.images)]
    assert result.values()["distance_toy"] == pytest.approx((means[0] - means[1]).norm().item(), rel=1e-5)
    assert result.values()["n_toy"] == 101 and result.values()["index_toy"] == 100 * 101 / 2
    assert result.main == "distance_toy" and 0 < result.scores["distance_toy"].reals < 1


def test_two_evaluations_are_equal_and_touch_nothing(toys, tmp_path):
    gan = toys.toy_gan()
    gan.network.net[1].eval()  # one part in eval mode, the others in train mode
    modes = [module.training for module in gan.network.modules()]
    state = {name: value.clone() for name, value in gan.network.state_dict().items()}
    random = torch.get_rng_state()
    first = toys.measure(toys.evaluation(tmp_path / "a"), gan=gan)
    second = toys.measure(toys.evaluation(tmp_path / "b"), gan=gan)
    assert first.values() == second.values()
    assert [module.training for module in gan.network.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in gan.network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_autocast_and_tf32_of_the_surroundings_do_not_reach_the_extractor(toys, tmp_path):
    gan = toys.toy_gan()
    plain = toys.measure(toys.evaluation(tmp_path / "a"), gan=gan)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        seen = []

        class Watched(toys.ToyExtractor):
            def _fail(self, where):
                seen.append((torch.is_autocast_enabled("cpu"), torch.backends.cuda.matmul.fp32_precision,
                             torch.backends.mkldnn.matmul.fp32_precision))

        with torch.autocast("cpu", dtype=torch.bfloat16):
            around = toys.measure(toys.evaluation(tmp_path / "b", extractor=Watched()), gan=gan)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(precision)
    assert seen[-1] == (False, "ieee", "ieee") and around.values() == plain.values()


@pytest.mark.parametrize("block", [1, 7, 101, 500])
def test_a_generator_with_batch_norm_scores_the_same_in_any_block(toys, tmp_path, block):
    usual, other = (toys.measure(toys.evaluation(tmp_path, block=size)).values() for size in (64, block))
    assert other["distance_toy"] == pytest.approx(usual["distance_toy"], rel=1e-4)
    assert other["n_toy"] == 101 and other["index_toy"] == 100 * 101 / 2


SCORES = [f"gan_lightning.metrics.scores.{name}" for name in (
    "frechet.FrechetDistance", "inception_score.InceptionScore", "kernel.KernelDistance", "prdc.PRDC",
    "intra_class.IntraClass", "frechet_infinity.FrechetInfinity", "memorisation.Memorisation", "diversity.Diversity")]


def _in_processes(tmp_path, world, cache, **settings):
    tmp_path.mkdir(exist_ok=True)
    settings = json.dumps({"cache": str(cache), **settings})
    processes = [subprocess.Popen([sys.executable, Path(__file__).with_name("toys.py"), str(rank), str(world),
                                   tmp_path / "rendezvous", tmp_path / f"{rank}.json", settings],
                                  stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}) for rank in range(world)]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    found = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]
    return found, [process.returncode for process in processes], errors


@pytest.mark.slow
def test_one_two_and_three_processes_find_the_same(toys, tmp_path):
    """211 fakes and 203 reals in blocks of 16: divisible by no number of processes. Equal to 1e-9, on every process."""
    settings = {"block": 16, "scores": SCORES, "num_fake": 211, "n": 203}
    (one,), codes, errors = _in_processes(tmp_path / "1", 1, tmp_path / "cache1", **settings)
    assert codes == [0], errors
    assert {"fd_toy", "cs_toy", "kd_toy", "precision_toy", "intra_fd_toy", "memorised_toy"} <= one["values"].keys()
    for world in (2, 3):
        cache = tmp_path / f"cache{world}"
        for again in ("made", "cached"):
            found, codes, errors = _in_processes(tmp_path / f"{world}{again}", world, cache, **settings)
            assert codes == [0] * world, errors
            assert len(found) == world and all(each == found[0] for each in found)
            for kind in ("values", "reals"):
                assert found[0][kind] == pytest.approx(one[kind], rel=1e-9, abs=1e-12), (world, again)
    assert len(set(one["values"].values())) > 8


@pytest.mark.slow
@pytest.mark.parametrize("where", ["load", "extract"])
def test_one_failing_process_stops_all_with_its_message(toys, tmp_path, where):
    begin = time.monotonic()
    found, codes, errors = _in_processes(tmp_path / "run", 3, tmp_path / "cache", fails_on=1, fails_in=where)
    assert not found and all(codes) and time.monotonic() - begin < 60
    assert f"RuntimeError: out of memory in {where}" in errors[1]
    for rank in (0, 2):
        assert f"process 1 failed: RuntimeError: out of memory in {where}" in errors[rank]


def test_reals_are_seen_once_and_found_in_the_cache_after(toys, tmp_path):
    toys.ToyExtractor.opened = 0
    evaluation = toys.evaluation(tmp_path)
    first = toys.measure(evaluation)
    assert toys.ToyExtractor.opened == 2  # reals, fakes
    assert toys.measure(toys.evaluation(tmp_path)).values() == first.values()
    assert toys.ToyExtractor.opened == 3  # fakes alone
    toys.measure(toys.evaluation(tmp_path), toys.ToyData(change=(82, 2, 3, 3)))
    assert toys.ToyExtractor.opened == 5  # one pixel differs: reals again


def test_all_that_decides_a_score_is_in_its_fingerprint(toys, tmp_path):
    usual = toys.measure(toys.evaluation(tmp_path))
    again = toys.measure(toys.evaluation(tmp_path / "other"))
    assert again.scores["distance_toy"].id == usual.scores["distance_toy"].id
    others = [toys.measure(toys.evaluation(tmp_path, **settings), data) for settings, data in [
        ({"seed": 1}, None), ({"num_real": 40}, None), ({}, toys.ToyData(change=(0, 0, 0, 0))), ({}, toys.ToyData(80)),
        ({"split": "test"}, None)]]
    ids = [result.scores["distance_toy"].id for result in (usual, *others)]
    assert len(set(ids)) == len(ids)


def test_labels_follow_the_frequencies_of_the_reals(toys):
    labels = torch.tensor([0] * 900 + [3] * 100)
    drawn = labels_like(labels, 5000, seed=0)
    assert set(drawn.tolist()) == {0, 3} and (drawn == 3).double().mean().item() == pytest.approx(0.1, abs=0.02)
    assert torch.equal(drawn, labels_like(labels, 5000, seed=0))
    assert not torch.equal(drawn, labels_like(labels, 5000, seed=1))


def test_nan_from_the_generator_is_refused(toys, tmp_path):
    gan = toys.toy_gan()
    gan.network.net[3].weight.data[0, 0] = torch.nan
    with pytest.raises(UserError, match="samples 0 to 64 of the generator contain NaN"):
        toys.measure(toys.evaluation(tmp_path), gan=gan)


def test_samples_of_scattered_numbers_are_those_of_the_blocks(toys):
    gan, data = toys.toy_gan(), toys.ToyData()
    fakes = fakes_of(gan, 101, 5, toys.evaluation("unused").reals(data), block=16)
    everything = fakes.source.take(torch.arange(101))
    some = torch.tensor([100, 3, 3, 17])
    for name, values in fakes.source.take(some).items():
        assert torch.equal(values, everything[name][some])
    assert everything["real"].dtype == torch.uint8 and torch.equal(everything["label"], fakes.source.label)


@pytest.mark.parametrize("settings, message", [
    ({"num_real": 84}, "metrics.num_real=84: the train split has 83 images"),
    ({"num_real": 0}, "metrics.num_real=0: must be at least 1"),
    ({"block": 0}, "metrics.block=0: must be at least 1"),
    ({"seed": -1}, "seed=-1"),
    ({"every_kimg": 0}, "metrics.every_kimg=0: must be above 0"),
])
def test_settings_that_cannot_be(toys, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        toys.measure(toys.evaluation(tmp_path, **settings))


def test_the_main_score_must_be_there(toys):
    from gan_lightning.metrics.evaluation import Evaluation

    with pytest.raises(ConfigError, match="metrics.main=fid: must be one of the scores: mean"):
        Evaluation(toys.ToyExtractor(), {"mean": toys.MeanDistance(), "fid": None}, main="fid")
