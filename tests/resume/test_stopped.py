"""Ctrl-C, SIGTERM and SIGUSR1, whenever they come and to whichever process: a checkpoint, and an exit code that tells."""

import signal
from signal import SIGINT, SIGTERM, SIGUSR1

import pytest

from gan_lightning.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow

SMALL = ["data=gaussians_ring", "model=toy2d", "data.batch_size=8", "callbacks.samples=null", "metrics=none"]
LONG = [*SMALL, "max_kimg=100000"]


def steps(runs, name: str) -> int:
    return read_checkpoint(runs / name)["gan_lightning"]["steps"]


@pytest.mark.parametrize("number, code", [(SIGINT, 130), (SIGTERM, 75), (SIGUSR1, 75)])
def test_the_step_is_finished_and_saved(runs, number, code):
    ended = runs("run", *LONG, patch=["signal_after_step", 7, number])
    assert ended["code"] == code and steps(runs, "run") == 7
    assert f"{signal.Signals(number).name}: stopping after this step" in ended["output"]
    assert "ckpt_path=last hydra.run.dir=run   goes on" in ended["output"]


@pytest.mark.parametrize("number", [SIGTERM, SIGUSR1])
def test_a_scheduler_may_say_so_several_times(runs, number):
    ended = runs("run", *LONG, patch=["signal_after_step", 7, number, 3])
    assert ended["code"] == 75 and steps(runs, "run") == 7


def test_a_second_ctrl_c_ends_the_run_at_once(runs):
    ended = runs("run", *LONG, patch=["two_in_a_step_without_end", SIGINT])
    assert ended["code"] == 130 and ended["seconds"] < 50 and not (runs / "run" / "checkpoints").exists()


def test_the_evaluation_before_the_first_step_is_not_waited_for(runs):
    ended = runs("run", "data=gaussians_ring", "model=toy2d", "max_kimg=100", "metrics.num_fake=100",
                 patch=["signal_in_evaluation", 1, SIGTERM])
    assert ended["code"] == 75 and not (runs / "run" / "checkpoints").exists()


@pytest.mark.parametrize("swallow", [False, True])
def test_before_the_first_step(runs, swallow):
    """At once, since there is nothing to save; if a library swallows that, after the first step."""
    ended = runs("run", *LONG, patch=["signal_before_the_first_step", SIGTERM, swallow])
    assert ended["code"] == 75 and (runs / "run" / "checkpoints").exists() == swallow
    more = runs("run", *SMALL, "max_kimg=0.08")
    assert more["code"] == 0 and ("starting afresh" in more["output"]) != swallow


def test_before_the_first_step_in_a_wait_without_end(runs):
    ended = runs("run", *LONG, patch=["stuck_before_the_first_step", SIGTERM])
    assert ended["code"] == 75 and ended["seconds"] < 50


def test_during_an_evaluation(runs):
    settings = ["data=gaussians_ring", "model=toy2d", "data.batch_size=8", "max_kimg=0.8", "metrics.num_fake=100",
                "metrics.every_kimg=0.2", "callbacks.samples=null"]
    assert runs("whole", *settings)["code"] == 0
    ended = runs("parts", *settings, patch=["signal_in_evaluation", 3, SIGUSR1])
    assert ended["code"] == 75 and steps(runs, "parts") == 50  # the step that was evaluated
    assert runs("parts", *settings)["code"] == 0 and runs.differences("whole", "parts") == []


def test_after_the_last_step_a_run_has_ended(runs):
    ended = runs("run", *SMALL, "max_kimg=0.08", patch=["signal_after_step", 10, SIGTERM])
    assert ended["code"] == 0 and "trained   0.1 kimg (10 generator" in ended["output"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_stops_all(runs, rank):
    """They agree about once a second and not at each step; all stop at the same one, or the next step would hang."""
    ended = runs("run", *LONG, "trainer.accelerator=cpu", "trainer.devices=2", processes=2,
                 patch=["count_agreements", str(runs.folder / "agreements"), 300, SIGTERM, rank])
    assert ended["codes"] == [75, 0], ended["output"]
    agreements = [(runs.folder / f"agreements{r}").read_text().split() for r in (0, 1)]
    assert agreements[0] == agreements[1] and int(agreements[0][-1]) == steps(runs, "run")
    assert steps(runs, "run") >= 300 and len(agreements[0]) < steps(runs, "run") / 5


@pytest.mark.parametrize("number, code", [(SIGINT, 130), (SIGTERM, 75)])
def test_a_signal_to_data_workers_too_costs_nothing(runs, number, code):
    """A terminal signals all processes in front, and a scheduler all of a job: the last step needs its data."""
    streamed = ["data=folder", "data.root=photos", "data.resolution=8", "data.channels=1", "data.memory_gb=0", "data.workers=2",
                "data.batch_size=4", "model=mlp", "metrics=none", "callbacks.samples=null"]
    ended = runs("run", *streamed, "max_kimg=1000", signal=number, after=1.0, group=True)
    assert ended["code"] == code, ended["output"]
    kimg = read_checkpoint(runs / "run")["gan_lightning"]["nimg"] / 1000
    assert runs("run", *streamed, f"max_kimg={kimg + 0.1}")["code"] == 0


def test_a_slurm_job_is_neither_saved_within_a_step_nor_requeued_by_lightning(runs):
    requeue = runs.folder / "bin" / "scontrol"
    requeue.parent.mkdir()
    requeue.write_text(f"#!/bin/sh\ntouch {runs.folder}/requeued\n")
    requeue.chmod(0o755)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
             "SLURM_NODEID": "0", "SLURM_NNODES": "1", "PATH": f"{requeue.parent}:/usr/bin:/bin"}
    ended = runs("run", *LONG, env=slurm, patch=["signal_after_step", 7, SIGUSR1])
    assert ended["code"] == 75 and steps(runs, "run") == 7, ended["output"]
    assert not (runs.folder / "requeued").exists() and not list((runs / "run").glob("hpc_ckpt*"))
    assert "going on from run/checkpoints/last.ckpt" in runs("run", *SMALL, "max_kimg=0.08", env=slurm)["output"]
