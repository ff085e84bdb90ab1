"""`fuxi-ens submit`: what SLURM gets, what stays in the run folder, what is refused."""

import json
import shlex
import shutil

import numpy as np
import pytest
import yaml
from makers import analysis_dataset, run_values, write_store
from stand_ins import StandIns
from typer.testing import CliRunner

from fuxi_ens.config import load_config
from fuxi_ens.errors import UserError
from fuxi_ens.times import label
from pipelines.__main__ import app

SITE = """
gpu: {partition: gpu, gpus_per_node: 4}
cpu: {partition: cpu}
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    stand_ins = StandIns(tmp_path / "tools")
    monkeypatch.setenv("PATH", stand_ins.path)
    return stand_ins


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Config and site file in a working folder; the run folder is a relative path."""
    monkeypatch.chdir(tmp_path)
    values = run_values(tmp_path / "world")
    values["run"]["folder"] = "runs/a b"
    (tmp_path / "run.yaml").write_text(f"# as its user wrote it\n{yaml.safe_dump(values)}")
    (tmp_path / "site.yaml").write_text(SITE)
    return tmp_path


@pytest.fixture
def submit(slurm, files):
    def call(what, *options):
        result = CliRunner().invoke(app, ["submit", what, "run.yaml", "--site", "site.yaml", *options])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


@pytest.fixture
def jobs_folder(files):
    return files / "runs" / "a b" / "jobs"


def noted(jobs_folder):
    return [json.loads(line) for line in (jobs_folder / "submitted.jsonl").read_text().splitlines()]


