"""The generator itself, at the smallest size: five days of spin-up and five of product.

Needs the extra `nature-run`; a minute of compiling and integrating.
"""

import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("jcm")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fuxi_ens.nature import ensemble, run
    from fuxi_ens.nature.model import NatureModel, parameters
from fuxi_ens.nature.ensemble_plan import EnsemblePlan
from fuxi_ens.nature.plan import (
    Plan,
    completed_times,
    open_completed,
    state_path,
    states_directory,
    store_path,
)
from fuxi_ens.nature.restart import load_state, save_state

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
PLAN = Plan("1994-01-06", "1994-01-11", 5, (500, 850))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("finished")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = list(run.integrate(directory, PLAN))
    assert [str(t)[:10] for t in times] == ["1994-01-01", "1994-01-06", "1994-01-11"]
    return directory


def test_killed_at_the_worst_moment_the_run_ends_the_same(finished: Path, tmp_path: Path) -> None:
    blocks = run.integrate(tmp_path, PLAN)
    next(blocks), next(blocks)
    blocks.close()
    states = states_directory(tmp_path)
    # The worst moment: half the data of the next block written, its state not yet complete.
    wrong = xr.open_zarr(store_path(tmp_path))[["2m_temperature"]].fillna(-1.0)
    wrong.drop_vars(["longitude", "latitude"]).to_zarr(store_path(tmp_path), region={"time": slice(0, 20)})
    state_path(states, np.datetime64("1994-01-11", "h")).with_suffix(".part").write_bytes(b"half")
    assert len(list(run.integrate(tmp_path, PLAN))) == 2
    xr.testing.assert_identical(open_completed(tmp_path).load(), open_completed(finished).load())
    for time in completed_times(states):
        with (
            np.load(state_path(states, time)) as resumed,
            np.load(state_path(states_directory(finished), time)) as whole,
        ):
            assert resumed.files == whole.files
            assert all(np.array_equal(resumed[n], whole[n], equal_nan=True) for n in whole.files)


def test_fields_are_an_atmosphere(finished: Path) -> None:
    fields = open_completed(finished).load()
    assert not fields.drop_vars("sea_surface_temperature").isnull().any().to_array().any()
    assert 9.7e4 < float(fields["mean_sea_level_pressure"].mean()) < 1.05e5
    assert (fields["geopotential"].sel(level=500) > fields["geopotential"].sel(level=850)).all()
    land = fields["land_sea_mask"] >= 0.5
    assert (fields["sea_surface_temperature"].isnull() == land).all()


def test_states_of_another_model_are_refused(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    save_state(path, {"a": np.zeros(3, np.float32)})
    assert load_state(path, like={"a": np.ones(3, np.float32)})["a"].sum() == 0.0
    with pytest.raises(ValueError, match="does not fit this model"):
        load_state(path, like={"a": np.ones(4, np.float32)})
    with pytest.raises(ValueError, match="unknown arrays"):
        load_state(path, like={})


def test_without_an_earlier_winter_there_is_no_ensemble(finished: Path, tmp_path: Path) -> None:
    plan = EnsemblePlan(finished, (np.datetime64("1994-01-11", "h"),), members=1, windows=20)
    with pytest.raises(ValueError, match="earlier winter"):
        list(ensemble.forecast_all(tmp_path, plan))


def test_imperfect_physics_departs_from_the_same_state_and_stays_an_atmosphere(finished: Path) -> None:
    start = np.datetime64("1994-01-11", "h")
    models = {physics: NatureModel(start, physics) for physics in ("perfect", "imperfect")}
    ends = {}
    for physics, model in models.items():
        state = load_state(state_path(states_directory(finished), start), like=model.rest())
        ends[physics] = np.asarray(model.advance(state, 4)[1]["temperature"])[-1]
    departure = ends["imperfect"] - ends["perfect"]
    assert np.isfinite(departure).all()
    assert 0.01 < np.sqrt(np.mean(departure**2)) < 2.0


def test_only_the_imperfect_physics_has_other_constants() -> None:
    perfect, imperfect = parameters("perfect"), parameters("imperfect")
    assert float(perfect.convection.trcnv) == 6.0
    assert float(imperfect.convection.trcnv) == 9.0
    assert float(imperfect.shortwave_radiation.albcl) == float(perfect.shortwave_radiation.albcl)
