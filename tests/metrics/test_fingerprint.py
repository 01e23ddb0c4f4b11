"""Only like is compared with like."""

import pytest
import torch

from gan_lightning.data.sources import InMemory
from gan_lightning.errors import ConfigError
from gan_lightning.metrics.fingerprint import MODULUS, _sum_of_hashes, data_hash, refuse_difference, short

IMAGES = torch.randint(256, (50, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.arange(50) % 7
HASH = data_hash(InMemory(IMAGES, LABELS))


def test_one_changed_pixel_changes_the_hash():
    changed = IMAGES.clone()
    changed[31, 2, 3, 1] ^= 1
    assert data_hash(InMemory(changed, LABELS)) != HASH
    assert data_hash(InMemory(IMAGES.clone(), LABELS)) == HASH


@pytest.mark.parametrize("other", [
    InMemory(IMAGES),
    InMemory(IMAGES, LABELS.roll(1)),
    InMemory(IMAGES.roll(1, 0), LABELS.roll(1)),
    InMemory(IMAGES[:49], LABELS[:49]),
], ids=["no labels", "other labels", "another order", "one image fewer"])
def test_what_else_changes_the_hash(other):
    assert data_hash(other) != HASH


def test_the_hash_of_some_is_that_of_a_set_of_them():
    some = torch.tensor([3, 10, 49])
    assert data_hash(InMemory(IMAGES, LABELS), some) == data_hash(InMemory(IMAGES[some], LABELS[some]))


@pytest.mark.parametrize("world, block", [(1, 7), (2, 8), (3, 1), (3, 50)])
def test_shares_of_processes_add_up(world, block):
    source, indices = InMemory(IMAGES, LABELS), torch.arange(50)
    total = sum(_sum_of_hashes(source, indices, block, rank, world) for rank in range(world))
    assert f"{total % MODULUS:064x}" == HASH


def test_a_difference_is_refused_by_name():
    first = {"num_fake": 5000, "extractor": {"name": "classifier", "weights": "a" * 64}}
    refuse_difference(first, {**first}, "fd of A and of B")
    second = {"num_fake": 4000, "extractor": {"name": "classifier", "weights": "b" * 64}}
    with pytest.raises(ConfigError, match="fd of A and of B cannot be compared: num_fake is 5000 in one, 4000 in the "
                                          "other; extractor.weights is aaaaaaaaaaaa... in one, bbbbbbbbbbbb... in"):
        refuse_difference(first, second, "fd of A and of B")
    assert short(first) != short(second) and len(short(first)) == 8
