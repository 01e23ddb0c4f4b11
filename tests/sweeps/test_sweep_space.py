"""Lists and ranges: what Hydra's words mean to a grid and to Optuna."""

import random

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from gan_lightning.errors import ConfigError
from gan_lightning.sweeps.command import literal, quoted
from gan_lightning.sweeps.space import Choices, Range, read
from gan_lightning.sweeps.study import distribution, written


@pytest.mark.parametrize("line, parameter, of_optuna", [
    ("loss=hinge,wgan_gp", Choices(("hinge", "wgan_gp")), CategoricalDistribution(("hinge", "wgan_gp"))),
    ("a=[0.0,0.9],[0.5,0.9]", Choices(("[0.0,0.9]", "[0.5,0.9]")), CategoricalDistribution(("[0.0,0.9]", "[0.5,0.9]"))),
    ("a=true,null,2", Choices(("True", "null", "2")), CategoricalDistribution(("True", "null", "2"))),
    ("a=interval(0.5,1)", Range(0.5, 1), FloatDistribution(0.5, 1)),
    ("a=int(interval(1,8))", Range(1, 8), IntDistribution(1, 8)),
    ("a=tag(log,int(interval(1,8)))", Range(1, 8, True), IntDistribution(1, 8, log=True)),
    ("a=tag(log,interval(1e-5,1e-2))", Range(1e-5, 1e-2, True), FloatDistribution(1e-5, 1e-2, log=True)),
    ("a=range(1,10,3)", Range(1, 7, False, 3, ("1", "4", "7")), IntDistribution(1, 7, step=3)),
    ("a=range(0.5,2,0.5)", Range(0.5, 1.5, False, 0.5, ("0.5", "1.0", "1.5")), FloatDistribution(0.5, 1.5, step=0.5)),
])
def test_meaning(line, parameter, of_optuna):
    space = read({}, [line, "seed=3"])
    key = line.partition("=")[0]
    assert space.swept == {key: parameter} and space.fixed == ["seed=3"]
    assert distribution(key, space.swept[key]) == of_optuna


def test_the_command_line_wins_over_yaml():
    """A plain value takes a setting out of the search, whatever prefix adds it."""
    params = {"loss": "hinge,wgan", "+optim.g.eps": "interval(0.1,0.2)", "seed": "1,2"}
    space = read(params, ["loss=lsgan", "optim.g.eps=1e-8", "seed=5,6", "~callbacks.samples", "data@data.base=digits"])
    assert space.fixed == ["loss=lsgan", "optim.g.eps=1e-8", "~callbacks.samples", "data@data.base=digits"]
    assert space.swept == {"seed": Choices(("5", "6"))}


def test_shuffled_lists_keep_their_order_when_a_sweep_goes_on():
    lists = []
    for state in (1, 2):
        random.seed(state)
        expected = random.Random(state).random()
        lists.append(read({}, ["seed=shuffle(range(0,50))"]).swept["seed"].values)
        assert random.random() == expected  # whose state is left alone
    assert lists[0] == lists[1] != tuple(map(str, range(50)))


@pytest.mark.parametrize("line, message", [
    ("a=interval(2,1)", "a=interval.2,1.: the first number must be below"),
    ("a=tag(log,interval(0,1))", "a logarithmic range begins above 0"),
])
def test_ranges_that_cannot_be(line, message):
    with pytest.raises(ConfigError, match=message):
        read({}, [line])


def parse(value: str):
    return OverridesParser.create().parse_override(f"key={value}").value()


@pytest.mark.parametrize("text", ["plain", "/a/b-c.log", "/home/josé/日/x.log", "journal:////tmp/a b/c.log", "it's", 'say "a"', "a\\", "1e5", "null",
                                  "True", "a,b", "x=[1]", "", "postgresql://me:p$,@host/db?a=b&c=d", "nan", "1"])
def test_text_comes_back_from_hydra_as_it_was(text):
    assert parse(quoted(text)) == text


def test_nested_values_come_back():
    value = {"a": [1, 2.5, None, True, "it's, [so]"], "b": {"c": 1e-07, "_target_": "optuna.pruners.MedianPruner"}}
    assert parse(literal(value)) == value


@pytest.mark.parametrize("number", [1e-05, 0.00010160177584759024, 31.0, 7])
def test_numbers_come_back_exactly(number):
    assert parse(written(number)) == number
