"""The stream of batches: order, sharding, resuming, mirroring, workers."""

from itertools import islice

import pytest
import torch

from gan_lightning.data.base import ImageData, to_float
from gan_lightning.data.images import mirror
from gan_lightning.data.loader import Loader, Order
from gan_lightning.data.sources import InMemory, Resized
from gan_lightning.errors import ConfigError, DataError

N = 23                                                  # divides no batch below


def pictures(n: int = N, size: int = 4) -> InMemory:
    """Image i has label i, and pixels from which i and its mirror image can be told."""
    random = torch.Generator().manual_seed(1)
    real = torch.randint(0, 256, (n, 1, size, size), generator=random, dtype=torch.uint8)
    return InMemory(real, torch.arange(n))


class Streamed:
    """The same samples, but not an InMemory: goes through DataLoader."""

    def __init__(self, held: InMemory) -> None:
        self.held = held

    def __len__(self) -> int:
        return len(self.held)

    def take(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.held.take(indices)


def steps(count: int, source=None, **settings) -> list[dict[str, torch.Tensor]]:
    settings = {"batch_size": 4, "seed": 5, "hflip": True} | settings
    return list(islice(Loader(source or pictures(), **settings), count))


def joined(batches: list[dict[str, torch.Tensor]], name: str = "label") -> torch.Tensor:
    return torch.cat([batch[name] for batch in batches])


def same(one: list[dict], other: list[dict]) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(one, other, strict=True))


def test_every_epoch_is_another_permutation():
    labels = joined(steps(N))[: 4 * N].view(4, N)       # N batches of 4 are 4 epochs
    assert all(sorted(epoch.tolist()) == list(range(N)) for epoch in labels)
    assert len({tuple(epoch.tolist()) for epoch in labels}) == 4


def test_order_depends_on_the_seed_and_on_nothing_else():
    torch.manual_seed(0)
    one = steps(3)
    torch.manual_seed(1)
    assert same(one, steps(3))
    assert not same(one, steps(3, seed=6))


def test_pairs_of_seed_and_epoch_do_not_share_an_order():
    orders = {tuple(Order(N, seed).epoch(epoch)[0].tolist()) for seed in range(12) for epoch in range(12)}
    assert len(orders) == 144


def test_iterating_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    steps(2)
    steps(2, Streamed(pictures()))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("batches_per_step", [1, 2, 5])
@pytest.mark.parametrize("start", [0, 17])
def test_ranks_together_see_the_positions_of_one_process(world_size, batches_per_step, start):
    b, count = 4, 6
    share = world_size * b
    alone = Loader(pictures(), batch_size=1, seed=5, hflip=True, start=start)
    alone = list(islice(alone, count * batches_per_step * share))
    for rank in range(world_size):
        got = steps(count, rank=rank, world_size=world_size, batches_per_step=batches_per_step, start=start)
        places = [j * share + rank * b + i for j in range(count * batches_per_step) for i in range(b)]
        for name in ("real", "label"):
            assert torch.equal(joined(got, name), joined([alone[place] for place in places], name))


def test_a_step_holds_the_same_images_in_any_world():
    one = steps(5, batch_size=12)
    for world_size in (2, 3):
        b = 12 // world_size
        ranks = [steps(5, batch_size=b, rank=r, world_size=world_size) for r in range(world_size)]
        for step, *parts in zip(one, *ranks, strict=True):
            assert torch.equal(step["real"], torch.cat([part["real"] for part in parts]))


@pytest.mark.parametrize("source", [pictures(), Streamed(pictures())])
@pytest.mark.parametrize("skipped", [1, 5, 6, 12, 40])
def test_start_equals_skipping(source, skipped):
    images = skipped * 2 * 4
    assert same(steps(skipped + 4, source, batches_per_step=2)[skipped:],
                steps(4, source, batches_per_step=2, start=images))


def test_each_iteration_begins_at_start():
    loader = Loader(pictures(), batch_size=4, start=8)
    assert same(list(islice(loader, 3)), list(islice(loader, 3)))


@pytest.mark.parametrize("workers", [0, 2])
def test_streaming_equals_memory(workers):
    got = steps(9, Streamed(pictures()), workers=workers, batches_per_step=3, start=4)
    assert same(got, steps(9, batches_per_step=3, start=4))


def test_batches_are_joined_along_the_first_dimension():
    batch = steps(1, batches_per_step=3)[0]
    assert batch["real"].shape == (12, 1, 4, 4) and batch["real"].dtype == torch.uint8
    assert batch["label"].shape == (12,) and batch["label"].dtype == torch.int64


