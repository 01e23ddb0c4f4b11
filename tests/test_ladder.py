"""Every damage done to real digits is seen by a default score, and reals are not taken for damaged."""

import importlib.util
from pathlib import Path

import pytest

LADDER = Path(__file__).parent.parent / "benchmarks" / "ladder.py"


@pytest.mark.slow
def test_every_damage_is_seen():
    spec = importlib.util.spec_from_file_location("ladder", LADDER)
    ladder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ladder)
    values, directions, _ = ladder.measure("classifier", splits=4)
    found = ladder.deviations(values, directions)
    assert all(z == 0 for z in found["real"].values())
    seen = {damage: {name for name, z in scores.items() if z > ladder.SEEN} for damage, scores in found.items()}
    for damage in ladder.DAMAGES:
        assert damage == "real" or seen[damage], damage
    assert "memorised_classifier" in seen["50 training\nimages"]
    assert not {"memorised_classifier", "precision_classifier"} & seen["no 5 to 9"]
    assert {"recall_classifier", "coverage_classifier"} <= seen["only 3"]
