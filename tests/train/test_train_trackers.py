"""Trackers get every number once, offline, also over a resume; one that fails does not end the run."""

import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_run import new_run, write_settings

from fuxi_ens.errors import UserError
from fuxi_ens.paths import RunPaths
from fuxi_ens.train import trackers
from fuxi_ens.train.metrics_log import Record, read_records
from fuxi_ens.train.trackers import require_trackers

VALUES = {"stage": "first", "crps": {"z500": {"6h": 0.5, "12h": 0.75}}, "kl": 2.0}
NAMES = {"validation/crps/z500/6h", "validation/crps/z500/12h", "validation/kl"}


def run_with(world, folder, *names):
    return new_run(world, folder, {"train.trackers": list(names)})


def training(config):
    return RunPaths(config.run.folder).training


def draw(_, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6, 3), 200, np.uint8)).save(path)


def killed_and_resumed(config):
    """Iterations 1 to 4 told, stopped, resumed from 2: then 3 to 5, which have other values."""
    first = Record(config, 0, main=True, draw=draw)
    for iteration in (1, 2, 3, 4):
        first.write("train", iteration, {"loss": float(iteration)})
    first.write("validation", 4, VALUES)
    first.picture(4, None)
    first.__exit__(None, None, None)
    with Record(config, 2, main=True, draw=draw) as second:
        for iteration in (3, 4, 5):
            second.write("train", iteration, {"loss": 10.0 + iteration})
        second.write("validation", 4, VALUES)
        second.picture(4, None)


class TestTensorBoard:
    @pytest.fixture
    def events(self, world, tmp_path):
        config = run_with(world, tmp_path, "tensorboard")
        killed_and_resumed(config)
        return EventAccumulator(str(training(config) / "tensorboard")).Reload()

    def test_a_resumed_curve_has_no_double_points(self, events):
        points = [(event.step, event.value) for event in events.Scalars("train/loss")]
        assert points == [(1, 1.0), (2, 2.0), (3, 13.0), (4, 14.0), (5, 15.0)]

    def test_nested_scores_have_paths_for_names_and_texts_have_no_curve(self, events):
        assert set(events.Tags()["scalars"]) == NAMES | {"train/loss"}
        (point,) = events.Scalars("validation/crps/z500/12h")
        assert (point.step, point.value) == (4, 0.75)

    def test_the_picture_is_there_once(self, events):
        (image,) = events.Images("validation")
        assert (image.step, image.width, image.height) == (4, 6, 4)


class TestMLflow:
    @pytest.fixture
    def client(self, world, tmp_path):
        pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
        from mlflow.tracking import MlflowClient

        config = run_with(world, tmp_path, "mlflow")
        killed_and_resumed(config)
        return MlflowClient((training(config) / "mlflow").as_uri())

    @pytest.fixture
    def run(self, client):
        (run,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
        return run

    def test_a_resumed_run_is_one_run_without_double_points(self, client, run):
        points = client.get_metric_history(run.info.run_id, "train/loss")
        assert [(p.step, p.value) for p in points] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 15.0)]

    def test_nested_scores_have_paths_for_names(self, run):
        assert set(run.data.metrics) == NAMES | {"train/loss"}
        assert run.info.status == "FINISHED"

    def test_pictures_and_settings_lie_below_the_run_folder(self, client, run, tmp_path):
        assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
            "config.yaml",
            "validation_00000004.png",
        }
        assert run.info.artifact_uri.startswith((tmp_path / "training" / "mlflow").as_uri())


class TestWeightsAndBiases:
    @pytest.fixture
    def folder(self, world, tmp_path):
        config = run_with(world, tmp_path, "wandb")
        killed_and_resumed(config)
        return training(config) / "wandb"

    def test_every_attempt_is_an_offline_segment_of_one_run(self, folder):
        segments = sorted(folder.glob("offline-run-*/run-*.wandb"))
        name = (folder / "run_id").read_text()
        assert len(segments) >= 1
        assert {path.name for path in segments} == {f"run-{name}.wandb"}
        assert all(path.stat().st_size > 0 for path in segments)

    def test_numbers_and_pictures_are_in_the_segments(self, folder):
        content = b"".join(path.read_bytes() for path in folder.glob("offline-run-*/run-*.wandb"))
        assert b"validation/crps/z500/6h" in content
        assert list(folder.glob("offline-run-*/files/media/images/validation_4_*.png"))


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_named_with_its_extra(monkeypatch, name):
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    remedy = rf"run `pip install 'fuxi-ens\[{name}\]'`, or take {name} out of train.trackers"
    with pytest.raises(UserError, match=rf"asks for {name}, which is not installed; {remedy}"):
        require_trackers((name,))


def test_a_folder_of_its_name_is_no_tracker(monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: ModuleSpec(name, None))
    with pytest.raises(UserError, match="asks for wandb"):
        require_trackers(("wandb",))


@pytest.mark.parametrize("main", [True, False])
def test_every_rank_refuses_a_tracker_that_is_not_installed(world, tmp_path, monkeypatch, main):
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="asks for mlflow"):
        Record(run_with(world, tmp_path, "mlflow"), 0, main=main)


def test_a_run_without_trackers_needs_none(monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    require_trackers(())


@pytest.mark.parametrize("moment", ["__init__", "write", "picture", "close"])
def test_a_tracker_that_fails_is_left_out_and_named_once(world, tmp_path, monkeypatch, caplog, moment):
    def fail(*_):
        raise RuntimeError("no socket")

    monkeypatch.setattr(trackers.TensorBoard, moment, fail)
    config = run_with(world, tmp_path, "tensorboard")
    with Record(config, 0, main=True, draw=draw) as record:
        for iteration in (1, 2):
            record.write("train", iteration, {"loss": 1.0})
            record.picture(iteration, None)
    assert len(read_records(RunPaths(config.run.folder).metrics)) == 2
    (warning,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert warning.message.startswith("tracker tensorboard failed")
    assert "no socket" in caplog.text


@pytest.mark.slow
def test_trackers_need_no_network(world, tmp_path):
    alone = ["unshare", "--net", "--map-root-user", "bash", "-c", 'ip link set lo up && exec "$@"', "bash"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespace without a network can be made here")
    names = [name for name in ("tensorboard", "mlflow", "wandb") if find_spec(name)]
    settings = write_settings(run_with(world, tmp_path, *names), tmp_path / "run.yaml")
    code = (
        "import sys; from fuxi_ens.config import load_config; from fuxi_ens.train.metrics_log import Record\n"
        "with Record(load_config(sys.argv[1]), 0, main=True) as record: record.write('train', 1, {'loss': 1.0})"
    )
    command = [*alone, sys.executable, "-c", code, settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stderr
    written = {path.name for path in (tmp_path / "training").iterdir()}
    assert written == {"metrics.jsonl", *names}
