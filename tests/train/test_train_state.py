"""States on disk: they hold what was there when the save began, and only whole ones have a name."""

import hashlib
import json
import os
import re
import threading
import time
from pathlib import Path

import pytest
import torch
from state_world import assert_same, blank, load, make_store, names, save, tidied, values
from torch.distributed.checkpoint import FileSystemWriter

from fuxi_ens.errors import UserError
from fuxi_ens.train.state import Position, SavedState


@pytest.fixture
def held(monkeypatch):
    """Writing waits until this event is set."""
    event = threading.Event()
    write = FileSystemWriter.write_data
    monkeypatch.setattr(FileSystemWriter, "write_data", lambda *given: event.wait(60) and write(*given))
    yield event
    event.set()


def test_what_was_saved_is_found_and_loaded(tmp_path):
    store = make_store(tmp_path)
    counters = {"skipped": 3, "best": 0.25, "note": "x", "none": None}
    store.begin(Position(1, 20), values(5), counters, 0.5)
    store.settle(wait=True)
    saved, found = load(tmp_path)
    assert saved == SavedState(tmp_path / "state_01_00000020", Position(1, 20), counters, 0.5, 1)
    assert_same(found, values(5))


def test_tensors_are_loaded_in_place(tmp_path):
    save(make_store(tmp_path), (0, 1), 1)
    store, given = make_store(tmp_path), blank()
    weight, updates = given["model"]["weight"], given["average"]["updates"]
    store.load(store.newest(), given)
    assert given["model"]["weight"] is weight
    assert given["average"]["updates"] is updates
    assert updates == 1


def test_a_part_of_a_state_can_be_loaded(tmp_path):
    save(make_store(tmp_path), (0, 1), 1)
    store, model = make_store(tmp_path), {"model": blank()["model"]}
    store.load(store.newest(), model)
    assert_same(model, {"model": values(1)["model"]})


@pytest.mark.parametrize("folder", ["absent", "."])
def test_no_state_is_no_error(tmp_path, folder):
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    store = make_store(tmp_path / folder)
    assert store.newest() is None
    assert store.last is None
    assert not store.pending
    assert store.ready()
    store.settle(wait=True)


def test_the_newest_is_the_one_farthest_on(tmp_path):
    """By number: names of the same length are not promised."""
    for position in ((0, 900), (99, 99_999_999), (99, 100_000_000)):
        save(make_store(tmp_path, keep=5), position, 1)
    assert make_store(tmp_path).newest().position == Position(99, 100_000_000)
    save(make_store(tmp_path, keep=5), (100, 0), 1)
    assert make_store(tmp_path).newest().position == Position(100, 0)


def test_what_changes_after_begin_is_not_in_the_file(tmp_path, held):
    store, tensors = make_store(tmp_path), values(1)
    store.begin(Position(0, 1), tensors, {}, None)
    for group in (tensors["model"], tensors["average"], tensors["optimizer"]["state"]):
        for tensor in group.values():
            tensor.fill_(-7)
    tensors["groups"]["lr"] = -7.0
    tensors["groups"]["steps"].append(-7)
    held.set()
    store.settle(wait=True)
    assert_same(load(tmp_path)[1], values(1))


def test_training_goes_on_while_a_state_is_written(tmp_path, held):
    store = make_store(tmp_path)
    store.begin(Position(0, 1), values(1), {}, None)
    assert store.pending
    assert not store.ready()
    assert names(tmp_path) == []
    held.set()
    store.settle(wait=True)
    assert not store.pending
    assert store.last == Position(0, 1)
    assert names(tmp_path) == ["state_00_00000001"]


def test_a_finished_save_is_settled_without_waiting(tmp_path, held):
    store = make_store(tmp_path)
    store.begin(Position(0, 1), values(1), {}, None)
    held.set()
    deadline = time.monotonic() + 30
    while not store.ready() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert store.pending
    assert names(tmp_path) == []
    store.settle(wait=False)
    assert names(tmp_path) == ["state_00_00000001"]


def test_a_save_waits_for_the_one_before(tmp_path):
    store = make_store(tmp_path)
    for i in range(1, 4):
        store.begin(Position(0, i), values(i), {}, None)
    assert names(tmp_path) == ["state_00_00000001", "state_00_00000002"]
    assert_same(load(tmp_path)[1], values(2))
    store.settle(wait=True)
    assert_same(load(tmp_path)[1], values(3))


def test_saves_may_change_in_shape_and_content(tmp_path):
    """The memory of one save is used again by the next."""
    store = make_store(tmp_path)
    save(store, (0, 1), 1, size=1000)
    save(store, (0, 2), 2, size=600)
    assert_same(load(tmp_path, size=600)[1], values(2, 600))
    store.begin(Position(1, 0), {"model": values(3)["model"]}, {}, None)
    store.settle(wait=True)
    model = {"model": blank()["model"]}
    store.load(store.newest(), model)
    assert_same(model, {"model": values(3)["model"]})


