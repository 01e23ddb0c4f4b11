"""Resume is exact: whatever ends a run, and how often, what it comes to is the uninterrupted run's, bit for bit.

Compared are weights, the average of G, batch-norm statistics, the optimizers' moments, the best checkpoint and its
record, metrics.csv, every picture, and the summary.
"""

import random
import shutil
import signal

import pytest

pytestmark = pytest.mark.slow

PHOTOS = ["data=folder", "data.root=photos", "data.resolution=8", "data.channels=1"]
LAZY = [*PHOTOS, "model=mlp", "model.generator.hidden=[32]", "model.discriminator.hidden=[32]", "loss=wgan_gp",
        "term=[r1]", "loss.d_terms.r1.every=4", "optim/decay=cosine", "optim.accumulate=2", "data.batch_size=4",
        "max_kimg=3", "callbacks.losses.every_kimg=0.1", "callbacks.samples.every_kimg=0.6", "metrics=random_conv",
        "metrics.num_fake=32", "metrics.every_kimg=0.9", "callbacks.checkpoint.every_kimg=0.2",
        "callbacks.checkpoint.keep_every_kimg=1"]
STREAMED = [*PHOTOS, "model=dcgan", "model.width=4", "data.memory_gb=0", "data.workers=2", "data.hflip=true",
            "data.batch_size=8", "max_kimg=1.8", "metrics=none", "callbacks.losses.every_kimg=0.07",
            "callbacks.samples.every_kimg=0.5", "callbacks.checkpoint.every_kimg=0.1"]
TWO = [*PHOTOS, "model=mlp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=8", "max_kimg=2",
       "metrics=none", "loss=wgan_gp", "callbacks.losses.every_kimg=0.1", "callbacks.samples.every_kimg=0.5",
       "callbacks.checkpoint.every_kimg=0.25"]
OFTEN = ["data.batch_size=8", "metrics=none", "callbacks.losses.every_kimg=0.1", "callbacks.samples.every_kimg=0.4",
         "callbacks.checkpoint.every_kimg=0.1"]
GROWING = [*PHOTOS, *OFTEN, "model=progan", "model.channel_max=8", "model.kimg_per_stage=0.3", "model.kimg_fade=0.7",
           "loss=wgan_gp", "augment=apa", "augment.kimg=1", "max_kimg=1.4"]
STATEFUL = [*PHOTOS, *OFTEN, "model=stylegan2", "model.channel_max=8", "model.w_dim=16", "model.mapping_layers=2",
            "augment=ada", "augment.kimg=2", "augment.every=2", "loss=hinge", "term=[r1,path_length,lecam,historical_averaging_d]",
            "loss.d_terms.r1.every=4", "loss.d_terms.lecam.from_kimg=0.2", "max_kimg=1.2"]
ENDINGS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGUSR1)


@pytest.mark.parametrize("settings, kills, processes, seed", [
    (LAZY, 9, 1, 0), (STREAMED, 6, 1, 1), (TWO, 5, 2, 2), (GROWING, 4, 1, 3), (STATEFUL, 4, 1, 4)],
    ids=["lazy_terms", "streamed", "two_processes", "growing", "stateful"])
def test_a_run_killed_at_random_moments(runs, settings, kills, processes, seed):
    whole = runs("whole", *settings, processes=processes)
    assert whole["codes"] == [0] * processes, whole["output"]
    moments, delivered, parts = random.Random(seed), [], 0
    while delivered.count(signal.SIGKILL) < kills:
        ending = ENDINGS[len(delivered) % len(ENDINGS)]
        after = moments.uniform(0, 0.4 * whole["trained"])
        ended = runs(f"parts{parts}", *settings, processes=processes, signal=ending, after=after)
        if ended["codes"] == [0] * processes:
            assert runs.differences("whole", f"parts{parts}") == [], ended["output"]
            parts += 1
        else:
            assert ended["code"] == {signal.SIGKILL: -9, signal.SIGINT: 130}.get(ending, 75), ended["output"]
            delivered.append(ending)
    last = runs(f"parts{parts}", *settings, processes=processes)
    assert last["codes"] == [0] * processes, last["output"]
    assert runs.differences("whole", f"parts{parts}") == []


