"""Names, comparisons, tables."""

import json

import pytest

from gan_lightning.errors import ConfigError
from gan_lightning.metrics.result import Result, Scored, shown_name
from gan_lightning.metrics.scores.base import Score
from gan_lightning.metrics.table import table

NAN = float("nan")


class Names:
    def __init__(self, name, original=False):
        self.name, self.original = name, original


@pytest.mark.parametrize("value, original, other", [
    ("fd", "fid", "fd_classifier"),
    ("cs", "is", "cs_classifier"),
    ("cs_std", "is_std", "cs_std_classifier"),
    ("kd", "kid", "kd_classifier"),
    ("fd_infinity", "fid_infinity", "fd_infinity_classifier"),
    ("intra_fd", "intra_fid", "intra_fd_classifier"),
    ("precision", "precision_inception", "precision_classifier"),
    ("kdiag", "kdiag_inception", "kdiag_classifier"),
])
def test_fid_is_and_kid_belong_to_one_extractor_alone(value, original, other):
    assert shown_name(value, Score(), Names("inception", original=True)) == original
    assert shown_name(value, Score(), Names("classifier")) == other
    assert shown_name(value, Score(), Names("inception_clean")).startswith(value)


def test_scores_that_look_at_no_features_keep_their_names():
    class Modes(Score):
        of_features = False

    assert shown_name("modes", Modes(), Names("classifier")) == "modes"
    assert shown_name("fd", Score(), Names("")) == "fd"


def scored(value, higher=False, **fingerprint):
    made_of = {"data": "ab" * 32, "num_real": 1797, "num_fake": 5000, "split": "train", "seed": 0,
               "extractor": {"name": "classifier"}, "generator": {"averaged": True}}
    return Scored(value, 0.4, higher, made_of | fingerprint)


@pytest.mark.parametrize("now, before, better", [
    (scored(1.0), None, True), (scored(1.0), scored(2.0), True), (scored(2.0), scored(1.0), False),
    (scored(1.0), scored(1.0), False), (scored(2.0, True), scored(1.0, True), True),
    (scored(1.0, True), scored(2.0, True), False), (scored(NAN), None, False), (scored(NAN), scored(1.0), False),
    (scored(5.0), scored(NAN), True),
])
def test_which_is_better(now, before, better):
    assert now.better_than(before) is better


def test_a_score_survives_json():
    one = scored(1.25, seed=3)
    content = json.loads(json.dumps(one.to_dict()))
    assert Scored.from_dict(content) == one and content["id"] == one.id and len(one.id) == 8


def test_the_principal_score_comes_first():
    result = Result({"kd": scored(1.0), "fd": scored(2.0)}, main="fd")
    assert list(result.values()) == ["fd", "kd"]


def test_a_table_tells_values_floors_and_what_they_rest_on():
    text = table({"run": Result({"fd_classifier": scored(3.21678), "cs_classifier": scored(9.5, True)}, "fd_classifier")})
    lines = text.splitlines()
    assert lines[1].split() == ["value", "reals", "better", "fingerprint"]
    assert lines[2].split() == ["fd_classifier", "3.217", "0.4", "lower", scored(0.0).id]
    assert lines[3].split()[:4] == ["cs_classifier", "9.5", "0.4", "higher"]
    assert "5,000 samples (seed 0) against 1,797 reals of the train split (abababab)" in text
    assert "NOT FID" in text


def test_the_original_inception_needs_no_warning():
    assert "NOT FID" not in table({"run": Result({"fid": scored(3.2)}, "fid")})


def test_two_results_side_by_side():
    a, b = (Result({"fd": scored(value)}, "fd") for value in (1.0, 2.0))
    lines = table({"runs/a": a, "runs/b": b}).splitlines()
    assert lines[1].split() == ["runs/a", "runs/b", "reals", "better", "fingerprint"]
    assert lines[2].split()[:4] == ["fd", "1", "2", "0.4"]


def test_the_data_doctor_shows_reals_alone():
    result = Result({"fd": scored(0.4, generator={"reals": True})}, "fd")
    lines = table({"reals": result}).splitlines()
    assert lines[1].split() == ["reals", "better", "fingerprint"] and lines[2].split()[:3] == ["fd", "0.4", "lower"]
    assert "5,000 samples against" in lines[4]


def test_different_fingerprints_are_refused_side_by_side():
    a, b = Result({"fd": scored(1.0)}, "fd"), Result({"fd": scored(2.0, num_fake=4000)}, "fd")
    with pytest.raises(ConfigError, match="fd of runs/a and of runs/b cannot be compared: num_fake is 5000 in one, 4000"):
        table({"runs/a": a, "runs/b": b})
