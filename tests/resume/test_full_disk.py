"""A disk that is full for a while costs a warning, one that is full at the end the last state, and neither what was
written before. The system itself refuses to write: files have a largest size in these runs."""

import re
import signal

import pytest

from gan_lightning.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow

SETTINGS = ["data=folder", "data.root=photos", "data.resolution=8", "data.channels=1", "data.batch_size=8", "model=mlp",
            "model.generator.hidden=[32]", "model.discriminator.hidden=[32]", "max_kimg=0.8",
            "callbacks.samples.every_kimg=0.1", "callbacks.losses.every_kimg=0.02",
            "callbacks.curves={_target_:gan_lightning.callbacks.curves.Curves,every_kimg:0.1}",
            "callbacks.checkpoint.every_kimg=0.1", "callbacks.checkpoint.keep_every_kimg=0.4"]
SCORED = [*SETTINGS, "metrics=random_conv", "metrics.num_fake=32", "metrics.every_kimg=0.2"]
FULL = 2000  # bytes, of a file


def test_a_full_disk_costs_what_could_not_be_written_and_nothing_else(runs):
    """From step 30 to 60 of 100."""
    assert runs("whole", *SCORED)["code"] == 0
    ended = runs("parts", *SCORED, patch=["full_disk", 30, 60, FULL])
    assert ended["code"] == 0, ended["output"]
    gone = {"checkpoints/kimg_000000.400.ckpt", *(f"samples/kimg_000000.{kimg}.png" for kimg in (304, 400))}
    assert {difference.split(":")[0] for difference in runs.differences("whole", "parts")} == gone
    warnings = sorted(re.findall("(.*) cannot be written [(]File too large[)]; (.*)", ended["output"]))
    goes_on = "the training goes on"
    assert [warning for warning in warnings if warning[1] == goes_on] == [
        (what, goes_on) for what in ("best.ckpt", "curves.png", "metrics.csv", "pictures of scores", "samples/*.png")]
    last = "the last good one: parts/checkpoints/last.ckpt (0.2 kimg); tried again in 0.1 kimg"
    assert [(what, why.replace(str(runs.folder) + "/", "")) for what, why in warnings if why != goes_on] == [
        (f"the checkpoint of {kimg} kimg", last) for kimg in (0.304, 0.4)]


def test_what_was_written_before_is_untouched(runs):
    """Killed while the disk is full, the run goes on as if it had not been."""
    unscored = [*SETTINGS, "metrics=none"]
    assert runs("whole", *unscored)["code"] == 0
    ended = runs("parts", *unscored, patch=["full_disk", 30, 60, FULL, signal.SIGKILL])
    assert ended["code"] == -9
    assert read_checkpoint(runs / "parts")["gan_lightning"]["nimg"] == 200
    assert not list((runs / "parts").rglob(".*.tmp"))
    assert runs("parts", *unscored)["code"] == 0 and runs.differences("whole", "parts") == []


@pytest.mark.parametrize("processes, stop", [(1, None), (1, signal.SIGTERM), (2, None)])
def test_a_run_whose_last_state_is_lost_ends_in_an_error(runs, processes, stop):
    two = ["trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=4"] if processes == 2 else []
    ended = runs("run", *SETTINGS, "callbacks.checkpoint.every_kimg=0.4", "metrics=none", *two, processes=processes,
                 patch=["full_disk_and_signal", 60, FULL, 70, stop])
    assert ended["codes"] == [1, 0][:processes], ended["output"]
    kimg = 0.56 if stop else 0.8
    errors = [line.replace(str(runs.folder) + "/", "") for line in ended["output"].splitlines() if "error:" in line]
    assert errors == [f"error: the checkpoint of {kimg} kimg cannot be written (File too large); the last good one: "
                      "run/checkpoints/last.ckpt (0.4 kimg)"]
    assert read_checkpoint(runs / "run")["gan_lightning"]["nimg"] == 400
    more = runs("run", *SETTINGS, "metrics=none", *two, processes=processes)
    assert more["codes"] == [0] * processes and read_checkpoint(runs / "run")["gan_lightning"]["nimg"] == 800