MOMENTS = [
    {"at": "write", "name": "best.ckpt", "size": 2000},
    {"at": "replaced", "name": "best.ckpt"},  # which is then the only one
    {"at": "write", "name": "last.ckpt.new", "size": 0},  # of the very first checkpoint
    {"at": "write", "name": "last.ckpt.new", "nth": 2, "size": 9000},
    {"at": "fsync", "name": "last.ckpt.new", "nth": 2},
    {"at": "replace", "name": "last.ckpt.new", "nth": 3},
    {"at": "replaced", "name": "last.ckpt.new", "nth": 2},
    {"at": "link", "name": "previous.ckpt"},
    {"at": "replaced", "name": "/previous.ckpt", "nth": 2},
    {"at": "replaced", "name": "/last.ckpt", "nth": 2},
    {"at": "write", "name": "kimg_000001.000.ckpt", "size": 5000},
    {"at": "replaced", "name": "kimg_000001.000.ckpt"},
    {"at": "linked", "name": "/.last.ckpt.tmp"},  # by which the kept one becomes the last
    {"at": "write", "name": "metrics.csv", "size": 100},
    {"at": "write", "name": "samples/.kimg", "size": 10},
    {"at": "write", "name": "summary.json", "size": 10},
]


def test_a_run_killed_within_its_writing(runs):
    """SIGKILL in the middle of a file, before its bytes are sure, between two renames: everywhere in turn."""
    settings = [*LAZY, "max_kimg=1.4", "callbacks.checkpoint.every_kimg=0.1"]
    assert runs("whole", *settings)["code"] == 0
    before = None
    for moment in MOMENTS:
        ended = runs("parts", *settings, die=moment)
        assert ended["code"] == -9, (moment, ended["output"])
        if before == MOMENTS[1]:
            assert "going on from parts/checkpoints/best.ckpt" in ended["output"]
        before = moment
    last = runs("parts", *settings)
    assert last["code"] == 0 and runs.differences("whole", "parts") == [], last["output"]
    left = [path.name for path in (runs / "parts").rglob("*.tmp")]
    assert not left


def test_the_best_is_gone_on_from_where_there_is_no_other(runs):
    """It was written in the middle of its step: what else was to be done in that step is done when the run goes on."""
    settings = [*LAZY, "max_kimg=1.2", "callbacks.checkpoint.every_kimg=2", "callbacks.samples.every_kimg=0.3"]
    assert runs("whole", *settings)["code"] == 0
    assert runs("parts", *settings, die={"at": "replaced", "name": "best.ckpt", "nth": 2})["code"] == -9
    more = runs("parts", *settings)
    assert "going on from parts/checkpoints/best.ckpt" in more["output"] and runs.differences("whole", "parts") == []


def test_a_rollback_goes_back_to_what_it_would_have(runs):
    """At step 11 to the state of step 10, though the run had been at 18 and well when it was killed."""
    settings = [*PHOTOS, "model=mlp", "data.batch_size=8", "max_kimg=0.24", "metrics=none", "callbacks.losses.every_kimg=0.008",
                "callbacks.watchdog={_target_:gan_lightning.callbacks.watchdog.Watchdog,every_kimg:0.016,on_alarm:rollback,"
                "collapse_below:0,won_above:2}", "callbacks.samples.every_kimg=0.08", "callbacks.checkpoint.every_kimg=0.08"]
    whole = runs("whole", *settings, patch=["broken_at", 10, 0, None])
    assert whole["code"] == 0 and "back to the weights of 0.08 kimg" in whole["output"], whole["output"]
    assert runs("parts", *settings, patch=["broken_at", 10, 19, signal.SIGKILL])["code"] == -9
    more = runs("parts", *settings, patch=["broken_at", 10, 0, None])
    assert more["code"] == 0 and "back to the weights of 0.08 kimg" in more["output"], more["output"]
    assert runs.differences("whole", "parts") == []


@pytest.fixture(scope="module")
def stopped(module_runs):
    """An uninterrupted run, and one that was stopped between two rows of its losses."""
    settings = [*PHOTOS, "model=mlp", "data.batch_size=8", "max_kimg=1.2", "metrics=none", "callbacks.samples.every_kimg=1",
                "callbacks.losses.every_kimg=0.1", "callbacks.checkpoint.every_kimg=0.4"]
    assert module_runs("whole", *settings)["code"] == 0
    ended = module_runs("stopped", *settings, patch=["signal_after_step", 70, signal.SIGTERM])
    assert ended["code"] == 75, ended["output"]
    return module_runs, settings


@pytest.mark.parametrize("forgotten, found", [
    (None, []), ("position", ["last.ckpt: /state_dict/", "metrics.csv"]), ("moments", ["last.ckpt: /optimizer_states/"]),
    ("sums", ["metrics.csv"]), ("steps", ["last.ckpt: /state_dict/task.d"]), ("average", ["last.ckpt: /state_dict/ema."])])
def test_the_proof_fails_when_something_is_forgotten(stopped, forgotten, found):
    runs, settings = stopped
    shutil.copytree(runs / "stopped", runs / f"{forgotten}")
    ended = runs(f"{forgotten}", *settings, patch=forgotten and [f"forget_{forgotten}"])
    differences = runs.differences("whole", f"{forgotten}")
    assert ended["code"] == 0 and bool(differences) == bool(forgotten)
    for each in found:
        assert any(each in difference for difference in differences), differences
