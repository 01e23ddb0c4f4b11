"""Resampling against zero-insertion and loops, and as a pair of adjoint maps."""

import pytest
import torch

from gan_lightning.networks.upfirdn import Blur, Downsample, Upsample

WEIGHTS = [1 / 8, 3 / 8, 3 / 8, 1 / 8]


def filtered(image, pad_before, pad_after):
    """The 4 x 4 filter at each place of a zero-padded image (H, W), by loops."""
    h, w = image.shape
    padded = torch.zeros(h + pad_before + pad_after, w + pad_before + pad_after, dtype=image.dtype)
    padded[pad_before:pad_before + h, pad_before:pad_before + w] = image
    out = torch.zeros(len(padded) - 3, padded.shape[1] - 3, dtype=image.dtype)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = sum(WEIGHTS[a] * WEIGHTS[b] * padded[i + a, j + b] for a in range(4) for b in range(4))
    return out


def maps(n=2, c=3, h=4, w=6):
    return torch.randn(n, c, h, w, dtype=torch.float64)


def each(function, x):
    return torch.stack([torch.stack([function(image) for image in sample]) for sample in x])


def test_upsample_is_zeros_between_pixels_then_the_filter():
    x = maps()

    def brute_force(image):
        spread = torch.zeros(2 * image.shape[0], 2 * image.shape[1], dtype=image.dtype)
        spread[::2, ::2] = image
        return filtered(4 * spread, 2, 1)

    torch.testing.assert_close(Upsample().double()(x), each(brute_force, x))


def test_downsample_is_the_filter_then_every_other_pixel():
    x = maps()
    torch.testing.assert_close(Downsample().double()(x), each(lambda image: filtered(image, 1, 1)[::2, ::2], x))


@pytest.mark.parametrize("padding, total", [(1, 4.0), (2, 1.0)])
def test_blur_is_the_filter(padding, total):
    x = maps()
    expected = total * each(lambda image: filtered(image, padding, padding), x)
    torch.testing.assert_close(Blur(padding, total).double()(x), expected)


def test_constants_stay_away_from_borders():
    flat = torch.full((1, 2, 8, 8), 0.7)
    up, down = Upsample()(flat), Downsample()(flat)
    torch.testing.assert_close(up[..., 1:-1, 1:-1], torch.full((1, 2, 14, 14), 0.7))
    torch.testing.assert_close(down[..., 1:-1, 1:-1], torch.full((1, 2, 2, 2), 0.7))
    assert (up[..., 0, :] < 0.69).all() and (down[..., 0, :] < 0.69).all()    # zeros lie beyond


def test_upsampling_is_four_times_the_adjoint_of_downsampling():
    small, large = maps(), maps(h=8, w=12)
    ours = (Upsample().double()(small) * large).sum()
    theirs = 4 * (small * Downsample().double()(large)).sum()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layer", [Upsample(), Downsample(), Blur(1)])
def test_twice_differentiable_in_both_layouts_and_dtypes(layer):
    x = maps(1, 2, 4, 4).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: layer.double()(x).square(), x)
    a, b = layer.float()(x.float()), layer(x.float().contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(a, b)
    assert layer(x.bfloat16()).dtype == torch.bfloat16
    assert not list(layer.parameters()) and not layer.state_dict()
