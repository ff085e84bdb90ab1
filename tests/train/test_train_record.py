"""The record of a run survives kills, resumes and full disks, and is what `fuxi-ens progress` and the pictures show."""

import logging
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from tiny_run import new_run, write_settings
from typer.testing import CliRunner

from fuxi_ens.errors import UserError
from fuxi_ens.paths import RunPaths
from fuxi_ens.train.metrics_log import Record, read_records
from fuxi_ens.train.picture import ValidationPicture
from pipelines.__main__ import app

STAGES = [
    {"name": "first", "objective": "l1", "iterations": 20, "learning_rate": 1e-3},
    {"name": "second", "objective": "crps_kl", "iterations": 10, "learning_rate": 1e-3},
]


@pytest.fixture
def config(world, tmp_path):
    return new_run(world, tmp_path / "run", {"train.trackers": [], "train.stages": STAGES})


@pytest.fixture
def path(config):
    return RunPaths(config.run.folder).metrics


def picture():
    members = np.arange(2 * 4 * 8, dtype=np.float32).reshape(2, 4, 8)
    where = np.array([67.5, 22.5, -22.5, -67.5]), np.arange(8) * 45.0
    init_time = np.datetime64("2017-01-01T00", "ns")
    return ValidationPicture("z500", init_time, np.timedelta64(6, "h"), *where, members, members[0])


