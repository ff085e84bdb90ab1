"""Statistics against an independent computation in loops, over training dates only."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
from makers import (
    CHANNELS,
    TEST,
    TRAIN,
    VALIDATION,
    analysis_dataset,
    instant,
    land,
    period_times,
    run_values,
    set_value,
    six_hour_sum,
    times,
    write_store,
)

from fuxi_ens.channels import channel
from fuxi_ens.config import Config, Period
from fuxi_ens.data.statistics import Statistics, compute_statistics, load_statistics
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid

GRID = LatLonGrid(8, 16)
EVERYTHING = period_times([*TRAIN, *VALIDATION, *TEST])


@pytest.fixture
def world(tmp_path):
    """Write the tiny run's analysis after `change`, and give its config."""

    def build(change=lambda dataset: dataset, when=EVERYTHING, changes=(), chunk=100):
        write_store(change(analysis_dataset(when=when)), tmp_path / "analysis.zarr", zarr_format=2, chunk=chunk)
        values = run_values(tmp_path)
        for key, value in dict(changes).items():
            set_value(values, key, value)
        return Config.model_validate(values)

    return build


def standardized_field(name, when):
    variable = channel(name).variable
    values = (six_hour_sum if variable.accumulated else instant)(name, when, GRID) * variable.to_model
    values = np.where(land(GRID), np.nan, values) if name == "sst" else values
    return np.log1p(np.maximum(values, 0)) if name == "tp" else values


def weighted(fields):
    """Mean and standard deviation of [time, latitude, longitude], point by point, without the missing ones."""
    edges = np.sin(np.radians(np.linspace(90, -90, 9)))
    total = count = 0.0
    rows = [(fields[:, j][~np.isnan(fields[:, j])], edges[j] - edges[j + 1]) for j in range(8)]
    for values, area in rows:
        total, count = total + area * values.sum(), count + area * values.size
    mean = total / count
    return mean, np.sqrt(sum(area * ((values - mean) ** 2).sum() for values, area in rows) / count)


def brute_force(name, periods=TRAIN):
    """Mean, std, and std of the increment over std."""
    fields = [standardized_field(name, period_times([period])) for period in periods]
    mean, std = weighted(np.concatenate(fields))
    return mean, std, weighted(np.concatenate([np.diff(field, axis=0) for field in fields]))[1] / std


def assert_brute_force(found, periods=TRAIN, **tolerance):
    for i, name in enumerate(found.channels):
        wanted = brute_force(name, periods)
        got = found.mean[i], found.std[i], found.increment_std[i]
        np.testing.assert_allclose(got, wanted, **{"rtol": 2e-5, "atol": 1e-5, **tolerance}, err_msg=name)


def test_statistics_are_those_of_loops_over_the_training_dates(world):
    found = compute_statistics(world())
    assert found.channels == CHANNELS
    assert found.frames == len(period_times(TRAIN))
    assert_brute_force(found)


def test_no_date_outside_of_training_has_any_influence(world):
    def poison(dataset):
        outside = ~np.isin(dataset["time"].values, period_times(TRAIN))
        for name in dataset.data_vars:
            if "time" in dataset[name].dims:
                dataset[name][outside] = 1e9
        return dataset

    assert_brute_force(compute_statistics(world(poison)))


def test_dates_between_the_training_periods_have_no_influence(world):
    gapless = np.union1d(times("2016-01-01", "2016-02-04T18"), EVERYTHING)

    def poison(dataset):
        between = np.isin(dataset["time"].values, times("2016-01-07", "2016-01-31T18"))
        dataset["2m_temperature"][between] = -1e9
        return dataset

    assert_brute_force(compute_statistics(world(poison, when=gapless)))


def test_increments_do_not_jump_over_a_gap(world):
    found = compute_statistics(world())
    naive = np.diff(standardized_field("t2m", period_times(TRAIN)), axis=0)
    i = CHANNELS.index("t2m")
    assert found.increment_std[i] != pytest.approx(weighted(naive)[1] / found.std[i], rel=1e-4)


def test_orientation_and_hours_between_steps_do_not_matter(world, tmp_path):
    dataset = analysis_dataset(("t2m", "tp"), times("2015-12-31T18", "2016-02-04T18", 1), hourly=True)
    write_store(dataset, tmp_path / "hourly.zarr", ascending=True, longitude_first=True, zarr_format=2, chunk=100)
    values = run_values(tmp_path)
    values["data"]["store"] = str(tmp_path / "hourly.zarr")
    values["model"]["channels"] = values["forecast"]["channels"] = ["t2m", "tp"]
    values["verify"]["channels"] = ["t2m", "tp"]
    values["report"] |= {"map_channels": ["t2m"], "plume_channels": ["t2m"]}
    assert_brute_force(compute_statistics(Config.model_validate(values)), rtol=1e-4)


