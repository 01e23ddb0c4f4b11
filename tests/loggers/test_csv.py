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
    resumed = CSV(str(path))  # from a checkpoint at 2 kimg
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
    CSV(str(path)).log_metrics({"kimg": 2.0, "d/adv": 2.0, "g/adv": 3.0}, 0)
    assert [row["g/adv"] for row in read(path)] == ["1.0", "3.0"]
