"""p against the paper's rule, in closed form; on one device and on two."""

import multiprocessing
import socket

import pytest
import torch
import torch.distributed as dist

from gan_lightning.augment.apa import APA
from gan_lightning.augment.steering import Steered
from gan_lightning.build import build_task
from gan_lightning.errors import ConfigError
from gan_lightning.schedules import Linear

SURE, UNSURE = torch.full((10, 1), 2.0), torch.tensor([2.0, -1.0] * 5)[:, None]  # r = 1 and r = 0
FAKE = torch.zeros(10, 1)


def play(steered, steps, logits, images=100, n_critic=1, first=0, fake=FAKE):
    """What the task calls in so many steps of D."""
    for step in range(first, first + steps):
        nimg = step // n_critic * n_critic * images
        steered.set_nimg(nimg)
        steered.observe(logits, fake)
        steered.adapt(images)
        steered.set_nimg(nimg)  # G's step
    return steered.p.item()


@pytest.mark.parametrize("n_critic", [1, 2, 5])
@pytest.mark.parametrize("steps, changes", [(3, 0), (4, 1), (7, 1), (8, 2), (40, 10)])
def test_p_moves_every_4_steps_by_their_share_of_kimg(steps, changes, n_critic):
    """4 steps of 100 images are 0.4 kimg: of 20 kimg a fiftieth."""
    assert play(Steered(kimg=20), steps, SURE, n_critic=n_critic) == pytest.approx(changes / 50)
    assert play(Steered(kimg=20, p=0.5), steps, UNSURE, n_critic=n_critic) == pytest.approx(0.5 - changes / 50)


def test_p_goes_from_0_to_1_in_kimg_and_stays_within():
    steered = Steered(kimg=20, every=1)
    assert play(steered, 199, SURE) == pytest.approx(0.995) and play(steered, 5, SURE) == 1.0
    assert play(Steered(kimg=20, p=0.01), 30, -SURE) == 0.0


@pytest.mark.parametrize("positive, direction", [(9, 1), (7, -1), (8, 0)])
def test_r_is_a_mean_of_signs_over_the_whole_period(positive, direction):
    """Of 10 logits 8 positive: r = 0.6, the target. Two batches of different surety count together."""
    steered = Steered(p=0.5, kimg=20, every=2)
    counts = torch.arange(10)[:, None]
    for step, logits in enumerate([torch.where(counts < positive, 100.0, -0.1), torch.where(counts < 8, 0.1, -9.0)]):
        steered.set_nimg(100 * step)
        steered.observe(logits, FAKE)
        steered.adapt(100)
    assert steered.p.item() == pytest.approx(0.5 + direction * 0.2 / 20)
    assert steered.signs == steered.logits == 0


def test_relativistic_compares_pairs():
    logits = torch.randn(10, 1)
    assert play(Steered(kimg=20, relativistic=True), 4, logits - 50, fake=logits - 51) == pytest.approx(0.02)
    assert play(Steered(kimg=20, relativistic=False), 4, logits - 50, fake=logits - 51) == 0


def test_logits_that_are_no_numbers_do_not_reach_p():
    assert play(Steered(kimg=20, p=0.5), 4, torch.full((10, 1), torch.nan)) == pytest.approx(0.48)


def test_a_schedule_is_followed_and_not_steered():
    steered = Steered(schedule=Linear(0.0, 0.5, kimg=1.0))
    assert play(steered, 6, SURE, images=100) == pytest.approx(0.25)
    assert play(steered, 1, SURE, images=100, first=30) == 0.5
    assert play(Steered(schedule=0.3, kimg=20), 8, SURE) == pytest.approx(0.3)


def test_without_a_clock_nothing_moves():
    assert play(Steered(p=0.2), 9, SURE, images=0) == pytest.approx(0.2)


def test_a_resumed_run_changes_p_where_an_uninterrupted_one_does():
    one, first, second = Steered(kimg=20, p=0.3), Steered(kimg=20, p=0.3), Steered(kimg=20)
    sure = torch.where(torch.arange(10) < 9, 1.0, -1.0)[:, None]
    play(one, 8, sure)
    play(first, 6, sure)
    second.load_state_dict(first.state_dict())
    assert set(first.state_dict()) == {"p", "signs", "logits"} and second.logits == 20
    play(second, 2, sure, first=6)
    assert second.p.item() == one.p.item() == pytest.approx(0.34)
    assert one.readings() == {"p": one.p}


@pytest.mark.parametrize("settings, message", [
    ({"p": 1.5}, "augment.p=1.5: must be from 0 to 1"), ({"target": 1.0}, "augment.target=1.0: must be between -1 and"),
    ({"every": 0}, "augment.every=0: must be at least 1"), ({"kimg": 0.0}, "augment.kimg=0.0: must be above 0"),
    ({"schedule": 2.0}, "augment.schedule=2.0: must be from 0 to 1"),
])
def test_refused_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        Steered(**settings)


def test_apa_takes_fakes_for_reals_as_often_as_p_says():
    real, fake = torch.zeros(4000, 1, 2, 2), torch.ones(4000, 1, 2, 2)
    assert torch.equal(APA().reals(real, fake), real)
    assert torch.equal(APA(p=1.0).reals(real, fake), fake)
    some = APA(p=0.3).reals(real, fake).flatten(1)
    assert some.mean().item() == pytest.approx(0.3, abs=0.03)
    assert ((some == 0).all(1) | (some == 1).all(1)).all()  # whole images
    assert torch.equal(APA(p=0.3)(fake), fake)
    points = APA(p=0.5).reals(torch.zeros(100, 2), torch.ones(100, 2))
    assert torch.equal(points[:, 0], points[:, 1]) and 20 < points[:, 0].sum() < 80


def _two_devices(rank: int, port: int, results) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    found = []
    for positive in ((10, 4), (10, 7), (9, 9)):  # of 10 logits on each device: r = 0.4, 0.7, 0.8 jointly
        steered = Steered(p=0.5, kimg=20, every=1)
        steered.observe(torch.where(torch.arange(10) < positive[rank], 1.0, -1.0)[:, None], FAKE)
        steered.adapt(100)
        found.append(steered.p.item())
    results.put((rank, found))
    dist.barrier()
    dist.destroy_process_group()


def test_two_devices_agree_on_their_joint_batch():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_two_devices, args=(rank, port, results)) for rank in range(2)]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert found[0] == found[1] == pytest.approx([0.5 - 0.005, 0.5 + 0.005, 0.5 + 0.005])


@pytest.mark.parametrize("loss, boundary, relativistic", [("hinge", 0.0, False), ("lsgan", 0.5, False),
                                                          ("rpgan", 0.0, True), ("wgan", 0.0, True)])
def test_the_loss_says_where_d_is_undecided(config, loss, boundary, relativistic):
    steered = build_task(config("model=mlp", f"loss={loss}", "augment=apa")).augment
    assert (steered.boundary, steered.relativistic) == (boundary, relativistic)
    steered = build_task(config("model=mlp", f"loss={loss}", "augment=apa", "augment.relativistic=false")).augment
    unsure = boundary + torch.tensor([0.1, -0.1] * 5)[:, None]
    play(steered, 1, unsure)
    assert steered.signs == 0 and steered.logits == 10
