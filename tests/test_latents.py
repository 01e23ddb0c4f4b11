import math

import pytest
import torch

from gan_lightning.errors import ConfigError
from gan_lightning.latents import indexed, latent
from gan_lightning.randomness import check_seed, mix


@pytest.mark.parametrize("distribution, low, high", [
    ("normal", -9, 9), ("uniform", -1, 1), ("spherical", -9, 9),
])
def test_moments(distribution, low, high):
    z = latent(distribution, (20_000, 16))
    assert z.mean().item() == pytest.approx(0, abs=0.01)
    assert z.var().item() == pytest.approx(1 / 3 if distribution == "uniform" else 1.0, abs=0.02)
    assert low <= z.min() and z.max() <= high
    assert (z.norm(dim=1).std() < 1e-4) == (distribution == "spherical")


def test_a_sample_belongs_to_its_number():
    z, labels = indexed("normal", range(10), seed=3, z_dim=5, num_classes=10)
    tail, tail_labels = indexed("normal", range(6, 10), seed=3, z_dim=5, num_classes=10)
    assert torch.equal(z[6:], tail) and torch.equal(labels[6:], tail_labels)
    assert not torch.equal(z, indexed("normal", range(10), seed=4, z_dim=5)[0])
    assert len({tuple(row.tolist()) for row in z}) == 10


def test_indexed_latents_have_the_distribution():
    z, labels = indexed("normal", range(4000), seed=0, z_dim=8, num_classes=4)
    assert z.mean().item() == pytest.approx(0, abs=0.02) and z.std().item() == pytest.approx(1, abs=0.02)
    assert labels.bincount().tolist() == pytest.approx([1000] * 4, rel=0.1)


def test_global_generator_is_left_alone():
    state = torch.get_rng_state()
    indexed("normal", range(5), 0, 4)
    assert torch.equal(state, torch.get_rng_state())


def test_truncation_is_a_truncated_normal():
    z, _ = indexed("normal", range(3000), seed=0, z_dim=8, truncation=0.7)
    reference = torch.randn(400_000)
    reference = reference[reference.abs() <= 0.7]
    assert z.abs().max() <= 0.7
    quantiles = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    expected = reference.quantile(quantiles).tolist()
    assert z.flatten().quantile(quantiles).tolist() == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("distribution, truncation", [("uniform", 0.5), ("normal", 0.0), ("normal", math.nan),
                                                      ("normal", math.inf)])
def test_impossible_truncation(distribution, truncation):
    with pytest.raises(ConfigError, match=f"truncation={truncation}"):
        indexed(distribution, range(2), 0, 4, truncation=truncation)


def test_unknown_distribution():
    with pytest.raises(ConfigError, match="task.latent=cauchy: must be one of normal, uniform, spherical"):
        latent("cauchy", (1, 2))


def test_the_default_dtype_changes_no_latent():
    expected = [indexed(name, range(4), 0, 5)[0] for name in ("normal", "uniform", "spherical")]
    torch.set_default_dtype(torch.float64)
    try:
        double = [indexed(name, range(4), 0, 5)[0] for name in ("normal", "uniform", "spherical")]
        assert latent("normal", (1, 2)).dtype == torch.float64
        assert latent("normal", (1, 2), dtype=torch.float32).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(expected, double, strict=True))  # which compares dtypes too


@pytest.mark.parametrize("seed", [-1, 2**63, 10**30])
def test_seeds_no_generator_takes(seed):
    for use in (check_seed, mix, lambda seed: indexed("normal", range(2), seed, 4)):
        with pytest.raises(ConfigError, match=rf"^seed={seed}: must be from 0 to 2\^63 - 1$"):
            use(seed)


def test_the_extreme_seeds():
    check_seed(0)
    check_seed(2**63 - 1)
    seeds = [mix(seed, number) for seed in (0, 1, 2**63 - 1) for number in (0, 1)]
    assert len(set(seeds)) == 6 and all(0 <= seed < 2**63 for seed in seeds)
    torch.Generator().manual_seed(2**63 - 1)  # the largest that mix may give
