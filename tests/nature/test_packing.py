"""Rounding, packing and writing on synthetic fields."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fuxi_ens.nature import layout, packing, sample


def synthetic_run(days: int = 12) -> xr.Dataset:
    """A run of noise around plausible means, with sea surface temperature missing over land."""
    rng = np.random.default_rng(7)
    times = np.arange("1995-01-01", "1996-01-01", 6, dtype="datetime64[h]")[: 4 * days]
    coordinates = {"time": times.astype("datetime64[ns]")} | layout.grid_coordinates((250, 500, 850))
    shape = {"time": len(times), "level": 3, "longitude": 64, "latitude": 32}
    means = {"geopotential": 5e4, "temperature": 270.0, "2m_temperature": 285.0, "mean_sea_level_pressure": 1e5}
    data = {}
    for name in (*layout.UPPER_AIR, *layout.SURFACE, layout.SEA_SURFACE, *layout.STATIC):
        dims = layout.dimensions(name, ("time",))
        noise = rng.standard_normal([shape[d] for d in dims]).astype(np.float32)
        scale = 1e-3 if name in packing.NON_NEGATIVE else 5.0
        values = means.get(name, 0.0) + scale * noise
        data[name] = (dims, np.maximum(values, 0.0) if name in packing.NON_NEGATIVE else values)
    run = layout.with_attributes(xr.Dataset(data, coords=coordinates))
    run["land_sea_mask"] = run["land_sea_mask"] * 0.0 + (run["longitude"] < 90.0)
    sea = 290.0 + run[layout.SEA_SURFACE]
    run[layout.SEA_SURFACE] = sea.where(run["land_sea_mask"] < 0.5).transpose(*sea.dims)
    return run


def test_quanta_stay_within_the_error_and_share_a_scale() -> None:
    errors = xr.DataArray([0.3, 0.7, 1.19, 5.0], dims="lead")
    quanta = packing.quanta(errors)
    assert (quanta <= 2 * errors).all()
    assert set((quanta / quanta.min()).values.tolist()) == {1.0, 2.0, 4.0, 16.0}
    # Six bits: a multiple up to 2**15 is exact in float32.
    values = np.arange(2**15) * float(quanta.min())
    assert (values.astype(np.float32) == values).all()


@pytest.mark.parametrize("error", [0.0, -1.0, np.nan])
def test_an_error_must_be_positive(error: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        packing.quanta(xr.DataArray(error))


def test_range_beyond_16_bits_is_refused() -> None:
    wide = xr.DataArray([0.0, 1e6], dims="time", name="geopotential")
    with pytest.raises(ValueError, match="more than 16 bits"):
        packing.encoding(wide, 1.0, sample.SAMPLE_CUT)


def test_sample_round_trip(tmp_path: Path) -> None:
    run = synthetic_run()
    spans = [sample.Span("1995-01-01T00", "1995-01-04T18"), sample.Span("1995-01-08T00", "1995-01-10T00")]
    cut = sample.cut_sample(run, spans)
    assert cut.sizes["time"] == 16 + 9
    assert cut["level"].values.tolist() == [500, 850]
    errors = sample.sample_errors(cut)
    sample.write_packed(cut, errors, sample.SAMPLE_CUT, tmp_path / "sample.zarr")
    found = xr.open_zarr(tmp_path / "sample.zarr").load()
    assert list(found["geopotential"].dims) == ["time", "level", "longitude", "latitude"]
    for name, error in errors.items():
        difference = np.abs(found[name] - cut[name])
        assert (difference <= error * (1 + 1e-6)).where(difference.notnull(), True).all(), name
        assert (found[name].isnull() == cut[name].isnull()).all(), name
        assert found[name].attrs["units"] == layout.ATTRIBUTES[name]["units"]
    assert found["total_precipitation_6hr"].min() == 0.0
    assert found[layout.SEA_SURFACE].isnull().any()


def test_gaps_in_the_run_are_refused() -> None:
    run = synthetic_run().drop_isel(time=5)
    with pytest.raises(ValueError, match="the sample needs"):
        sample.cut_sample(run, [sample.Span("1995-01-01T00", "1995-01-03T00")])


def test_existing_stores_are_not_overwritten(tmp_path: Path) -> None:
    cut = sample.cut_sample(synthetic_run(3), [sample.Span("1995-01-01T00", "1995-01-02T00")])
    (tmp_path / "sample.zarr").mkdir()
    with pytest.raises(ValueError, match="exists"):
        sample.write_packed(cut, {}, sample.SAMPLE_CUT, tmp_path / "sample.zarr")


def test_baseline_error_is_a_fraction_of_the_spread_of_its_lead(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    leads = np.array([1, 2, 3], "timedelta64[D]").astype("timedelta64[ns]")
    coordinates = {
        "time": np.array(["1997-01-02"], "datetime64[ns]"),
        "number": np.arange(1, 9, dtype=np.int32),
        "prediction_timedelta": leads,
    } | layout.grid_coordinates((500, 850))
    growth = np.array([1.0, 2.5, 4.5])
    data = {}
    for name in ("geopotential", "temperature", *layout.SURFACE):
        level = (2,) if name in layout.UPPER_AIR else ()
        noise = np.abs(rng.standard_normal((1, 8, 3, *level, 64, 32)))
        wide = growth.reshape((3,) + (1,) * (2 + len(level)))
        data[name] = (layout.dimensions(name, ("time", "number", "prediction_timedelta")), noise * wide)
    ensemble = layout.with_attributes(xr.Dataset(data, coords=coordinates))
    baseline = sample.cut_baseline(ensemble, coordinates["time"], leads)
    sample.write_packed(baseline, sample.baseline_errors(baseline), sample.BASELINE_CUT, tmp_path / "b.zarr")
    found = xr.open_zarr(tmp_path / "b.zarr").load()
    assert found["prediction_timedelta"].dtype.kind == "m"
    assert found["geopotential"].sel(level=850).isnull().all()
    assert found["temperature"].sel(level=500).isnull().all()
    spread = sample.baseline_scales(baseline)["geopotential"]
    error = np.abs(found["geopotential"] - baseline["geopotential"])
    largest = error.max(["time", "number", "level", "longitude", "latitude"])
    assert (largest <= sample.SPREAD_FRACTION * spread * (1 + 1e-6)).all()