def test_precipitation_below_zero_counts_as_none(world):
    def negative(dataset):
        dataset["total_precipitation_6hr"][:] = -1e-9
        dataset["total_precipitation_6hr"][:, :, 0] = 1e-3
        return dataset

    found = compute_statistics(world(negative))
    i = CHANNELS.index("tp")
    assert found.mean[i] == pytest.approx(np.log1p(1.0) / 16, rel=1e-5)


def test_a_channel_that_never_varies_is_refused(world):
    def constant(dataset):
        dataset["2m_temperature"][:] = 280.0
        return dataset

    with pytest.raises(StoreError, match="channel t2m never varies"):
        compute_statistics(world(constant, chunk=4))


def test_a_store_that_lacks_a_training_date_is_refused(world):
    lacking = np.setdiff1d(EVERYTHING, times("2016-01-03T06", "2016-01-03T06"))
    with pytest.raises(StoreError, match=r"lacks 1 of 24 times.*2016-01-03T06.*shorten"):
        compute_statistics(world(when=lacking))


def test_a_missing_value_is_refused_as_in_training(world):
    def gap(dataset):
        dataset["2m_temperature"][5, 2] = np.nan
        return dataset

    with pytest.raises(StoreError, match="t2m"):
        compute_statistics(world(gap))


def test_a_training_period_without_an_increment_is_refused(world):
    with pytest.raises(StoreError, match="increment"):
        compute_statistics(world(changes={"data.train": [{"start": "2016-01-01", "end": "2016-01-01"}]}))


STATISTICS = Statistics(
    ("z500", "t2m"), (5.4e4, 288.1), (3e3, 1 / 3), (0.2, 0.7), 40, "store", "2016-01-01T00:00:00..2016-01-02T00:00:00"
)


CONFIG = SimpleNamespace(
    model=SimpleNamespace(channels=("z500", "t2m")),
    data=SimpleNamespace(store="store", train=(Period(start="2016-01-01", end="2016-01-02"),)),
)


def changed(**parts):
    return SimpleNamespace(**{**vars(CONFIG), **parts})


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path):
    STATISTICS.save(tmp_path / "run" / "statistics.json")
    assert load_statistics(tmp_path / "run" / "statistics.json", CONFIG) == STATISTICS


def test_absent_statistics_name_the_command(tmp_path):
    with pytest.raises(StoreError, match=r"no statistics at .*run `fuxi-ens data statistics CONFIG` first"):
        load_statistics(tmp_path / "statistics.json", CONFIG)


@pytest.mark.parametrize(
    ("what", "other"),
    [
        ("channels", changed(model=SimpleNamespace(channels=("z500",)))),
        ("channels", changed(model=SimpleNamespace(channels=("t2m", "z500")))),
        ("data.store", changed(data=SimpleNamespace(store="other", train=CONFIG.data.train))),
        ("data.train", changed(data=SimpleNamespace(store="store", train=CONFIG.data.train * 2))),
    ],
)
def test_statistics_of_another_run_are_refused(tmp_path, what, other):
    STATISTICS.save(tmp_path / "s.json")
    with pytest.raises(StoreError, match=f"was made for {what} .*delete it and run"):
        load_statistics(tmp_path / "s.json", other)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace("mean", "means"),
        lambda text: text.replace('"frames": 40,', ""),
        lambda text: "\xff\xfe",
    ],
)
def test_damaged_statistics_are_refused_with_the_remedy(tmp_path, damage):
    STATISTICS.save(tmp_path / "s.json")
    (tmp_path / "s.json").write_text(damage((tmp_path / "s.json").read_text()), encoding="latin-1")
    with pytest.raises(StoreError, match=r"is damaged.*delete it and run"):
        load_statistics(tmp_path / "s.json", CONFIG)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "null",
        json.dumps({**STATISTICS.__dict__, "mean": [1.0]}),
        json.dumps({**STATISTICS.__dict__, "std": [0.0, float("nan")]}),
        json.dumps({**STATISTICS.__dict__, "mean": ["a", "b"]}),
    ],
)
def test_statistics_that_make_no_sense_are_refused(tmp_path, content):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(StoreError):
        load_statistics(tmp_path / "s.json", CONFIG)


def test_statistics_of_other_dates_do_not_standardize_this_run(world):
    from fuxi_ens.preflight import preflight

    config = world(changes={"data.train": [TRAIN[1]]})
    compute_statistics(config).save(config.run.folder / "statistics.json")
    until_statistics = itertools.takewhile(lambda finding: finding.check != "training memory", preflight(world()))
    with pytest.raises(StoreError, match="statistics"):
        list(until_statistics)
