import pytest
import torch
from torch import nn

from gan_lightning.tasks.base import Clock, Step
from gan_lightning.terms.drift import Drift
from gan_lightning.terms.feature_matching import FeatureMatching
from gan_lightning.terms.orthogonal import Orthogonal


def made_step(**known):
    x = torch.zeros(2, 1)
    fields = {"critic": None, "network": None, "real": x, "fake": x, "real_logits": None, "fake_logits": x,
              "cond": None, "clock": Clock(0, 0), "batch": {}}
    return Step(**(fields | known))


def test_feature_matching_compares_means():
    real, fake = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 5.0]], requires_grad=True)
    value = FeatureMatching()(made_step(real_features=real, fake_features=fake))
    assert value.item() == pytest.approx((2.0**2 + 3.0**2) / 2)
    value.backward()
    assert fake.grad.tolist() == [[-1.0, 1.5], [-1.0, 1.5]]  # 2 (mean_fake - mean_real) / (N F)


def test_feature_matching_does_not_grow_with_the_number_of_features():
    """The same differences in 50 times as many features, or a D twice as wide would weigh twice as much."""
    real, fake = torch.randn(6, 8), torch.randn(6, 8)
    few, many = (FeatureMatching()(made_step(real_features=real.repeat(1, n), fake_features=fake.repeat(1, n)))
                 for n in (1, 50))
    assert many.item() == pytest.approx(few.item(), rel=1e-5)


def test_drift():
    assert Drift()(made_step(real_logits=torch.tensor([[1.0], [-3.0]]))).item() == pytest.approx(5.0)


def test_orthogonal_distance():
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 1.0], [0.0, 2.0]]))  # W W' = [[2, 2], [2, 4]]
    assert Orthogonal()(made_step(network=layer)).item() == pytest.approx(2 * 2.0**2)
    assert Orthogonal(diagonal=True)(made_step(network=layer)).item() == pytest.approx(8.0 + 1.0 + 9.0)


@pytest.mark.parametrize("kind, shape", [(nn.Linear, (6, 4)), (nn.Conv2d, (3, 4, 3)), (nn.ConvTranspose2d, (8, 2, 3))])
def test_orthogonal_weights_cost_nothing_and_descent_leads_there(kind, shape):
    layer = kind(*shape)  # made here, after the seed: what pytest collects is made before it
    network = nn.Sequential(layer, nn.BatchNorm2d(4), nn.Embedding(3, 3))
    optimizer = torch.optim.SGD(layer.parameters(), 0.02)
    term = Orthogonal(diagonal=True)
    before = term(made_step(network=network)).item()
    for _ in range(300):
        optimizer.zero_grad()
        term(made_step(network=network)).backward()
        optimizer.step()
    assert before > 0.01 and term(made_step(network=network)).item() < 1e-3
    weight = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
    gram = weight.flatten(1) @ weight.flatten(1).T
    assert torch.allclose(gram, torch.eye(len(gram)), atol=0.03)
