"""Batches: what is in them, and that reading ahead changes nothing but the time."""

import threading
import time

import numpy as np
import pytest
import torch
from makers import make_analysis, times

from fuxi_ens.data.era5 import open_analysis
from fuxi_ens.data.loader import Batch, load_batch, prefetched
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.times import clock, hours

NAMES = ("z500", "t2m", "sst", "tp")
WHEN = times("2018-12-30", "2019-01-02")


@pytest.fixture
def reader(tmp_path):
    make_analysis(tmp_path / "a.zarr", channels=NAMES, when=WHEN)
    return open_analysis(str(tmp_path / "a.zarr"), NAMES, LatLonGrid(8, 16), hours(6))


def test_a_batch_is_history_targets_and_clocks(reader):
    batch = load_batch(reader, WHEN[[4, 1]], hours(6), 3)
    assert batch.frames_BTCHW.shape == (2, 2, 4, 8, 16)
    assert batch.target_BKCHW.shape == (2, 3, 4, 8, 16)
    assert batch.clock_BK3.shape == (2, 3, 3)
    assert {batch.frames_BTCHW.dtype, batch.target_BKCHW.dtype, batch.clock_BK3.dtype} == {torch.float32}
    np.testing.assert_array_equal(batch.init_time, WHEN[[4, 1]])
    for b, i in enumerate((4, 1)):
        np.testing.assert_array_equal(batch.frames_BTCHW[b].numpy(), reader.read(WHEN[i - 1 : i + 1]))
        np.testing.assert_array_equal(batch.target_BKCHW[b].numpy(), reader.read(WHEN[i + 1 : i + 4]))


def test_the_clock_is_that_of_the_newest_input_frame_of_each_step(reader):
    batch = load_batch(reader, WHEN[[4, 1]], hours(6), 3)
    for b, i in enumerate((4, 1)):
        for k in range(3):
            np.testing.assert_array_equal(batch.clock_BK3[b, k].numpy(), clock(WHEN[i + k : i + k + 1], k)[0])


def test_a_sample_outside_the_store_is_refused(reader):
    for i in (0, -1):
        with pytest.raises(StoreError, match="holds no analysis"):
            load_batch(reader, WHEN[[i]], hours(6), 1)


def test_a_batch_moves_to_a_device_whole(reader):
    batch = load_batch(reader, WHEN[[1]], hours(6), 1)
    moved = batch.to(torch.device("meta"))
    assert {t.device.type for t in (moved.frames_BTCHW, moved.target_BKCHW, moved.clock_BK3)} == {"meta"}
    assert moved.init_time is batch.init_time


def batch_of(i):
    return Batch(torch.tensor(i), torch.tensor(i), torch.tensor(i), np.array([i], "datetime64[ns]"))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
def test_batches_come_in_order_whatever_the_time_they_take(count):
    def load(i):
        time.sleep(0.002 * (5 + count - i))
        return batch_of(i)

    assert [int(b.frames_BTCHW) for b in prefetched(load, range(5, 5 + count))] == list(range(5, 5 + count))


@pytest.mark.parametrize("bad", [0, 1, 4, 9])
def test_an_error_is_raised_at_the_batch_it_belongs_to(bad):
    def load(i):
        if i == bad:
            raise StoreError(f"batch {i}")
        return batch_of(i)

    seen = []
    with pytest.raises(StoreError, match=f"batch {bad}"):
        seen.extend(int(batch.frames_BTCHW) for batch in prefetched(load, range(10)))
    batches = prefetched(load, range(10))
    assert [int(next(batches).frames_BTCHW) for _ in range(bad)] == list(range(bad))


def test_reading_is_ahead_but_not_far():
    loaded = []

    def load(i):
        loaded.append(i)
        return batch_of(i)

    batches = prefetched(load, range(100))
    next(batches)
    time.sleep(0.1)
    assert 2 <= len(loaded) <= 4
    batches.close()


def test_giving_up_early_leaves_no_thread():
    batches = prefetched(batch_of, range(100))
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]
