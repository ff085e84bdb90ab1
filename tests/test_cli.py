"""The command line as a user meets it: help that teaches, one message for a mistake, nothing half-written."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
import xarray as xr
from makers import TEST, make_run, run_values, set_value, times, write_run_file

from fuxi_ens import __version__
from fuxi_ens.errors import UserError
from pipelines.__main__ import app, main


def commands(command, path=()):
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        yield path


COMMANDS = sorted(commands(typer.main.get_command(app)))
WITH_CONFIG = [["check"], ["data", "statistics"], ["train"], ["forecast"], ["verify"], ["model", "summary"]]


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run the real entry point; gives exit code, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fuxi-ens", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    yield run
    for package in ("fuxi_ens", "pipelines"):
        logging.getLogger(package).setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def refused(cli):
    """Run, expect a user error: exit code 1, nothing on stdout, one message without traceback on stderr."""

    def run(*arguments, lines=1):
        code, out, err = cli(*arguments)
        assert (code, out) == (1, ""), err
        assert err.startswith("error: ")
        assert err.count("error: ") == 1
        assert "Traceback" not in err
        assert len(err.strip().splitlines()) == lines, err
        return err

    return run


def files_below(folder):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*")) if Path(folder).exists() else []


def test_every_command_is_there():
    assert {" ".join(path) for path in COMMANDS} >= {
        *("demo", "check", "train", "forecast", "verify", "scorecard", "data statistics", "model summary"),
        *("nature-run run", "nature-run ensemble", "nature-run sample"),
    }


@pytest.mark.parametrize(
    "path",
    COMMANDS,
    ids=" ".join,
)
def test_help_of_every_command_holds_an_example_of_itself(cli, path):
    code, out, _ = cli(*path, "--help")
    assert code == 0
    assert "Example:" in out
    assert f"fuxi-ens {' '.join(path)}" in out


@pytest.mark.parametrize("group", [[], ["data"], ["model"], ["nature-run"]], ids=" ".join)
def test_help_of_every_group_lists_its_commands(cli, group):
    code, out, _ = cli(*group, "--help")
    assert code == 0
    for path in COMMANDS:
        if path[: len(group)] == tuple(group):
            assert path[len(group)] in out


def test_examples_of_help_name_run_files_that_exist(cli):
    for path in COMMANDS:
        for word in cli(*path, "--help")[1].replace("│", " ").split():
            if word.strip("`").startswith("configs/") and word.strip("`").endswith(".yaml"):
                assert (Path(__file__).parents[1] / word.strip("`")).exists()


def test_version(cli):
    assert cli("--version") == (0, f"fuxi-ens {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["check"],
        ["check", "a.yaml", "--no-such-option"],
        ["check", "a.yaml", "--set"],
        ["train", "a.yaml", "b.yaml"],
        ["train", "a.yaml", "--resume", "perhaps"],
        ["forecast", "a.yaml", "--init", "yesterday"],
        ["forecast", "a.yaml", "--members", "many"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2_and_no_traceback(cli, arguments):
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert "Error" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", WITH_CONFIG, ids=" ".join)
class TestEveryCommandWithAConfig:
    def test_a_missing_run_file(self, refused, command):
        assert "cannot read the configuration nowhere.yaml: No such file" in refused(*command, "nowhere.yaml")

    def test_a_misspelt_key(self, refused, command, tiny_run):
        err = refused(*command, tiny_run, "--set", "run.sead=3", lines=2)
        assert "run.sead: unknown key; did you mean 'seed'?" in err

    def test_a_wrong_type(self, refused, command, tiny_run):
        assert "got 'many'" in refused(*command, tiny_run, "--set", "forecast.members=many", lines=2)


@pytest.mark.parametrize("command", [["check"], ["data", "statistics"]], ids=" ".join)
class TestEveryCommandThatReadsTheAnalysis:
    """What is wrong with a store is told before anything is written."""

    @pytest.fixture
    def told(self, refused, tmp_path, command, tiny_run):
        def run(*overrides):
            folder = tmp_path / "run"
            settings = [f"run.folder={folder}", *overrides]
            err = refused(*command, tiny_run, *(part for s in settings for part in ("--set", s)))
            assert files_below(folder) == []
            return err

        return run

    def test_a_missing_store(self, told):
        assert "cannot open /nowhere/a.zarr as a Zarr store" in told("data.store=/nowhere/a.zarr")

    def test_an_asset_that_does_not_ship(self, told):
        assert "asset:nothing is not shipped" in told("data.store=asset:nothing")

    def test_a_missing_channel(self, told):
        names = "[z500, z850, t850, q850, t2m, d2m, sst, u10m, v10m, msl, tp]"
        assert "lacks '2m_dewpoint_temperature' for channel d2m" in told(f"model.channels={names}")

    def test_another_grid(self, told):
        assert "expects 16 from" in told("model.height=16", "model.width=32")

    def test_dates_out_of_range(self, told):
        err = told("data.train=[{start: 1980-01-01, end: 1980-01-02}]")
        assert "lacks 5 of 5 times" in err
        assert "2016-01-01T00" in err

    def test_a_run_folder_below_a_file(self, refused, command, tiny_run, tmp_path):
        (tmp_path / "file").write_text("x")
        err = refused(*command, tiny_run, "--set", f"run.folder={tmp_path / 'file' / 'run'}")
        assert str(tmp_path / "file") in err
        assert files_below(tmp_path) == ["file"]


class TestStagesOutOfOrder:
    """A stage whose input is not there says which command makes it, and writes nothing."""

    @pytest.mark.parametrize(
        ("command", "told"),
        [
            ("train", "run `fuxi-ens data statistics CONFIG` first"),
            ("forecast", "run `fuxi-ens train`"),
            ("verify", "forecast.zarr"),
        ],
    )
    def test_an_input_that_is_not_there(self, refused, tiny_run, tmp_path, command, told):
        assert told in refused(command, tiny_run, "--set", f"run.folder={tmp_path / 'run'}")
        assert [name for name in files_below(tmp_path) if not name.endswith(("run", "scores"))] == []

    def test_no_scores_at_all(self, refused):
        assert "--config" in refused("scorecard")

    def test_scores_that_are_not_there(self, refused, tmp_path):
        assert str(tmp_path / "scores") in refused("scorecard", tmp_path / "scores", "--out", tmp_path / "report")
        assert files_below(tmp_path) == []


class TestCheck:
    def test_a_run_that_is_ready_passes_and_tells_numbers(self, cli, tiny_run):
        code, out, err = cli("check", tiny_run, "--json")
        assert (code, err) == (0, "")
        found = {finding["check"]: finding["detail"] for finding in json.loads(out)}
        assert "10 channels, 2016-01-01T00:00 to 2018-01-05T18:00" in found["analysis"]
        assert found["train dates"].startswith("36 init times with 1 target step")
        assert found["validation dates"].startswith("14 init times")
        assert "3 members, 4 lead times" in found["baseline"]
        assert found["common init times"].startswith("2 of 2 are in all forecasts")
        assert "100% of the valid times" in found["truth"]
        assert "not there yet" in found["statistics"]
        assert files_below(tiny_run.parent / "run") == []

    def test_the_table_names_the_run_file(self, cli, tiny_run):
        code, out, _ = cli("check", tiny_run)
        assert code == 0
        assert "ready to run" in out.replace("\n", " ")

    def test_the_size_of_the_forecast_is_that_of_its_arrays(self, cli, tiny_run):
        found = {f["check"]: f["detail"] for f in json.loads(cli("check", tiny_run, "--json")[1])}
        values = 2 * 2 * 4 * 7 * 8 * 16
        assert found["forecast store"].startswith(f"up to {4 * values / 1e3:.3g} kB")

    @pytest.mark.parametrize(
        ("override", "told"),
        [
            ("verify.baseline=/nowhere/b.zarr", "cannot open /nowhere/b.zarr"),
            ("verify.truth=/nowhere/t.zarr", "cannot open /nowhere/t.zarr"),
            ("forecast.store=/nowhere/f.zarr", "cannot open /nowhere/f.zarr"),
            ("data.static_store=/nowhere/s.zarr", "cannot open /nowhere/s.zarr"),
            ("forecast.init_times={start: 2018-01-01, end: 2018-01-02}", "lacks the initial frame at 2017-12-31T18"),
            ("forecast.members=10000000000", "needs up to"),
            ("verify.channels=[z850, sst]", "not written"),
        ],
    )
    def test_the_first_lie_is_told(self, cli, tiny_run, override, told):
        code, _, err = cli("check", tiny_run, "--json", "--set", override)
        assert code == 1
        assert told in err

    @pytest.mark.parametrize(
        "override",
        [
            "verify.baseline_truth=/nowhere/t.zarr",
            "verify.climatology.periods=[{start: 1980-01-01, end: 1980-12-31}]",
        ],
    )
    def test_every_lie_is_told(self, cli, tiny_run, override):
        assert cli("check", tiny_run, "--json", "--set", override)[0] == 1

    def test_rollouts_longer_than_the_periods_are_told(self, refused, tiny_run):
        err = refused("check", tiny_run, "--json", "--set", "train.stages.1.rollout_steps=40")
        assert "40 target frames" in err

    def test_a_store_with_a_name_that_looks_like_markup_is_told_as_it_is(self, refused, tiny_run):
        err = refused("check", tiny_run, "--set", "data.store='/nowhere/[red]a[/]'")
        assert "cannot open /nowhere/[red]a[/] as" in err

    def test_a_store_with_a_name_that_looks_like_an_emoji_is_told_as_it_is(self, refused, tiny_run):
        assert "/nowhere/:bomb:/a" in refused("check", tiny_run, "--set", "data.store='/nowhere/:bomb:/a'")


def test_the_size_of_a_model_is_told_as_json(cli, tiny_run):
    code, out, err = cli("model", "summary", tiny_run, "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert facts["tokens"] == 32
    assert facts["inference_parameters"] == facts["prior_parameters"] + facts["forecast_parameters"]
    assert facts["inference_weight_bytes"] == 4 * facts["inference_parameters"]


def test_the_size_of_the_release_is_the_published_one(cli):
    _, out, _ = cli("model", "summary", Path(__file__).parents[1] / "configs" / "era5_0p25deg.yaml", "--json")
    facts = json.loads(out)
    assert facts["inference_parameters"] == 2_474_861_958
    assert facts["tokens"] == 16_200


def test_statistics_are_written_whole(cli, tiny_run, tmp_path):
    code, out, _ = cli("data", "statistics", tiny_run, "--set", f"run.folder={tmp_path}")
    assert (code, out) == (0, "")
    assert files_below(tmp_path) == ["statistics.json"]
    assert json.loads((tmp_path / "statistics.json").read_text())["frames"] == 40


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The tiny run with statistics and a model."""
    run_file = make_run(tmp_path_factory.mktemp("trained"))
    for command in (["data", "statistics"], ["train"]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["fuxi-ens", *command, str(run_file)])
            with pytest.raises(SystemExit) as stopped:
                main()
            assert not stopped.value.code
    return run_file


