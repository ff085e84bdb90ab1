"""A chain: which jobs, which waits for which, and that all of them or none is submitted."""

import json
import re

import pytest
import yaml
from makers import run_values
from stand_ins import StandIns
from typer.testing import CliRunner

from fuxi_ens.errors import UserError
from pipelines.__main__ import app

STAGES = ["statistics", "train", "forecast", "verify", "scorecard"]


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    stand_ins = StandIns(tmp_path / "tools")
    monkeypatch.setenv("PATH", stand_ins.path)
    return stand_ins


@pytest.fixture
def submit(slurm, tmp_path):
    def call(*options, prepare=False, events=None):
        values = run_values(tmp_path / "world")
        if events:
            values["events"] = events
        if prepare:
            values["prepare"] = {"source": "gs://somewhere/era5.zarr"}
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
        (tmp_path / "site.yaml").write_text("forecast_tasks: 2")
        words = ["submit", "chain", str(tmp_path / "run.yaml"), "--site", str(tmp_path / "site.yaml"), *options]
        result = CliRunner().invoke(app, words)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    return call


def waiting(call):
    """Kind of job and the number of the one it waits for."""
    *options, script = call
    after = dict(option.partition("=")[::2] for option in options if option != "--parsable")
    assert after.pop("--kill-on-invalid-dep", "yes") == "yes"
    return re.search(r"(heat-waves|\w+)\.sh$", script)[1], after.get("--dependency")


def test_each_stage_waits_for_the_success_of_the_one_before(submit, slurm):
    submit()
    assert [waiting(call) for call in slurm.calls("sbatch")] == [
        ("statistics", None),
        ("train", "afterok:101"),
        ("forecast", "afterok:102"),
        ("verify", "afterok:103"),
        ("scorecard", "afterok:104"),
    ]


def test_events_of_the_config_follow_the_forecast(submit, slurm):
    summer = {"name": "test", "period": {"start": "2018-07-10", "end": "2018-07-20"}}
    box = {"south": 30, "north": 45, "west": 120, "east": 145}
    reference = [{"start": "2000-01-01", "end": "2001-12-31"}]
    submit(events={"cyclones": {}, "heat_waves": [{**summer, **box, "reference": reference}]})
    found = [waiting(call) for call in slurm.calls("sbatch")]
    assert found[-3:] == [("scorecard", "afterok:104"), ("cyclones", "afterok:103"), ("heat-waves", "afterok:103")]


def test_a_job_whose_turn_can_never_come_does_not_wait_for_ever(submit, slurm):
    submit()
    assert all("--kill-on-invalid-dep=yes" in call for call in slurm.calls("sbatch")[1:])


def test_it_begins_with_the_training_store_where_that_is_to_be_made(submit, slurm):
    submit(prepare=True)
    found = [waiting(call) for call in slurm.calls("sbatch")]
    assert [kind for kind, _ in found] == ["prepare", *STAGES]
    assert found[1] == ("statistics", "afterok:101")


def test_all_scripts_share_one_copy_of_the_config(submit, slurm, tmp_path):
    submit("--set", "run.seed=3")
    folder = tmp_path / "world" / "run" / "jobs" / "001"
    assert {path.name for path in folder.iterdir()} == {"config.yaml", *(f"{kind}.sh" for kind in STAGES)}
    for kind in STAGES:
        assert f"arguments=({folder}/config.yaml --set run.seed=3)" in (folder / f"{kind}.sh").read_text()


def test_the_forecast_is_an_array(submit, tmp_path):
    said = submit()
    script = (tmp_path / "world" / "run" / "jobs" / "001" / "forecast.sh").read_text()
    assert "#SBATCH --array=0-1\n" in script
    assert '--part "$SLURM_ARRAY_TASK_ID/2"\n' in script
    assert re.search(r"forecast +job 103, log .*/forecast-tiny-103_\*\.out", said)


def test_sizes_of_the_command_line_win(submit, tmp_path):
    submit("--nodes", "3", "--tasks", "1")
    folder = tmp_path / "world" / "run" / "jobs" / "001"
    assert "#SBATCH --nodes=3\n" in (folder / "train.sh").read_text()
    assert "--array" not in (folder / "forecast.sh").read_text()


def test_what_was_submitted_is_canceled_when_the_rest_is_refused(submit, slurm, tmp_path):
    slurm.answer("sbatch", at=103, err="invalid qos", code=1)
    with pytest.raises(UserError, match="invalid qos"):
        submit()
    assert slurm.calls("scancel") == [["101", "102"]]
    assert len(slurm.calls("sbatch")) == 3


def test_a_chain_is_refused_while_one_of_its_jobs_lives(submit, slurm, tmp_path):
    submit()
    slurm.answer("squeue", out="104")
    with pytest.raises(UserError, match="has a verify job already, 104"):
        submit()


def test_a_dry_run_shows_what_waits_for_what(submit, slurm, tmp_path):
    said = submit("--dry-run")
    lines = [line for line in said.splitlines() if line.startswith("# sbatch")]
    folder = tmp_path / "world" / "run" / "jobs" / "NEXT"
    assert lines[0] == f"# sbatch --parsable {folder}/statistics.sh"
    assert (
        lines[1] == f"# sbatch --parsable --kill-on-invalid-dep=yes --dependency=afterok:STATISTICS {folder}/train.sh"
    )
    assert said.count("#!/usr/bin/env bash") == len(lines) == 5
    assert not slurm.calls("sbatch")


def test_the_list_of_jobs_survives_two_submissions(submit, slurm, tmp_path):
    submit()
    submit()
    path = tmp_path / "world" / "run" / "jobs" / "submitted.jsonl"
    kinds = [json.loads(line)["kind"] for line in path.read_text().splitlines()]
    assert kinds == STAGES * 2