def test_the_manifest_lists_every_file_as_it_is(tmp_path):
    save(make_store(tmp_path), (0, 1), 1)
    folder = tmp_path / "state_00_00000001"
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    assert set(files) == {".metadata", "__0_0.distcp"}
    assert manifest["files"] == {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }
    assert manifest["position"] == {"stage": 0, "iteration": 1}
    assert (manifest["schema_version"], manifest["world"], manifest["identity"]) == (1, 1, "these settings")


def test_the_name_comes_after_everything_is_on_disk(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, Path.replace

    def recorded(descriptor):
        order.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", recorded)
    monkeypatch.setattr("pathlib.Path.replace", lambda self, to: (order.append(("name", self, to)), replace(self, to)))
    save(make_store(tmp_path), (0, 1), 1)
    partial, folder = tmp_path / ".state_00_00000001.partial", tmp_path / "state_00_00000001"
    named = order.index(("name", partial, folder))
    before = {
        re.sub(r"^\.manifest\.json\..*", "manifest.json", entry.name)
        for entry in order[:named]
        if isinstance(entry, Path)
    }
    assert before >= {"__0_0.distcp", ".metadata.tmp", "manifest.json", partial.name}
    assert [entry for entry in order[:named] if isinstance(entry, Path)][-1] == partial
    assert order[named + 1 :] == [tmp_path]


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        pytest.param([None, None, None, None], [3, 4], id="no scores"),
        pytest.param([0.2, 0.1, 0.3, 0.4], [2, 3, 4], id="the best is older"),
        pytest.param([0.2, 0.3, 0.1, None], [3, 4], id="the best is among the newest"),
        pytest.param([float("nan"), 0.3, 0.4, float("nan")], [2, 3, 4], id="no number is no score"),
    ],
)
def test_the_newest_and_the_best_are_kept(tmp_path, scores, kept):
    store = make_store(tmp_path, keep=2)
    for i, score in enumerate(scores, 1):
        save(store, (0, i), i, score)
    assert names(tmp_path) == [f"state_00_{i:08d}" for i in kept]
    assert tidied(tmp_path)
    assert_same(load(tmp_path)[1], values(4))


def test_the_best_of_a_stage_is_kept_until_the_next_has_a_score(tmp_path):
    store = make_store(tmp_path, keep=1)
    for position, score in (((0, 1), 0.1), ((0, 2), 0.2), ((1, 0), None), ((1, 1), None)):
        save(store, position, 1, score)
    assert names(tmp_path) == ["state_00_00000001", "state_01_00000001"]
    save(store, (1, 2), 1, 0.9)
    assert names(tmp_path) == ["state_01_00000002"]


def test_the_best_is_found(tmp_path):
    store = make_store(tmp_path, keep=9)
    assert store.best() is None
    for i, score in enumerate((None, float("nan"), 0.2, 0.1, 0.1, None), 1):
        assert (store.best() is None) == (i < 4)
        save(store, (0, i), i, score)
    best = make_store(tmp_path).best()
    assert (best.position, best.score) == (Position(0, 4), 0.1)
    found = blank()
    store.load(best, found)
    assert_same(found, values(4))
    save(store, (1, 1), 7, 0.5)
    assert store.best().position == Position(1, 1)


def test_a_resumed_run_knows_the_best(tmp_path):
    save(make_store(tmp_path, keep=1), (0, 1), 1, 0.1)
    for i in (2, 3):
        save(make_store(tmp_path, keep=1), (0, i), i, 0.2)
    assert names(tmp_path) == ["state_00_00000001", "state_00_00000003"]


def test_a_state_of_other_settings_is_refused(tmp_path):
    save(make_store(tmp_path), (0, 1), 1)
    with pytest.raises(UserError, match=r"holds the state of a run with other settings; resume with the same config"):
        make_store(tmp_path, identity="others").newest()


def test_a_state_of_another_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fuxi_ens.train.state.manifest._SCHEMA_VERSION", 2)
    save(make_store(tmp_path), (0, 1), 1)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"another version of fuxi_ens \(schema 2, this one has 1\)"):
        make_store(tmp_path).newest()


def test_the_same_position_can_be_saved_again(tmp_path):
    store = make_store(tmp_path)
    save(store, (0, 1), 1)
    save(store, (0, 1), 2)
    save(store, (0, 2), 3)
    assert names(tmp_path) == ["state_00_00000001", "state_00_00000002"]
    (tmp_path / "state_00_00000002" / "manifest.json").unlink()
    assert_same(load(tmp_path)[1], values(2))


def test_what_a_state_lacks_is_named(tmp_path):
    save(make_store(tmp_path), (0, 1), 1)
    store = make_store(tmp_path)
    with pytest.raises(UserError, match=r"state_00_00000001 does not fit.*model\.bias.*resume with the version"):
        store.load(store.newest(), {"model": {"bias": torch.zeros(3)}})


class Surprise:
    """Anything but plain data."""


def test_more_than_plain_data_is_not_unpickled(tmp_path):
    store = make_store(tmp_path)
    store.begin(Position(0, 1), {"x": Surprise()}, {}, None)
    store.settle(wait=True)
    with pytest.raises(UserError, match="weights_only"):
        store.load(store.newest(), {"x": 1})