class TestASubmission:
    def test_sbatch_gets_a_script_and_nothing_else(self, submit, slurm, jobs_folder):
        submit("train")
        assert slurm.calls("sbatch") == [["--parsable", str(jobs_folder / "001" / "train.sh")]]

    def test_the_job_reads_a_copy_of_the_config(self, submit, files, jobs_folder):
        submit("train", "--set", "run.seed=3", "--set", "run.name=a b;rm")
        folder = jobs_folder / "001"
        assert (folder / "config.yaml").read_bytes() == (files / "run.yaml").read_bytes()
        script = (folder / "train.sh").read_text()
        assert f"arguments=('{folder}/config.yaml' --set run.seed=3 --set 'run.name=a b;rm')\n" in script
        assert f"#SBATCH --chdir={files}\n" in script
        assert f"#SBATCH --output='{jobs_folder}/%x-%j.out'\n" in script

    def test_overrides_are_checked_before(self, submit, slurm):
        with pytest.raises(UserError, match="unknown key"):
            submit("train", "--set", "run.sead=3")
        assert not slurm.calls("sbatch")

    def test_it_says_numbers_logs_and_how_to_watch_and_stop(self, submit, jobs_folder):
        said = submit("train")
        assert f"job 101, log {jobs_folder}/train-tiny-101.out\n" in said
        assert "squeue --jobs=101" in said
        assert "fuxi-ens progress run.yaml" in said
        assert "scancel 101;" in said

    def test_it_is_noted(self, submit, jobs_folder):
        submit("forecast", "--tasks", "2")
        submit("verify")
        assert noted(jobs_folder) == [
            {
                "kind": "forecast",
                "job": "101",
                "script": str(jobs_folder / "001" / "forecast.sh"),
                "log": str(jobs_folder / "forecast-tiny-101_*.out"),
            },
            {
                "kind": "verify",
                "job": "102",
                "script": str(jobs_folder / "002" / "verify.sh"),
                "log": str(jobs_folder / "verify-tiny-102.out"),
            },
        ]

    def test_sizes_of_the_command_line_win(self, submit, jobs_folder):
        submit("train", "--nodes", "3")
        assert "#SBATCH --nodes=3\n" in (jobs_folder / "001" / "train.sh").read_text()

    def test_variables_do_not_change_a_job_in_secret(self, submit, slurm, monkeypatch):
        for name in ("SBATCH_PARTITION", "SLURM_JOB_ID", "SLURM_CONF", "RANK", "WORLD_SIZE"):
            monkeypatch.setenv(name, "1")
        submit("train")
        assert slurm.foreign() == {"SLURM_CONF"}

    def test_a_refusal_says_what_slurm_said(self, submit, slurm, jobs_folder):
        slurm.answer("sbatch", err="sbatch: error: invalid partition specified: gpu", code=1)
        with pytest.raises(UserError, match=r"sbatch --parsable failed: .*invalid partition specified: gpu"):
            submit("train")
        assert not (jobs_folder / "submitted.jsonl").exists()

    def test_without_slurm_the_remedy_is_named(self, submit, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(UserError, match=r"sbatch is not here; .*--dry-run"):
            submit("train")


class TestADryRun:
    def test_it_prints_command_and_script_and_does_nothing(self, submit, slurm, files, jobs_folder):
        said = submit("train", "--dry-run")
        assert said.startswith(f"# sbatch --parsable '{jobs_folder}/NEXT/train.sh'\n#!/usr/bin/env bash\n")
        assert not slurm.calls("sbatch")
        assert not slurm.calls("squeue")
        assert not (files / "runs").exists()

    def test_it_prints_what_would_be_submitted(self, submit, jobs_folder):
        said = submit("train", "--dry-run")
        submit("train")
        script = (jobs_folder / "001" / "train.sh").read_text()
        assert said.partition("\n")[2] == script.replace("/001/", "/NEXT/")


class TestASecondJob:
    def test_is_refused_while_the_first_lives(self, submit, slurm):
        submit("train")
        slurm.answer("squeue", out="99\n101")
        with pytest.raises(UserError, match=r"runs/a b has a train job already, 101: .*scancel 101.*--force"):
            submit("train")
        assert slurm.calls("squeue")[-1] == ["--noheader", "--format=%F", "--jobs=101"]
        assert len(slurm.calls("sbatch")) == 1

    def test_is_welcome_when_forced(self, submit, slurm):
        submit("train")
        slurm.answer("squeue", out="101")
        assert "job 102" in submit("train", "--force")

    def test_is_welcome_when_the_first_is_over(self, submit, slurm):
        submit("train")
        slurm.answer("squeue", out="")
        assert "job 102" in submit("train")

    def test_is_welcome_when_slurm_has_forgotten_the_first(self, submit, slurm):
        submit("train")
        slurm.answer("squeue", err="slurm_load_jobs error: Invalid job id specified", code=1)
        assert "job 102" in submit("train")

    def test_waits_until_slurm_can_be_asked(self, submit, slurm):
        submit("train")
        slurm.answer("squeue", err="Unable to contact slurm controller (connect failure)", code=1)
        with pytest.raises(UserError, match="Unable to contact"):
            submit("train")

    def test_of_another_kind_is_welcome(self, submit, slurm):
        submit("train")
        slurm.answer("squeue", out="101")
        assert "job 102" in submit("verify")

    def test_of_another_run_is_welcome(self, submit, slurm):
        submit("train")
        slurm.answer("squeue", out="101")
        assert "job 102" in submit("train", "--set", "run.folder=runs/other")


class TestTheNewestTime:
    @pytest.fixture
    def analysis(self, files):
        def make(*when):
            store = files / "today.zarr"
            shutil.rmtree(store, ignore_errors=True)
            write_store(analysis_dataset(when=np.array(when, "datetime64[ns]")), store)
            return "--set", "forecast.init_times=latest", "--set", "forecast.store=today.zarr"

        return make

    @pytest.mark.parametrize("what", ["forecast", "chain"])
    def test_is_that_of_the_submission_for_all_jobs(self, submit, analysis, jobs_folder, what):
        options = analysis("2020-01-01T00", "2020-01-01T06")
        submit(what, *options)
        analysis("2020-01-01T00", "2020-01-01T06", "2020-01-01T12")
        scripts = list((jobs_folder / "001").glob("*.sh"))
        for script in scripts:
            [line] = [line for line in script.read_text().splitlines() if line.startswith("arguments=(")]
            words = shlex.split(line.removeprefix("arguments=(").removesuffix(")"))
            config = load_config(words[0], words[2::2])
            assert label(config.forecast.init_times.times[0]) == "2020-01-01T06:00"
            assert config.forecast_store.name == "forecast_2020-01-01T06.zarr"
        assert len(scripts) == {"forecast": 1, "chain": 5}[what]

    def test_need_not_be_known_to_jobs_before_the_forecast(self, submit, jobs_folder):
        submit("train", "--set", "forecast.init_times=latest", "--set", "forecast.store=not-yet.zarr")
        assert "{latest:" not in (jobs_folder / "001" / "train.sh").read_text()

    def test_without_an_analysis_nothing_is_submitted(self, submit, slurm):
        with pytest.raises(UserError, match=r"not-yet\.zarr"):
            submit("forecast", "--set", "forecast.init_times=latest", "--set", "forecast.store=not-yet.zarr")
        assert not slurm.calls("sbatch")
