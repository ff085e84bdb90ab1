import json

import numpy as np
import pytest
from makers import (
    CHANNELS,
    TEST,
    TRAIN,
    analysis_dataset,
    make_analysis,
    period_times,
    run_values,
    write_store,
)
from prepare_world import WHEN, frames, run, target
from tiny_run import digest

from fuxi_ens.config import Config
from fuxi_ens.data.preparation import run as prepare_module
from fuxi_ens.data.preparation.plan import make_plan
from fuxi_ens.data.static import static_fields
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.stores import open_store


def test_another_plan_is_refused_with_what_differs(prepared):
    before = digest(target(prepared))
    changes = {"prepare.codec": "blosc-zstd", "prepare.times_per_shard": 8, "prepare.periods": [*TRAIN]}
    with pytest.raises(StoreError) as raised:
        run(prepared, changes)
    for word in (
        "codec: there blosc-lz4, asked blosc-zstd",
        "times_per_shard: there 26, asked 8",
        "times: there 76 from",
        "delete this one",
    ):
        assert word in str(raised.value)
    assert digest(target(prepared)) == before


def test_a_store_that_prepare_did_not_make_is_never_touched(folder):
    make_analysis(target(folder), when=WHEN[:8])
    before = digest(target(folder))
    with pytest.raises(StoreError, match=r"was not made by `fuxi-ens data prepare`; move it away"):
        run(folder)
    assert digest(target(folder)) == before


@pytest.mark.parametrize("store", ["gs://bucket/store.zarr", "asset:nature_run"])
def test_only_a_path_can_be_written(folder, store):
    with pytest.raises(UserError, match="must be a path on a disk"):
        run(folder, {"data.store": store})


def test_source_and_target_must_differ(folder):
    with pytest.raises(UserError, match="name another data.store"):
        run(folder, {"data.store": f"{folder}/source.zarr"})


def test_a_config_without_the_section_is_told_so():
    with pytest.raises(UserError, match="no section prepare"):
        make_plan(Config.model_validate(run_values("nowhere")))


def rewritten(tmp_path, change):
    dataset = change(analysis_dataset(CHANNELS, WHEN))
    write_store(dataset, tmp_path / "source.zarr")


def test_a_missing_value_is_named_with_its_remedy(tmp_path):
    def harm(dataset):
        dataset["specific_humidity"][40, 1, 3, 5] = np.nan
        return dataset

    rewritten(tmp_path, harm)
    with pytest.raises(
        StoreError,
        match=r"q850 \(specific_humidity\) has missing values in 1 of 128 points.*2017-01-01T00:00.*--skip-list",
    ):
        run(tmp_path)


def test_a_missing_value_in_the_first_frame_is_no_question_of_physics(tmp_path):
    def harm(dataset):
        dataset["geopotential"][0] = np.nan
        return dataset

    rewritten(tmp_path, harm)
    with pytest.raises(
        StoreError,
        match=r"z500 \(geopotential\) has missing values in 128 of 128 points.*2016-01-01T00:00.*--skip-list",
    ):
        run(tmp_path)
    assert not target(tmp_path).exists()


def test_sea_temperature_without_any_sea_is_refused(tmp_path):
    def harm(dataset):
        dataset["sea_surface_temperature"][3] = np.nan
        return dataset

    rewritten(tmp_path, harm)
    with pytest.raises(
        StoreError, match=r"sst \(sea_surface_temperature\) has missing values in 128 of 128 points.*2016-01-01T18:00"
    ):
        run(tmp_path)


def test_an_absent_time_is_named(tmp_path):
    rewritten(tmp_path, lambda dataset: dataset.drop_isel(time=[5, 6]))
    with pytest.raises(StoreError, match=r"lacks 2 of 76 times, first 2016-01-02T06:00; it covers 2016-01-01T00:00"):
        run(tmp_path)


def test_a_time_that_occurs_twice_is_named_unless_it_is_not_asked_for(tmp_path):
    rewritten(tmp_path, lambda dataset: dataset.isel(time=[*range(len(WHEN)), 30]))
    with pytest.raises(StoreError, match="holds 2016-02-02T12:00 more than once"):
        run(tmp_path, {"prepare.periods": [*TRAIN]})
    run(tmp_path, {"prepare.periods": [*TEST]})
    np.testing.assert_array_equal(open_store(str(target(tmp_path))).dataset["time"], period_times(TEST))


def test_a_source_in_disorder_is_put_in_order(tmp_path, rng):
    order = rng.permutation(len(WHEN))
    rewritten(tmp_path, lambda dataset: dataset.isel(time=order))
    run(tmp_path)
    make_analysis(tmp_path / "ordered.zarr", when=WHEN)
    np.testing.assert_array_equal(frames(target(tmp_path)), frames(tmp_path / "ordered.zarr"))


def test_times_of_the_skip_list_are_left_out(tmp_path):
    def harm(dataset):
        dataset["2m_temperature"][9] = np.nan
        return dataset

    rewritten(tmp_path, harm)
    skip = {"schema": 1, "store": f"{tmp_path}/source.zarr", "times": [{"time": str(WHEN[9])[:16], "reason": "NaN"}]}
    (tmp_path / "skip.json").write_text(json.dumps(skip))
    run(tmp_path, {"data.skip_list": str(tmp_path / "skip.json")})
    np.testing.assert_array_equal(open_store(str(target(tmp_path))).dataset["time"], np.delete(WHEN, 9))


def test_an_implausible_source_leaves_nothing_behind(folder, monkeypatch):
    seen = {}

    def refuse(frame, channels, grid, when, source):
        seen.update(frame=frame, channels=channels, grid=grid, when=when, source=source)
        raise StoreError("upside down")

    monkeypatch.setattr(prepare_module, "require_plausible", refuse)
    with pytest.raises(StoreError, match="upside down"):
        run(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["source.zarr"]
    np.testing.assert_array_equal(seen["frame"], frames(folder / "source.zarr", when=WHEN[:1])[0])
    assert (seen["channels"], seen["grid"], seen["when"]) == (CHANNELS, LatLonGrid(8, 16), WHEN[0])


def test_static_fields_may_come_from_another_store(tmp_path):
    make_analysis(tmp_path / "source.zarr", when=WHEN, static=False)
    with pytest.raises(StoreError, match=r"lacks the static field.*data.static_store"):
        run(tmp_path)
    make_analysis(tmp_path / "static.zarr", when=WHEN[:1])
    run(tmp_path, {"data.static_store": f"{tmp_path}/static.zarr"})
    np.testing.assert_array_equal(
        static_fields(str(target(tmp_path)), LatLonGrid(8, 16)),
        static_fields(str(tmp_path / "static.zarr"), LatLonGrid(8, 16)),
    )
