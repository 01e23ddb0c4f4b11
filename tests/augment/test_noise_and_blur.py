"""Instance noise and a fading blur."""

import pytest
import torch
import torch.nn.functional as F

from gan_lightning.augment.blur_fade import BlurFade
from gan_lightning.augment.instance_noise import InstanceNoise
from gan_lightning.errors import ConfigError
from gan_lightning.schedules import Linear


def test_noise_has_the_std_that_the_clock_says():
    x = torch.full((50, 1, 16, 16), 0.3)
    noise = InstanceNoise(Linear(0.4, 0.0, kimg=10))
    for nimg, std in ((0, 0.4), (5000, 0.2), (9000, 0.04)):
        noise.set_nimg(nimg)
        assert (noise(x) - x).std().item() == pytest.approx(std, rel=0.03)
        assert (noise(x) - x).mean().item() == pytest.approx(0.0, abs=0.02)
    noise.set_nimg(10_000)
    assert noise(x) is x
    assert InstanceNoise(0.0)(x) is x and (InstanceNoise(0.5)(x) - x).std().item() == pytest.approx(0.5, rel=0.03)
    assert InstanceNoise(0.5)(torch.zeros(4, 2)).shape == (4, 2)  # points, too


def test_blur_is_a_gaussian_convolution_with_mirrored_borders():
    x = torch.randn(2, 3, 12, 9, dtype=torch.float64)
    blur = BlurFade(sigma=2.0, kimg=10)
    blur.set_nimg(2500)  # sigma 1.5, reach 4
    offset = torch.arange(-4, 5, dtype=torch.float64)
    taps = (-offset.square() / (2 * 1.5**2)).exp()
    kernel = (taps[:, None] * taps / taps.sum() ** 2).expand(3, 1, 9, 9)
    expected = F.conv2d(F.pad(x, [4] * 4, mode="reflect"), kernel, groups=3)
    assert torch.allclose(blur(x), expected, atol=1e-12)


def test_blur_fades_to_nothing():
    x = torch.randn(2, 1, 16, 16)
    blur, left = BlurFade(sigma=2.0, kimg=10), []
    for nimg in (0, 3000, 6000, 8000, 10_000, 20_000):
        blur.set_nimg(nimg)
        left.append(blur(x).std().item())
    assert left[:5] == sorted(left[:5]) and left[0] < left[1] < left[3]
    assert blur(x) is x


@pytest.mark.parametrize("size", [1, 4, 8])
def test_blur_wider_than_the_image(size):
    x = torch.full((1, 1, size, size), 0.4)
    assert torch.allclose(BlurFade(sigma=10.0)(x), x)


@pytest.mark.parametrize("make, message", [
    (lambda: InstanceNoise(-0.1), "augment.std=-0.1: must be at least 0"),
    (lambda: BlurFade(sigma=-1.0), "augment.sigma=-1.0: must be at least 0"),
    (lambda: BlurFade(kimg=0.0), "augment.kimg=0.0: must be above 0"),
])
def test_refused_strengths(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
