"""The command line on a small tree of YAML files, shaped like conf/."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from hydra.utils import instantiate

from gan_lightning import cli
from gan_lightning.errors import DataError

REPOSITORY = Path(cli.__file__).parents[1]
TREE = Path(__file__).parent / "config" / "tree"  # conf/ and the classes it names


class Outcome:
    """Exit code, the lines of stderr, and the configs that the task saw."""

    def __init__(self):
        self.code, self.lines, self.configs = 0, [], []


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Runs a command line in this process and in an empty folder."""
    monkeypatch.syspath_prepend(str(TREE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(cli.FULL_ERROR, raising=False)

    def call(*arguments: str, task=None) -> Outcome:
        outcome = Outcome()

        def train(cfg):
            outcome.configs.append(cfg)
            return task(cfg) if task else None

        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        try:
            cli.run(train, "config", TREE / "conf")
        except SystemExit as stop:
            outcome.code = stop.code or 0
        outcome.lines = capfd.readouterr().err.splitlines()
        return outcome

    return call


WEIGHT = "no setting 'loss.gp_weigth' - did you mean 'loss.d_terms.gradient_penalty.weight'?"
BAD = {
    "loss=wgan_gp loss.gp_weigth=1": WEIGHT,
    "loss=wgan_gp +loss.gp_weigth=1": WEIGHT,
    "loss.n_critc=1": "no setting 'loss.n_critc' - did you mean 'loss.n_critic'?",
    "+loss.n_critc=1": "no setting 'loss.n_critc' - did you mean 'loss.n_critic'?",
    "trainer.device=2": "no setting 'trainer.device' - did you mean 'trainer.devices'?",
    "+trainer.device=2": "no setting 'trainer.device' - did you mean 'trainer.devices'?",
    "los=wgan": "no setting 'los' - did you mean 'loss'?",
    "+los=wgan": "no setting 'los' - did you mean 'loss'?",
    "lr=1": "no setting 'lr' - did you mean 'loss.trains_with.lr' or 'optim.g.lr'?",
    "xyz.abc=1": "no setting 'xyz.abc'",
    "loss=null": "loss=null: a group takes the name of a choice, such as none",
    "a/b=1": "no group 'a/b' to choose from",
    "~loss.n_critc": "no setting 'loss.n_critc' - did you mean 'loss.n_critic'?",
    "+model.z_dimm=3": "no setting 'model.z_dimm' - did you mean 'model.z_dim'?",
    "optim.g.lr=fast": "optim.g.lr=fast: must be a number",
    "optim.g.lr=true": "optim.g.lr=true: must be a number",
    "model.z_dim=1.5": "model.z_dim=1.5: must be an integer",
    "seed=x": "seed=x: must be an integer",
    "channels_last=perhaps": "channels_last=perhaps: must be true or false",
    "loss=wgangp": "loss=wgangp: no such choice - did you mean 'wgan_gp'? (choices: non_saturating, wgan_gp)",
    "term=[r2]": "term=r2: no such choice (choices: r1)",
    "model.discriminator.norm=btch": "norm=btch: must be one of batch, none - did you mean 'batch'?",
    "trainer.precision=bf16-mixd": "- did you mean 'bf16-mixed'?",
    "trainer.max_steps=5": "trainer.max_steps=5 has no effect on a GAN: training is as long as max_kimg",
    "+trainer.max_steps=5": "trainer.max_steps=5 has no effect on a GAN: training is as long as max_kimg",
    "trainer.gradient_clip_val=1": "optim.g_clip=1.0, optim.d_clip=1.0",
    "+trainer.gradient_clip_val=1": "optim.g_clip=1.0, optim.d_clip=1.0",
    "trainer.accumulate_grad_batches=2": "optim.accumulate=2",
    "+trainer.accumulate_grad_batches=2": "optim.accumulate=2",
    "loss.d_terms.r1=5": "no setting 'loss.d_terms.r1'",
    "+loss.d_terms.r1.weight=5": "loss.d_terms.r1 has no _target_",
    "data._target_=cli_parts.Dat": "Dat: no 'Dat' in cli_parts - did you mean 'Data'?",
    "data._target_=cli_part.Data": "data._target_=cli_part.Data: no module 'cli_part'",
    "data.resolution=???": "data.resolution is required: data.resolution=VALUE",
    "data.resolution=${model.zdim}": "${model.zdim} names no setting - did you mean 'model.z_dim'?",
    "experiment=typo": "no setting 'max_kimgg' - did you mean 'max_kimg'? (in experiment/typo.yaml)",
    "experiment=typo_knob": "no setting 'model.z_dimm' - did you mean 'model.z_dim'?",
    "experiment=no_yaml": "no_yaml.yaml:2: not YAML: ",
    "experiment=wrong_type": "seed=x: must be an integer (in experiment/wrong_type.yaml)",
    "experiment=goood": "experiment=goood: no such choice - did you mean 'good'?",
    "loss=wgan_gp,non_saturating": "one run takes one value; -m runs each",
    "seed=choice(1,2)": "seed=choice(1,2): a sweep needs -m",
    "seed": "'seed' is not a setting: write key=value",
    "seed==3": "cannot read 'seed==3'",
    "--config-name=nothing": "nothing",
    "--config-dir=nowhere": "nowhere' not found",
}  # fmt: skip


@pytest.mark.parametrize("arguments, message", BAD.items(), ids=list(BAD))
def test_bad_input_gets_one_line(command, tmp_path, arguments, message):
    outcome = command(*arguments.split())
    assert outcome.code == 2 and outcome.configs == []
    assert len(outcome.lines) == 1 and outcome.lines[0].startswith("error: "), outcome.lines
    assert message in outcome.lines[0]
    assert "+" not in outcome.lines[0]  # Hydra's advice is to write +typo=1, which hides the typo
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [
    "", "loss=wgan_gp", "loss=wgan_gp term=[r1]", "experiment=good", "optim.g.lr=1e-4", "optim.g.lr=1",
    "loss=wgan_gp loss.d_terms.gradient_penalty=null", "trainer.precision=16", "trainer.devices=[0,1]",
    "+trainer.limit_val_batches=2", "optim.g.eps=1e-7", "ckpt_path=last",
])  # fmt: skip
def test_a_good_config_runs(command, arguments):
    outcome = command(*arguments.split())
    assert (outcome.code, outcome.lines, len(outcome.configs)) == (0, [], 1)


def test_a_parameter_that_the_yaml_leaves_out_can_be_set(command):
    outcome = command("trainer.num_sanity_val_steps=2", "optim.g.weight_decay=0.1")
    assert outcome.code == 0
    cfg = outcome.configs[0]
    assert (cfg.trainer.num_sanity_val_steps, cfg.optim.g.weight_decay) == (2, 0.1)


def test_the_loss_chooses_the_norm_of_the_critic(command):
    assert command().configs[0].model.discriminator.norm == "batch"
    assert command("loss=wgan_gp").configs[0].model.discriminator.norm == "none"


def test_errors_while_building(command):
    def build(cfg):
        instantiate(cfg.model.generator)

    outcome = command("model.z_dim=101", task=build)
    assert (outcome.code, outcome.lines) == (2, ["error: model.generator: z_dim=101: at most 100"])


def test_other_user_errors_exit_with_1(command):
    def read(cfg):
        raise DataError("no images\nin folder x")

    outcome = command(task=read)
    assert (outcome.code, outcome.lines) == (1, ["error: no images in folder x"])


def test_a_bug_keeps_its_trace(command):
    def buggy(cfg):
        return {}["key"]

    with pytest.raises(KeyError):
        command(task=buggy)


def test_interrupt_is_quiet(command):
    def interrupted(cfg):
        raise KeyboardInterrupt

    outcome = command(task=interrupted)
    assert (outcome.code, outcome.lines) == (130, [])


def test_the_task_sees_the_users_environment(command, monkeypatch):
    seen = []
    command(task=lambda cfg: seen.append(os.environ.get(cli.FULL_ERROR)))
    monkeypatch.setenv(cli.FULL_ERROR, "0")
    command(task=lambda cfg: seen.append(os.environ.get(cli.FULL_ERROR)))
    assert seen == [None, "0"] and os.environ[cli.FULL_ERROR] == "0"


def test_full_error_shows_the_trace(command, monkeypatch):
    monkeypatch.setenv(cli.FULL_ERROR, "1")
    for arguments in ("los=wgan", "optim.g.lr=fast"):
        with pytest.raises(Exception, match="los|fast"):
            command(arguments)


def test_multirun_checks_each_job(command, tmp_path):
    outcome = command("-m", "loss=wgan_gp,non_saturating", "optim.g.lr=0.1,fast")
    assert outcome.code == 2 and len(outcome.configs) == 2
    assert [cfg.loss.n_critic for cfg in outcome.configs] == [5, 1]
    assert outcome.lines[:2] == ["error: optim.g.lr=fast: must be a number"] * 2
    assert sorted(path.name for path in (tmp_path / "runs/sweep").iterdir()) == ["0", "2", "multirun.yaml"]


def test_a_run_folder_that_existed_is_left_alone(command, tmp_path):
    (tmp_path / "runs/now").mkdir(parents=True)
    (tmp_path / "runs/now/notes.txt").touch()
    assert command("optim.g.lr=fast").code == 2
    assert (tmp_path / "runs/now/notes.txt").exists()


def test_arguments_that_lightning_appends(command, tmp_path):
    """Its further processes start with overrides after whatever the user wrote, flags included."""
    appended = [f'hydra.run.dir="{tmp_path}/first"', "hydra.job.name=rank_1", "hydra.output_subdir=null"]
    outcome = command("seed=4", "--config-name", "config", *appended)
    assert (outcome.code, outcome.configs[0].seed) == (0, 4)
    assert (tmp_path / "first").is_dir()


def write_users_files(folder: Path) -> None:
    """A network in a file of the folder, and a config of it in mine/."""
    text = "class Whole:\n    def __init__(self, depth: int):\n        self.depth = depth\n"
    (folder / "users_net.py").write_text(text)
    (folder / "mine/model").mkdir(parents=True)
    (folder / "mine/model/mine.yaml").write_text("{_target_: users_net.Whole, depth: 3}")


@pytest.mark.parametrize("flag", ["--config-dir=mine", "hydra.searchpath=[file://mine]"])
def test_configs_and_classes_of_a_user(command, tmp_path, flag):
    write_users_files(tmp_path)
    path = list(sys.path)
    try:
        outcome = command(flag, "model=mine", task=lambda cfg: instantiate(cfg.model).depth)
        wrong = command(flag, "model=mine", "model.dpth=2")
    finally:
        sys.path[:] = path
    assert (outcome.code, outcome.lines) == (0, [])
    assert wrong.lines == ["error: no setting 'model.dpth' - did you mean 'model.depth'?"]


SCRIPT = """
    import sys
    from pathlib import Path
    from gan_lightning import cli

    def train(cfg):
        print("trained", cfg.seed)

    try:
        cli.run(train, "config", Path({conf!r}))
    finally:
        print("imported", sorted({{"torch", "lightning", "numpy"}} & set(sys.modules)))
"""


@pytest.fixture
def script(tmp_path):
    """Runs a command line as a script that stands elsewhere."""
    file = tmp_path / "bin" / "train.py"
    file.parent.mkdir()
    file.write_text(dedent(SCRIPT.format(conf=str(TREE / "conf"))))
    work = tmp_path / "work"
    work.mkdir()

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        inherited = {key: value for key, value in os.environ.items() if key != cli.FULL_ERROR}
        path = os.pathsep.join([str(REPOSITORY), str(TREE)])
        env = inherited | {"PYTHONPATH": path} | environment
        return subprocess.run(
            [sys.executable, str(file), *arguments], cwd=work, env=env, capture_output=True, text=True
        )

    return call


@pytest.mark.parametrize("arguments, code, last", [
    (["--help"], 0, ""),
    (["trainer.device=2"], 2, "error: no setting 'trainer.device' - did you mean 'trainer.devices'?"),
    (["optim.g.lr=fast"], 2, "error: optim.g.lr=fast: must be a number"),
    (["seed=5"], 0, ""),
])  # fmt: skip
def test_nothing_slow_is_imported_before_the_task(script, tmp_path, arguments, code, last):
    result = script(*arguments)
    assert (result.returncode, result.stderr.strip()) == (code, last)
    assert result.stdout.splitlines()[-1] == "imported []"
    assert (tmp_path / "work/runs/now").exists() == ("trained 5" in result.stdout)


def test_trace_in_a_process_of_its_own(script):
    result = script("optim.g.lr=fast", HYDRA_FULL_ERROR="1")
    assert result.returncode == 1 and "Traceback" in result.stderr and "must be a number" in result.stderr


def test_an_empty_log_file_is_removed_too(script, tmp_path):
    assert script("optim.g.lr=fast", "hydra/job_logging=default").returncode == 2
    assert list((tmp_path / "work").iterdir()) == []


def test_classes_in_the_current_folder(script, tmp_path):
    write_users_files(tmp_path / "work")
    result = script("--config-dir", "mine", "model=mine")
    assert (result.returncode, result.stderr) == (0, "")


READER = """
    import sys
    from pathlib import Path
    from gan_lightning import cli

    def train(cfg):
        sys.stdin.readline()    # the reader has gone by then
        print("nobody reads this")

    cli.run(train, "config", Path({conf!r}))
"""


def test_a_reader_that_has_gone_is_no_error(tmp_path):
    """`evaluate.py ... | head`: ends without a trace, with what a shell reports of SIGPIPE."""
    (tmp_path / "train.py").write_text(dedent(READER.format(conf=str(TREE / "conf"))))
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(TREE)]), "PYTHONUNBUFFERED": ""}
    with subprocess.Popen([sys.executable, "train.py"], cwd=tmp_path, env=env, text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        process.stdin.write("now\n")
        process.stdin.close()
        assert (process.wait(60), process.stderr.read()) == (141, "")


def test_another_broken_pipe_keeps_its_trace(command):
    def broken(cfg):
        raise BrokenPipeError("a worker of ours")

    with pytest.raises(BrokenPipeError, match="a worker of ours"):
        command(task=broken)