def test_half_of_the_images_are_mirrored_and_another_half_each_epoch():
    held = pictures(500)
    real, flipped = held.real, held.real.flip(-1)
    epochs = []
    for batch in steps(2, held, batch_size=500):
        order, got = batch["label"], batch["real"]
        mirrored = (got == flipped[order]).flatten(1).all(1)
        plain = (got == real[order]).flatten(1).all(1)
        assert torch.equal(mirrored, ~plain)            # each is the one or the other
        assert 200 < mirrored.sum() < 300               # 4.5 standard deviations around 250
        epochs.append(mirrored[order.argsort()])
    assert 200 < (epochs[0] != epochs[1]).sum() < 300


def test_mirroring_moves_nothing_else():
    plain, flipped = steps(20, hflip=False), steps(20)
    assert torch.equal(joined(plain), joined(flipped))
    held = pictures()
    assert torch.equal(joined(plain, "real"), held.real[joined(plain)])
    assert not torch.equal(joined(plain, "real"), joined(flipped, "real"))


def test_mirror_against_indexing():
    images = torch.randint(0, 256, (3, 2, 4, 5), dtype=torch.uint8)
    got = mirror(images, torch.tensor([False, True, False]))
    assert torch.equal(got[[0, 2]], images[[0, 2]])
    assert torch.equal(got[1], images[1][:, :, [4, 3, 2, 1, 0]])


@pytest.mark.parametrize("wrong", [{"rank": 2, "world_size": 2}, {"rank": -1}, {"start": -1},
                                   {"batches_per_step": 0}])
def test_no_such_share(wrong):
    with pytest.raises(ValueError, match="no such share"):
        steps(1, **wrong)


class Broken(Streamed):
    def take(self, indices):
        raise DataError("x.png cannot be read")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_arrives_as_one_line(workers):
    with pytest.raises(DataError) as error:
        steps(1, Broken(pictures()), workers=workers)
    assert str(error.value) == "x.png cannot be read"


def test_to_float():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert to_float(pixels).tolist() == pytest.approx([-1.0, -0.6, 1.0], abs=1e-6)
    assert to_float(pixels).dtype == torch.float32 and pixels.tolist() == [0, 51, 255]
    points = torch.randn(3, 2)
    assert to_float(points) is points


class Fixed(ImageData):
    loads = 0

    def load(self, split):
        self.loads += 1
        return self.hold(pictures(10, 8).real, torch.arange(10))


def test_sources_are_read_once_per_split():
    data = Fixed(resolution=8, channels=1, batch_size=2)
    assert data.source() is data.source("train")
    assert data.source("test") is not data.source("train")
    assert data.loads == 2


def test_a_set_too_big_for_memory_is_resized_when_taken():
    data = Fixed(resolution=32, channels=3, batch_size=4, workers=0)
    tight = Fixed(resolution=32, channels=3, batch_size=4, workers=0, memory_gb=1e-6)
    assert isinstance(data.source(), InMemory) and isinstance(tight.source(), Resized)
    one, other = (list(islice(d.loader(batches_per_step=2, seed=3), 5)) for d in (data, tight))
    assert one[0]["real"].shape == (8, 3, 32, 32)
    assert same(one, other)


@pytest.mark.parametrize("name, value", [("resolution", 0), ("channels", 0), ("num_classes", -1),
                                         ("batch_size", 0), ("workers", -1), ("memory_gb", -1.0),
                                         ("split", "val"), ("device", "cuda")])
def test_impossible_settings_are_named(name, value):
    with pytest.raises(ConfigError, match=f"data.{name}={value}: must be"):
        Fixed(**{"resolution": 8, "channels": 1} | {name: value})


def test_a_set_smaller_than_a_batch():
    Fixed(resolution=8, channels=1, batch_size=10).loader(batches_per_step=1, seed=0)
    with pytest.raises(ConfigError, match=r"data.batch_size=11.*only 10 images"):
        Fixed(resolution=8, channels=1, batch_size=11).loader(batches_per_step=1, seed=0)


def test_gpu_needs_a_gpu_and_a_set_that_fits():
    data = Fixed(resolution=8, channels=1, batch_size=2, device="gpu")
    with pytest.raises(ConfigError, match="data.device=gpu: the training runs on the CPU"):
        data.loader(batches_per_step=1, seed=0, device=torch.device("cpu"))
    data = Fixed(resolution=8, channels=1, batch_size=2, device="gpu", memory_gb=0)
    with pytest.raises(ConfigError, match="memory_gb"):
        data.loader(batches_per_step=1, seed=0, device=torch.device("cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_set_on_the_gpu_gives_the_same_batches_there():
    device = torch.device("cuda", 0)
    settings = {"resolution": 8, "channels": 1, "batch_size": 3, "hflip": True, "num_classes": 10}
    there = list(islice(Fixed(device="gpu", **settings).loader(batches_per_step=2, seed=1, device=device), 6))
    here = list(islice(Fixed(**settings).loader(batches_per_step=2, seed=1, device=device), 6))
    assert there[0]["real"].device == device and here[0]["real"].is_pinned()
    assert same([{name: t.cpu() for name, t in batch.items()} for batch in there], here)