def note(shown, path):
    """Stands for a drawing program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(shown.name)


def test_a_record_is_one_line_that_begins_with_its_place(config, path):
    with Record(config, 0, main=True) as record:
        record.write("train", 3, {"stage": "first", "kl": {"z500": 0.5}})
        assert path.read_text() == '{"kind": "train", "iteration": 3, "stage": "first", "kl": {"z500": 0.5}}\n'


def test_records_after_the_restored_position_and_torn_ones_are_dropped(config, path):
    with Record(config, 0, main=True) as record:
        for iteration in (1, 2, 3):
            record.write("train", iteration, {"loss": 0.1 * iteration})
    with path.open("a") as file:
        file.write('{"kind": "train", "iter')
    assert [r["iteration"] for r in read_records(path)] == [1, 2, 3]
    with Record(config, 2, main=True) as record:
        record.write("train", 3, {"loss": 7.0})
    assert [r["loss"] for r in read_records(path)] == [0.1, 0.2, 7.0]
    Record(config, 0, main=True)
    assert read_records(path) == []


def test_other_ranks_write_nothing(config):
    before = sorted(config.run.folder.rglob("*"))
    with Record(config, 0, main=False, draw=note) as record:
        record.write("train", 1, {"loss": 1.0})
        record.picture(1, picture())
    assert sorted(config.run.folder.rglob("*")) == before


def test_a_run_without_a_record_is_empty(path):
    assert read_records(path) == []


class TestFullDisk:
    @pytest.fixture
    def room(self, path):
        """Set how many bytes the record may grow to, as a full disk would: the rest of a line is cut off."""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

        def allow(size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))

        yield allow
        allow(None)

    def test_records_wait_for_space_and_none_is_torn_or_lost(self, config, path, room, caplog):
        with Record(config, 0, main=True) as record:
            record.write("train", 1, {"loss": 1.0})
            whole = path.read_bytes()
            room(len(whole) + 7)
            record.write("train", 2, {"loss": 2.0})
            record.write("train", 3, {"loss": 3.0})
            assert path.read_bytes() == whole
            room(None)
            record.write("train", 4, {"loss": 4.0})
            assert [r["loss"] for r in read_records(path)] == [1.0, 2.0, 3.0, 4.0]
        warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert warnings[0].startswith(f"records wait until {path} can be written: ")

    def test_what_is_lost_in_the_end_is_said(self, config, path, room, caplog):
        with Record(config, 0, main=True) as record:
            record.write("train", 1, {"loss": 1.0})
            room(path.stat().st_size)
            record.write("train", 2, {"loss": 2.0})
        room(None)
        assert f"the last 1 records of {path} are lost" in caplog.messages


class TestPictures:
    def folder(self, config):
        return RunPaths(config.run.folder).training / "pictures"

    def test_each_validation_has_its_own(self, config):
        with Record(config, 0, main=True, draw=note) as record:
            record.picture(2, picture())
            record.picture(10, picture())
        assert sorted(p.name for p in self.folder(config).iterdir()) == [
            "validation_00000002.png",
            "validation_00000010.png",
        ]

    def test_those_after_the_restored_position_are_dropped(self, config):
        for resumed_at in (0, 4):
            with Record(config, resumed_at, main=True, draw=note) as record:
                for iteration in (2, 4, 6) if not resumed_at else ():
                    record.picture(iteration, picture())
        assert [p.stem[-1] for p in sorted(self.folder(config).iterdir())] == ["2", "4"]

    def test_nobody_draws_without_a_pen(self, config):
        with Record(config, 0, main=True) as record:
            record.picture(2, picture())
        assert not self.folder(config).exists()

    def test_one_that_cannot_be_drawn_does_not_end_the_run(self, config, path, caplog):
        def fail(*_):
            raise ValueError("no ink")

        with Record(config, 0, main=True, draw=fail) as record:
            record.picture(2, picture())
            record.write("train", 3, {"loss": 1.0})
        assert len(read_records(path)) == 1
        assert "no picture of the validation at iteration 2" in caplog.text
        assert "no ink" in caplog.text


def validation(leads):
    by_lead = {f"{6 * (k + 1)}h": 1.0 + k for k in range(leads)}
    scores = {score: {"standardized": by_lead, "z500": by_lead} for score in ("crps", "rmse", "spread_skill_ratio")}
    return {"stage": "second", "score": 1.5, "kl": 0.1, **scores}


class TestProgressCommand:
    @pytest.fixture
    def told(self, config, tmp_path):
        """Run `fuxi-ens progress` on a wide terminal; what it prints."""

        def run(*options):
            settings = write_settings(config, tmp_path / "run.yaml")
            result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["progress", str(settings), *options])
            if result.exception and not isinstance(result.exception, SystemExit):
                raise result.exception
            return result.output

        return run

    def test_a_run_that_has_not_begun_is_a_user_error(self, told):
        with pytest.raises(UserError, match="holds no record of a training; start it with `fuxi-ens train`"):
            told()

    def test_a_run_under_way(self, config, told):
        pace = {"samples_per_second": 12.0, "seconds_per_iteration": 0.5, "data_wait_percent": 2.0}
        pace |= {"between_iterations_percent": 4.0, "peak_memory_gib": 3.25, "left_seconds": 7500.0}
        state = RunPaths(config.run.folder).training / "state_01_00000003"
        state.mkdir(parents=True)
        (state / "manifest.json").write_text("{}")
        (state.parent / ".state_01_00000004.partial").mkdir()
        with Record(config, 0, main=True) as record:
            record.write("train", 20, {"stage": "first", "loss": 9.0, "error": 9.0, "kl": 0.0})
            record.write("validation", 23, validation(12))
            record.write("train", 23, {"stage": "second", "loss": 0.1234, "error": 0.12, "kl": 0.5})
            record.write("pace", 23, pace)
        out = told()
        for words in ("23 of 30", "second, 2 of 2, iteration 3 of 10", "0.1234 (error 0.1200, KL 0.5)", "12 samples/s"):
            assert words in out
        for words in ("2.0% of an iteration", "4.0% of the time", "3.2 GiB", "about 2 h 05 min", "state_01_00000003"):
            assert words in out
        assert "partial" not in out
        heads = next(line for line in out.splitlines() if "validation at 23" in line)
        assert [word for word in heads.replace("┃", " ").split() if word.endswith("h")] == [
            *("6h", "18h", "30h", "48h", "60h", "72h")
        ]

    def test_between_stages_the_next_one_is_named(self, config, told):
        with Record(config, 0, main=True) as record:
            record.write("train", 20, {"stage": "first", "loss": 9.0, "error": 9.0, "kl": 0.0})
        out = told()
        assert "second, 2 of 2, iteration 0 of 10" in out
        assert "none yet" in out

    def test_curves_are_drawn_on_demand(self, config, told):
        with Record(config, 0, main=True) as record:
            record.write("train", 1, {"stage": "first", "loss": 9.0, "error": 9.0, "kl": 0.0, "lr": 1e-3})
            record.write("validation", 1, validation(1))
        curves = RunPaths(config.run.folder).training / "losses.png"
        told()
        assert not curves.exists()
        told("--plot")
        assert curves.read_bytes().startswith(b"\x89PNG")


def test_looking_at_a_run_needs_no_torch(config, tmp_path):
    with Record(config, 0, main=True) as record:
        record.write("train", 1, {"stage": "first", "loss": 9.0, "error": 9.0, "kl": 0.0})
    settings = write_settings(config, tmp_path / "run.yaml")
    code = "import sys; from pipelines.__main__ import app; app(sys.argv[1:], standalone_mode=False); "
    code += "assert 'torch' not in sys.modules"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, "progress", settings], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
