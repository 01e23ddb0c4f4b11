import pytest

from gan_lightning.errors import ConfigError
from gan_lightning.schedules import Constant, Cosine, Linear, at


@pytest.mark.parametrize("schedule, expected", [
    (Constant(3.0), [3.0] * 5),
    (Linear(1.0, 0.0, kimg=4.0), [1.0, 0.75, 0.5, 0.0, 0.0]),
    (Linear(2.0, 4.0, kimg=2.0, from_kimg=1.0), [2.0, 2.0, 4.0, 4.0, 4.0]),
    (Cosine(1.0, 0.0, kimg=4.0), [1.0, (1 + 0.5**0.5) / 2, 0.5, 0.0, 0.0]),
])
def test_values(schedule, expected):
    assert [schedule(kimg * 1000) for kimg in (0, 1, 2, 4, 9)] == pytest.approx(expected)


def test_at():
    assert at(0.5, 10) == 0.5
    assert at(Linear(1.0, 0.0, kimg=1.0), 250) == 0.75


def test_an_end_before_the_start():
    with pytest.raises(ConfigError, match="kimg=1.0 is not above from_kimg=2.0"):
        Linear(kimg=1.0, from_kimg=2.0)
