"""The skip list: what is written is read, and nothing that is damaged or of another store passes for one."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers import times

from fuxi_ens.data.skip import entries, load_skip_list, same_store, write_skip_list
from fuxi_ens.errors import StoreError

WHEN = times("2018-01-01", "2018-01-03")


def test_what_is_written_is_read(tmp_path):
    reasons = {WHEN[4]: "missing: t2m", WHEN[1]: "fill"}
    write_skip_list(tmp_path / "skip.json", "era5.zarr", reasons)
    np.testing.assert_array_equal(load_skip_list(tmp_path / "skip.json", "era5.zarr"), WHEN[[1, 4]])
    content = json.loads((tmp_path / "skip.json").read_text())
    assert content["schema"] == 1
    assert content["times"] == [
        {"time": "2018-01-01T06:00", "reason": "fill"},
        {"time": "2018-01-02T00:00", "reason": "missing: t2m"},
    ]


@given(st.dictionaries(st.integers(0, 400), st.sampled_from(["a", "b"])), st.sampled_from([1, 3, 6]))
def test_runs_of_neighbors_lose_no_time(tmp_path_factory, chosen, step):
    path = tmp_path_factory.mktemp("skip") / "skip.json"
    reasons = {np.datetime64("2018-01-01", "ns") + np.timedelta64(step * i, "h"): why for i, why in chosen.items()}
    write_skip_list(path, "s.zarr", reasons)
    np.testing.assert_array_equal(load_skip_list(path, "s.zarr"), np.array(sorted(reasons), "datetime64[ns]"))


def test_decades_are_one_entry():
    hourly = times("1900-01-01", "1939-12-31T23", 1)
    assert entries(dict.fromkeys(hourly, "no data")) == [
        {"time": "1900-01-01T00:00", "until": "1939-12-31T23:00", "step_hours": 1.0, "reason": "no data"}
    ]


def test_an_empty_list_skips_nothing(tmp_path):
    write_skip_list(tmp_path / "skip.json", "s.zarr", {})
    assert load_skip_list(tmp_path / "skip.json", "s.zarr").dtype == np.dtype("datetime64[ns]")
    assert len(load_skip_list(tmp_path / "skip.json", "s.zarr")) == 0


def test_the_folder_is_made_and_nothing_else_is_left(tmp_path):
    write_skip_list(tmp_path / "a" / "skip.json", "s.zarr", {WHEN[0]: "x"})
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["skip.json"]


def test_the_list_of_another_store_is_refused(tmp_path):
    write_skip_list(tmp_path / "skip.json", "gs://bucket/era5.zarr", {WHEN[0]: "x"})
    with pytest.raises(StoreError, match=r"is of gs://bucket/era5\.zarr, not of other\.zarr"):
        load_skip_list(tmp_path / "skip.json", "other.zarr")


def test_the_list_of_the_source_holds_for_what_was_made_of_it(tmp_path):
    write_skip_list(tmp_path / "skip.json", "gs://bucket/era5.zarr", {WHEN[0]: "x"})
    np.testing.assert_array_equal(
        load_skip_list(tmp_path / "skip.json", "training.zarr", "gs://bucket/era5.zarr"), WHEN[:1]
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"schema": 2, "store": "s.zarr", "times": []}',
        b'{"schema": 1, "store": "s.zarr"}',
        b'{"schema": 1, "store": "s.zarr", "times": [{"reason": "x"}]}',
        b'{"schema": 1, "store": "s.zarr", "times": [{"time": "soon", "reason": "x"}]}',
        b'{"schema": 1, "store": "s.zarr", "times": [{"time": "NaT", "reason": "x"}]}',
        b'{"schema": 1, "store": "s.zarr", "times": ["2018-01-01"]}',
        b'{"schema": 1, "store": "s.zarr", "times": [{"time": "2018-01-02", "until": "2018-01-01"}]}',
        b'{"schema": 1, "store": "s.zarr", "times": [{"time": "2018-01-01", "step_hours": 0}]}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_list_is_refused_with_the_remedy(tmp_path, content):
    path = tmp_path / "skip.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"{re.escape(str(path))}.*data audit s.zarr --skip-list"):
        load_skip_list(path, "s.zarr")


def test_an_absent_list_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"cannot read the skip list .*nowhere\.json"):
        load_skip_list(tmp_path / "nowhere.json", "s.zarr")


def test_one_store_may_be_written_in_several_ways(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert same_store("era5.zarr", f"{tmp_path}/era5.zarr/")
    assert same_store("gs://b/era5.zarr/", "gs://b/era5.zarr")
    assert same_store("asset:x.zarr", "asset:x.zarr")
    assert not same_store("gs://b/era5.zarr", "s3://b/era5.zarr")
    assert not same_store("era5.zarr", "era6.zarr")


def test_no_password_is_written(tmp_path):
    write_skip_list(tmp_path / "skip.json", "https://user:secret@host/era5.zarr", {})
    assert "secret" not in (tmp_path / "skip.json").read_text()
    assert len(load_skip_list(tmp_path / "skip.json", "https://user:secret@host/era5.zarr")) == 0
