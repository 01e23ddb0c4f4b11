"""Two losses that must find every mode of a mixture, in a bounded number of steps."""

import pytest
import torch

from gan_lightning.sampling import GAN


def covered(module) -> tuple[int, float]:
    """Modes that 1 % of the samples are near, within three standard deviations, and the share near any."""
    data = module.trainer.datamodule.data
    samples = GAN(module.task, module.sampler, module.config).sample(2500, seed=0)
    distance, mode = torch.cdist(samples, torch.as_tensor(data.means).float()).min(1)
    near = distance < 3 * data.std
    per_mode = mode[near].bincount(minlength=len(data.means))
    return (per_mode >= len(samples) // 100).sum().item(), near.float().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [
    ["data=gaussians_ring", "model=toy2d", "loss=rpgan", "max_kimg=500"],
    ["experiment=ring_wgan_gp", "max_kimg=1500"],
])
def test_all_eight_modes(train, settings):
    module = train(*settings, "data.batch_size=256")
    modes, share = covered(module)
    assert modes == 8 and share > 0.25


def test_an_untrained_generator_covers_none(train):
    module = train("data=gaussians_ring", "model=toy2d", "data.batch_size=256", "max_kimg=0.256")
    modes, share = covered(module)
    assert modes == 0 and share < 0.05
