import errno
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
import zarr
from makers import TEST, period_times
from prepare_world import (
    SHARDS,
    WHEN,
    assert_same_store,
    frames,
    run,
    target,
    values,
    written_at,
)
from servers import serve

from fuxi_ens.config import Config
from fuxi_ens.data.preparation.plan import make_plan
from fuxi_ens.data.preparation.store import TrainingStore
from fuxi_ens.errors import StoreError
from fuxi_ens.stores import open_store


def fail_at(monkeypatch, nth):
    """The disk fills up while the nth shard is written, after half of it."""
    put, calls = zarr.storage._local._put, []

    def full(path, value, **options):
        if "/c/" in str(path):
            calls.append(path)
        if len(calls) == nth and "/c/" in str(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value.to_bytes()[: len(value) // 2])
            path.with_suffix(".0123.partial").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return put(path, value, **options)

    monkeypatch.setattr("zarr.storage._local._put", full)


def test_a_full_disk_is_reported_and_the_next_run_goes_on(folder, prepared, monkeypatch):
    with monkeypatch.context() as patch:
        # The shards come after the chunks of coordinates and static fields.
        fail_at(patch, 16)
        with pytest.raises(OSError, match="No space left") as raised:
            run(folder)
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(StoreError, match="prepare"):
        open_store(str(target(folder)))
    noted = (target(folder) / ".prepare/journal.jsonl").read_bytes().splitlines()
    kept = {target(folder) / json.loads(line)["path"] for line in noted}
    before = {path: at for path, at in written_at(folder).items() if path in kept}
    assert len(before) >= 8
    assert run(folder) == SHARDS - len(before)
    assert {path: written_at(folder)[path] for path in before} == before
    assert_same_store(folder, prepared)


def test_a_server_that_fails_every_third_request_costs_only_time(source, prepared, tmp_path):
    with serve(source, fail_every=3) as (address, seen):
        run(tmp_path, {"prepare.source": f"{address}/source.zarr", "prepare.periods": [*TEST]})
    assert seen.failed > 10
    when = period_times(TEST)
    np.testing.assert_array_equal(frames(target(tmp_path), when=when), frames(target(prepared), when=when))


def test_a_finished_store_is_left_alone(folder):
    run(folder)
    before = {path: path.stat().st_mtime_ns for path in target(folder).rglob("*")}
    assert run(folder) == 0
    assert {path: path.stat().st_mtime_ns for path in target(folder).rglob("*")} == before


@pytest.mark.parametrize("harm", ["truncate", "delete"])
def test_a_finished_store_that_was_harmed_is_mended(folder, prepared, harm):
    run(folder)
    file = target(folder) / "geopotential/c/2/0/0/0"
    if harm == "delete":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    assert run(folder) == 1
    assert_same_store(folder, prepared)


def test_a_journal_that_a_kill_cut_short_costs_one_shard(folder, prepared, monkeypatch):
    with monkeypatch.context() as patch:
        fail_at(patch, 20)
        with pytest.raises(OSError, match="No space left"):
            run(folder)
    journal = target(folder) / ".prepare/journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines)[:-20])
    assert run(folder) == SHARDS - len(lines) + 1
    assert_same_store(folder, prepared)


@pytest.mark.parametrize("harm", [b"{", b'{"shards": [{"file": 1}]}'])
def test_a_damaged_manifest_is_refused_with_its_remedy(folder, harm):
    run(folder)
    (target(folder) / "manifest.json").write_bytes(harm)
    with pytest.raises(StoreError, match=r"manifest.json is damaged.*delete it"):
        run(folder)


@pytest.mark.slow
def test_workers_and_their_kind_do_not_change_a_byte(folder, prepared):
    dask = {"cluster": "processes", "workers": 2, "memory": "1GiB"}
    run(folder, {"dask": dask})
    assert_same_store(folder, prepared)


def test_a_second_run_at_the_same_time_is_refused(folder):
    config = Config.model_validate(values(folder))
    plan = make_plan(config)
    run(folder)
    (target(folder) / "geopotential/c/2/0/0/0").unlink()
    with TrainingStore(plan).writing(), pytest.raises(StoreError, match="another `fuxi-ens data prepare` is writing"):
        run(folder)


@pytest.mark.slow
def test_kills_at_any_moment_cost_only_what_was_not_finished(source, tmp_path, rng):
    """kill -9 at random points, then the same command again: the bytes of an uninterrupted run, nothing done twice."""
    reference, folder = tmp_path / "reference", tmp_path / "killed"
    for place in (reference, folder):
        place.mkdir()
        (place / "source.zarr").symlink_to(source / "source.zarr")
        settings = values(place, {"prepare.times_per_shard": 1})
        (place / "run.yaml").write_text(yaml.safe_dump(settings))
    subprocess.run(command(reference), check=True)
    kept, kills = {}, 0
    while (process := subprocess.Popen(command(folder))).poll() is None and kills < 6:
        # The first kill may come before there is a store, later ones fall among the shards.
        while kills and process.poll() is None and not grown(folder, len(kept)):
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.4) if kills else 2.0)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        at = written_at(folder) if target(folder).exists() else {}
        assert {path: at[path] for path in kept} == kept
        kept = {path: at[path] for path in noted(folder)}
    process.wait()
    assert kills >= 3
    subprocess.run(command(folder), check=True)
    assert {path: written_at(folder)[path] for path in kept} == kept
    assert 0 < len(kept) < 9 * len(WHEN)
    assert_same_store(folder, reference)


def command(folder):
    return [sys.executable, "-m", "pipelines", "-q", "data", "prepare", str(folder / "run.yaml")]


def noted(folder):
    journal = target(folder) / ".prepare/journal.jsonl"
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    return [target(folder) / json.loads(line)["path"] for line in lines]


def grown(folder, count):
    return len(noted(folder)) > count
