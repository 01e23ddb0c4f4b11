"""TensorBoard after a resume."""

import pytest

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


@pytest.mark.slow
def test_what_came_after_the_checkpoint_is_not_shown_twice(tmp_path):
    from gan_lightning.loggers.tensorboard import TensorBoard

    first = TensorBoard(str(tmp_path))
    first.go_on_from([], 0)
    for nimg in (1000, 2000, 3000, 4000):
        first.log_metrics({"d/adv": 1.0}, nimg)
    first.finalize("success")
    resumed = TensorBoard(str(tmp_path))
    resumed.go_on_from([{"kimg": 1.0}, {"kimg": 2.0}], 2000)
    for nimg in (3000, 5000):
        resumed.log_metrics({"d/adv": 2.0}, nimg)
    resumed.finalize("success")
    events = event_accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("d/adv")] == [(1000, 1), (2000, 1), (3000, 2), (5000, 2)]
