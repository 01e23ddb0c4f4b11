import pytest
import torch

from gan_lightning.errors import TrainingDiverged
from gan_lightning.journal import Journal


def filled():
    journal = Journal()
    for i in range(4):
        journal.add("d", i // 2, {"adv": torch.tensor(float(i))} | ({"r1": torch.tensor(8.0)} if i == 0 else {}))
    journal.add("g", 0, {"adv": torch.tensor(5.0)})
    return journal


def test_means_since_the_last_fold():
    journal = filled()
    # A lazy term is averaged over the steps that computed it; the loss over all steps.
    assert journal.fold() == {"d/adv": 1.5, "d/r1": 8.0, "g/adv": 5.0, "d/loss": (6 + 8) / 4, "g/loss": 5.0}
    assert journal.fold() == {}


def test_reading_in_between_changes_nothing():
    journal = filled()
    journal.check()
    journal.add("g", 1, {"adv": torch.tensor(7.0)})
    assert journal.fold()["g/adv"] == 6.0


def test_all_values_are_averaged_over_devices():
    assert filled().fold(lambda values: values * 2)["d/adv"] == 3.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_not_finite(bad):
    journal = filled()
    journal.add("g", 17, {"adv": torch.tensor(1.0), "feature_matching": torch.tensor(bad)})
    journal.add("d", 18, {"adv": torch.tensor(bad)})
    with pytest.raises(TrainingDiverged, match="g/feature_matching became -?(nan|inf) in generator step 17"):
        journal.fold()


def test_survives_a_checkpoint():
    journal, restored = filled(), Journal()
    journal.check()
    journal.rows.append({"kimg": 1.0})
    restored.load_state_dict(journal.state_dict())
    assert restored.rows == [{"kimg": 1.0}]
    assert restored.fold() == journal.fold()


def test_a_checkpoint_forgets_losses_that_were_not_read_and_their_steps():
    journal, restored = filled(), Journal()
    journal.check()
    journal.add("d", 2, {"adv": torch.tensor(100.0)})
    journal.add("g", 1, {"adv": torch.tensor(100.0)})
    restored.load_state_dict(journal.state_dict())
    restored.add("d", 2, {"adv": torch.tensor(6.0)})
    assert restored.fold() == {"d/adv": 12 / 5, "d/r1": 8.0, "g/adv": 5.0, "d/loss": (12 + 8) / 5, "g/loss": 5.0}
