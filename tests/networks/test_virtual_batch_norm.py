"""Virtual batch normalisation against an ordinary one on the reference batch with one sample added."""

import pytest
import torch
import torch.nn.functional as F

from gan_lightning.errors import ConfigError
from gan_lightning.networks.dcgan import Generator
from gan_lightning.networks.virtual_batch_norm import VirtualBatchNorm2d

REFERENCES = 5


def test_statistics_of_the_references_and_the_sample_itself():
    layer = VirtualBatchNorm2d(3, REFERENCES).double()
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = 100 + torch.randn(REFERENCES + 4, 3, 2, 6, dtype=torch.float64)
    found, references = layer(x), x[:REFERENCES]
    expected = F.batch_norm(references, None, None, layer.weight, layer.bias, training=True)
    assert torch.allclose(found[:REFERENCES], expected, atol=1e-10)
    for sample, one in zip(found[REFERENCES:], x[REFERENCES:], strict=True):
        joined = F.batch_norm(torch.cat([references, one[None]]), None, None, layer.weight, layer.bias, training=True)
        assert torch.allclose(sample, joined[-1], atol=1e-10)


def test_far_from_zero_in_single_precision():
    x = 1000 + torch.randn(9, 3, 4, 4)
    layer = VirtualBatchNorm2d(3, REFERENCES)
    assert torch.allclose(layer(x), layer.double()(x.double()).float(), atol=1e-3)


def virtual(num_classes=0, **settings):
    return Generator(8, 1, num_classes, z_dim=6, width=4, norm="virtual", references=REFERENCES, **settings)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_a_sample_does_not_depend_on_the_others(num_classes):
    g, z = virtual(num_classes).double(), torch.randn(7, 6, dtype=torch.float64)
    cond = torch.arange(7) % num_classes if num_classes else None
    together = g(z, cond)
    assert together.shape == (7, 1, 8, 8)
    for i in range(7):
        alone = g(z[i:i + 1], None if cond is None else cond[i:i + 1])
        assert torch.allclose(alone[0], together[i], atol=1e-12)
    assert torch.equal(g.eval()(z, cond), together)


def test_references_are_part_of_the_checkpoint():
    first, second, z = virtual(), virtual(), torch.randn(3, 6)
    second.load_state_dict({**second.state_dict(), **dict(first.named_parameters())})
    assert not torch.allclose(first(z), second(z), atol=1e-4)  # the same weights, other references
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(z), second(z))


def test_one_reference_is_refused():
    with pytest.raises(ConfigError, match="model.generator.references=1: .*at least 2"):
        Generator(8, 1, norm="virtual", references=1)
