"""LeCam against running means kept by hand."""

import pytest
import torch

from gan_lightning.errors import ConfigError
from gan_lightning.tasks.base import Clock, Step
from gan_lightning.terms.lecam import LeCam


def made_step(real, fake, nimg=0):
    x = torch.zeros(len(real), 1)
    return Step(None, None, x, x, real, fake, None, Clock(0, nimg), {})


def scores(seed):
    torch.manual_seed(seed)
    return torch.randn(5, 1) + 2, torch.randn(5, 1) - 1


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.6, 0.99])
def test_distance_to_the_running_mean_of_the_others(decay, one_sided):
    term, a_real, a_fake, beyond = LeCam(decay=decay, one_sided=one_sided).double(), 0.0, 0.0, 0
    for n in range(1, 7):
        real, fake = (x.double() for x in scores(n))
        real = real - 2  # so near the fakes that some are beyond their mean
        keep = min(decay, 1 - 1 / n)  # a plain mean as long as that forgets faster
        a_real, a_fake = keep * a_real + (1 - keep) * real.mean(), keep * a_fake + (1 - keep) * fake.mean()
        above, below = [x - a_fake for x in real], [a_real - x for x in fake]
        beyond += sum(x < 0 for x in above + below)
        expected = sum(x.item()**2 for x in above + below if x > 0 or not one_sided) / 5
        assert term(made_step(real, fake)).item() == pytest.approx(expected, rel=1e-12)
    assert beyond  # or both forms are one


def test_one_sided_leaves_scores_beyond_the_others_alone():
    """A real below the fakes' mean, and a fake above the reals'."""
    real, fake = torch.tensor([[4.0], [-2.0]], requires_grad=True), torch.tensor([[-1.0], [3.0]], requires_grad=True)
    LeCam(decay=0.0, one_sided=True)(made_step(real, fake)).backward()  # means 1 and 1
    assert real.grad.tolist() == [[3.0], [0.0]] and fake.grad.tolist() == [[-2.0], [0.0]]


def test_no_gradient_through_the_means():
    real, fake = (x.requires_grad_() for x in scores(0))
    term = LeCam(decay=0.0)
    term(made_step(real, fake)).backward()
    assert torch.allclose(real.grad, 2 * (real - fake.mean()).detach() / 5)
    assert torch.allclose(fake.grad, 2 * (fake - real.mean()).detach() / 5)


def test_two_batches_of_one_step_before_the_backward_pass():
    """The second look changes the means in place; the first one's gradient must not notice."""
    term, (real, fake) = LeCam(decay=0.5), (x.requires_grad_() for x in scores(0))
    first = term(made_step(real, fake))
    expected = 2 * (real - fake.mean()).detach() / 5
    (first + 0 * term(made_step(-real, -fake))).backward()
    assert torch.allclose(real.grad, expected)


def test_starts_late_with_means_that_are_there():
    term = LeCam(weight=2.0, from_kimg=1.0)
    real, fake = scores(0)
    assert [term.strength(made_step(real, fake, nimg)) for nimg in (0, 999, 1000)] == [0.0, 0.0, 2.0]
    term(made_step(real, fake, 0))
    assert torch.allclose(term.means, torch.stack([real.mean(), fake.mean()]))


def test_means_travel_in_checkpoints():
    term, other = LeCam(), LeCam()
    for n in range(3):
        term(made_step(*scores(n)))
    other.load_state_dict(term.state_dict())
    assert other(made_step(*scores(9))).item() == term(made_step(*scores(9))).item()


def test_half_precision_logits_count_in_float32():
    real, fake = (x.bfloat16() for x in scores(0))
    value = LeCam()(made_step(real, fake))
    assert value.dtype == torch.float32
    assert value.item() == LeCam()(made_step(real.float(), fake.float())).item()


def test_lecam_decay_is_a_share():
    with pytest.raises(ConfigError, match="loss.d_terms.lecam.decay=1.0: must be in"):
        LeCam(decay=1.0)
