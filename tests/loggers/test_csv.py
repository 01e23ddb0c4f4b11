import csv

from gan_lightning.loggers.csv import CSV


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_rows_and_new_columns(tmp_path):
    path = tmp_path / "metrics.csv"
    logger = CSV(str(path))
    logger.log_metrics({"kimg": 1.0, "step": 10, "d/adv": 0.5}, 1000)
    logger.log_metrics({"kimg": 2.0, "step": 20, "metrics/fid": 7.25}, 2000)
    logger.log_metrics({"kimg": 3.0, "step": 30, "d/adv": 0.1 + 0.2}, 3000)
    rows = read(path)
    assert list(rows[0]) == ["kimg", "step", "d/adv", "metrics/fid"]
    assert [row["d/adv"] for row in rows] == ["0.5", "", "0.30000000000000004"]  # every digit is kept
    assert [row["metrics/fid"] for row in rows] == ["", "7.25", ""]


def test_a_resumed_run_rewrites_what_came_after_its_checkpoint(tmp_path):
    path = tmp_path / "metrics.csv"
    first = CSV(str(path))
    for kimg in (1.0, 2.0, 3.0, 4.0):
        first.log_metrics({"kimg": kimg, "d/adv": kimg * 10}, 0)
    resumed = CSV(str(path))
    resumed.go_on_from([{"kimg": kimg, "d/adv": kimg * 10} for kimg in (1.0, 2.0)], 2000)
    for kimg in (3.0, 4.0, 5.0):
        resumed.log_metrics({"kimg": kimg, "d/adv": kimg * 10}, 0)
    whole = CSV(str(tmp_path / "whole.csv"))
    for kimg in (1.0, 2.0, 3.0, 4.0, 5.0):
        whole.log_metrics({"kimg": kimg, "d/adv": kimg * 10}, 0)
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_row_cut_short_by_a_kill_is_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    logger = CSV(str(path))
    logger.log_metrics({"kimg": 1.0, "d/adv": 1.0, "g/adv": 1.0}, 0)
    with open(path, "a") as file:
        file.write("2.0,0.")
    resumed = CSV(str(path))
    resumed.go_on_from([{"kimg": 1.0, "d/adv": 1.0, "g/adv": 1.0}], 1000)
    resumed.log_metrics({"kimg": 2.0, "d/adv": 2.0, "g/adv": 3.0}, 0)
    assert [row["g/adv"] for row in read(path)] == ["1.0", "3.0"]


def test_a_run_that_starts_afresh_takes_nothing_over(tmp_path):
    path = tmp_path / "metrics.csv"
    CSV(str(path)).log_metrics({"kimg": 1.0, "old": 1.0}, 0)
    logger = CSV(str(path))
    logger.go_on_from([], 0)
    assert path.read_text() == ""
    logger.log_metrics({"kimg": 0.5, "new": 2.0}, 0)
    assert path.read_text().split() == ["kimg,new", "0.5,2.0"]


def test_a_resumed_run_elsewhere_has_all_rows(tmp_path):
    rows = [{"kimg": 1.0, "step": 1, "d/adv": 0.1}, {"kimg": 1.0, "step": 1, "metrics/fid": 7.0},
            {"kimg": 2.0, "step": 2, "d/adv": 0.3}]
    whole, resumed = CSV(str(tmp_path / "whole.csv")), CSV(str(tmp_path / "new" / "metrics.csv"))
    for row in rows:
        whole.log_metrics(row)
    resumed.go_on_from(rows[:2], 1000)
    resumed.log_metrics(rows[2])
    assert resumed.path.read_bytes() == whole.path.read_bytes()


def test_rows_that_could_not_be_written_are_written_later(tmp_path, caplog):
    """The folder is a file for a while: an error of the operating system. Two failures are told once."""
    blocked = tmp_path / "run"
    logger, whole = CSV(str(blocked / "metrics.csv")), CSV(str(tmp_path / "whole.csv"))
    blocked.write_text("")
    for kimg in (1.0, 2.0, 3.0, 4.0):
        if kimg == 3.0:
            blocked.unlink()
        for each in (logger, whole):
            each.log_metrics({"kimg": kimg, "d/adv": kimg / 3}, 0)
    assert logger.path.read_bytes() == whole.path.read_bytes()
    assert [record.getMessage() for record in caplog.records] == [
        "metrics.csv cannot be written (File exists); the training goes on"]


def test_the_end_of_a_run_is_the_last_attempt(tmp_path):
    blocked = tmp_path / "run"
    blocked.write_text("")
    logger = CSV(str(blocked / "metrics.csv"))
    logger.log_metrics({"kimg": 1.0}, 0)
    blocked.unlink()
    logger.finalize("success")
    assert logger.path.read_text().split() == ["kimg", "1.0"]