class TestTrainedRun:
    def test_a_forecast_without_its_initial_frame_is_not_complete(self, refused, trained, tmp_path):
        when = np.setdiff1d(times(TEST[0]["start"], TEST[0]["end"]), times("2018-01-02T12", "2018-01-02T12"))
        whole = xr.open_zarr(trained.parent / "analysis.zarr", chunks=None)
        whole.sel(time=when).drop_encoding().to_zarr(tmp_path / "hole.zarr", zarr_format=2)
        err = refused("forecast", trained, "--set", f"forecast.store={tmp_path / 'hole.zarr'}")
        assert "2018-01-02T12" in err
        complete = [name for name in files_below(trained.parent / "run") if name.endswith("complete/2018-01-02T12")]
        assert complete == []

    def test_a_damaged_model_is_refused(self, refused, trained):
        weights = trained.parent / "run" / "model" / "weights.safetensors"
        content = weights.read_bytes()
        weights.write_bytes(content[: len(content) // 2])
        try:
            assert "is damaged" in refused("forecast", trained)
        finally:
            weights.write_bytes(content)


def test_no_member_is_not_the_number_of_the_run_file(refused, tiny_run):
    assert "members" in refused("forecast", tiny_run, "--members", "0", lines=2)


def test_overrides_of_no_run_file_are_wrong_usage(cli, tmp_path):
    code, _, err = cli("scorecard", tmp_path, "--set", "report.title=x")
    assert code == 2
    assert "--config" in err


def test_an_unknown_style_of_the_scorecard_is_wrong_usage(cli, tmp_path):
    code, _, err = cli("scorecard", tmp_path, "--style", "tabloid")
    assert code == 2
    assert "weatherbench" in err


@pytest.mark.parametrize("name", ["2024", "a: b", "#1"])
def test_a_demo_goes_into_any_folder(cli, tmp_path, monkeypatch, name):
    def stop(_, settings):
        from fuxi_ens.assets import config_file
        from fuxi_ens.config import load_config

        raise UserError(f"would write to {load_config(config_file('demo'), settings).run.folder}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipelines.demo.statistics.statistics", stop)
    code, _, err = cli("demo", "--out", name)
    assert code == 1
    assert f"error: would write to {name}\n" in err


def test_levels_that_are_no_numbers_are_refused(refused, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.nature_run._require_model", lambda: None)
    monkeypatch.setitem(sys.modules, "fuxi_ens.nature.run", SimpleNamespace(integrate=lambda *_: []))
    assert "levels" in refused("nature-run", "run", tmp_path, "--levels", "500,high")


@pytest.mark.slow
@pytest.mark.parametrize("program", [["-m", "pipelines"], ["fuxi-ens"]], ids=" ".join)
def test_the_installed_programs_tell_a_mistake_in_one_message(program, tmp_path):
    folder = Path(sys.executable).parent
    start = [folder / program[0]] if program == ["fuxi-ens"] else [sys.executable, *program]
    run_file = write_run_file(tmp_path, set_value(run_values(tmp_path), "model.hight", 3))
    done = subprocess.run([*start, "check", run_file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {run_file} is not a valid configuration:\n  model.hight: unknown key; did you mean 'height'?\n"
    )
