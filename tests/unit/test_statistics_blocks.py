"""The statistics pass in pieces: blocks, their order, interruption, the skip list, precision."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers import (
    CHANNELS,
    TEST,
    TRAIN,
    VALIDATION,
    analysis_dataset,
    period_times,
    run_values,
    set_value,
    times,
    write_store,
)

from fuxi_ens.config import Config
from fuxi_ens.data import statistics, statistics_block
from fuxi_ens.data.moments import Accumulator, Moments
from fuxi_ens.data.statistics import compute_statistics, forget_sums
from fuxi_ens.errors import StoreError
from fuxi_ens.paths import RunPaths

EVERYTHING = period_times([*TRAIN, *VALIDATION, *TEST])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("blocks") / "analysis.zarr"
    return write_store(analysis_dataset(when=EVERYTHING), path, zarr_format=2, chunk=100)


@pytest.fixture
def world(tmp_path, store):
    def build(**changes):
        values = run_values(tmp_path)
        values["data"]["store"] = store
        for key, value in changes.items():
            set_value(values, key.replace("__", "."), value)
        return Config.model_validate(values)

    return build


@pytest.fixture
def small_blocks(monkeypatch):
    """Seven frames per block, three per read: 40 training frames make 6 blocks, one across the gap of the periods."""
    monkeypatch.setattr(statistics_block, "_LEAST_FRAMES", 7)
    monkeypatch.setattr(statistics_block, "_BATCH_BYTES", 3 * 4 * len(CHANNELS) * 8 * 16)


def numbers(found):
    return np.array([found.mean, found.std, found.increment_std])


def test_blocks_change_nothing_but_rounding(world, monkeypatch, tmp_path):
    whole = compute_statistics(world())
    monkeypatch.setattr(statistics_block, "_LEAST_FRAMES", 7)
    monkeypatch.setattr(statistics_block, "_BATCH_BYTES", 1)
    cut = compute_statistics(world(run__folder=str(tmp_path / "cut")))
    assert cut.frames == whole.frames == len(period_times(TRAIN))
    # A lost or doubled increment at one of the seams would change the third row by percents.
    np.testing.assert_allclose(numbers(cut), numbers(whole), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [7, 8])
def test_every_training_time_is_in_one_block_and_no_increment_bridges_the_gap(world, monkeypatch, size):
    # With 8 the gap between the periods falls between two blocks, with 7 into one.
    monkeypatch.setattr(statistics_block, "_LEAST_FRAMES", size)
    monkeypatch.setattr(statistics_block, "_BATCH_BYTES", 1)
    config = world()
    used = period_times(TRAIN)
    plan = statistics_block.blocks(used, config.data.step_size, CHANNELS, config.model.grid)
    assert len(plan) > 4
    np.testing.assert_array_equal(np.concatenate([block.times for block in plan]), used)
    for block in plan:
        assert block.before.size == 0 or block.times[0] - block.before[0] == config.data.step_size
        assert block.before.size == (block.times[0] - config.data.step_size in used)


def test_workers_do_not_change_a_single_bit(world, small_blocks, tmp_path):
    one, three = (compute_statistics(world(run__folder=str(tmp_path / f"{n}"), run__threads=n)) for n in (1, 3))
    assert (one.mean, one.std, one.increment_std) == (three.mean, three.std, three.increment_std)


@pytest.mark.slow
def test_processes_give_the_bits_of_threads(world, small_blocks, tmp_path):
    threads = compute_statistics(world(run__folder=str(tmp_path / "threads")))
    processes = compute_statistics(
        world(run__folder=str(tmp_path / "processes"), dask={"cluster": "processes", "workers": 2})
    )
    assert (numbers(threads) == numbers(processes)).all()


def test_a_killed_pass_goes_on_where_it_was_with_equal_bits(world, small_blocks, tmp_path, monkeypatch):
    whole = compute_statistics(world(run__folder=str(tmp_path / "whole")))
    config, written = world(), []

    def killed(path, content, write=statistics.write_atomic):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(statistics, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            compute_statistics(config)
    stamps = {path: path.stat().st_mtime_ns for path in written}
    resumed = compute_statistics(config)
    assert (numbers(resumed) == numbers(whole)).all()
    assert {path: path.stat().st_mtime_ns for path in written} == stamps
    forget_sums(config)
    assert not RunPaths(config.run.folder).statistics_sums.exists()


def test_sums_of_other_times_are_not_taken_over(world, small_blocks):
    compute_statistics(world(data__train=[{"start": "2016-01-01", "end": "2016-01-04T18:00"}]))
    config = world(data__train=[TRAIN[1]])
    found = compute_statistics(config)
    forget_sums(config)
    assert found.frames == len(period_times([TRAIN[1]])) == 16
    assert (numbers(found) == numbers(compute_statistics(config))).all()


def test_damaged_sums_are_refused_with_the_remedy(world, small_blocks):
    config = world()
    compute_statistics(config)
    next(RunPaths(config.run.folder).statistics_sums.rglob("00002.json")).write_text('{"frames": 7')
    with pytest.raises(StoreError, match=r"00002.json is damaged.*delete it"):
        compute_statistics(config)


def test_times_of_the_skip_list_count_neither_themselves_nor_in_increments(world, store, tmp_path):
    skipped = times("2016-01-02", "2016-01-02T12")
    entries = [{"time": str(time.astype("datetime64[m]")), "reason": "test"} for time in skipped]
    (tmp_path / "skip.json").write_text(json.dumps({"schema": 1, "store": store, "times": entries}))
    with_list = compute_statistics(world(data__skip_list=str(tmp_path / "skip.json")))
    around = [
        {"start": "2016-01-01", "end": "2016-01-01T18:00"},
        {"start": "2016-01-02T18:00", "end": "2016-01-06T18:00"},
        TRAIN[1],
    ]
    without_them = compute_statistics(world(data__train=around, run__folder=str(tmp_path / "around")))
    assert with_list.frames == without_them.frames == len(period_times(TRAIN)) - 3
    assert (numbers(with_list) == numbers(without_them)).all()


def test_statistics_say_how_they_came_to_be(world, tmp_path):
    compute_statistics(world()).save(tmp_path / "s.json")
    written = json.loads((tmp_path / "s.json").read_text())["provenance"]
    assert {"fuxi_ens_version", "config_hash", "seed", "analysis_store", "libraries"} <= set(written)


def test_a_small_spread_on_a_large_mean_keeps_its_digits(rng):
    # float32 geopotential: E[x**2] - E[x]**2 in float64 of unshifted sums would keep four digits of this variance.
    frames = (3e8 + 32.0 * rng.integers(-3, 4, (20, 1, 5, 9))).astype(np.float32)
    weights = np.linspace(0.5, 1.5, 5)
    halves = []
    for part in (frames[:9], frames[9:]):
        total = Accumulator(weights, [False])
        for frame in part:
            total.add(frame, None)
        halves.append(total.result())
    merged = halves[0].merge(halves[1]).fields
    exact = frames[:, 0].astype(np.float64)
    w = np.broadcast_to(weights[:, None], exact.shape)
    mean = np.average(exact - 3e8, weights=w)
    assert merged.mean[0] - 3e8 == pytest.approx(mean, rel=1e-6)
    assert merged.std[0] == pytest.approx(np.sqrt(np.average((exact - 3e8 - mean) ** 2, weights=w)), rel=1e-9)


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9), min_size=1, max_size=6))
def test_merged_moments_are_those_of_all_values(parts):
    def of(values):
        values = np.array(values)
        return Moments(
            np.array([float(len(values))]), np.array([values.mean()]), np.array([((values - values.mean()) ** 2).sum()])
        )

    total = Moments.none(1)
    for part in parts:
        total = total.merge(of(part))
    everything = np.concatenate([np.array(part) for part in parts])
    assert total.weight[0] == len(everything)
    assert total.mean[0] == pytest.approx(everything.mean(), abs=1e-9)
    assert total.std[0] == pytest.approx(everything.std(), abs=1e-6)
