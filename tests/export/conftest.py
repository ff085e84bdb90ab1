import pytest
from export_world import CHANNELS, INIT_TIMES, LEADS
from makers import make_ensemble


@pytest.fixture(scope="session")
def ensemble(tmp_path_factory):
    """Path of the store, and what is in it in canonical orientation."""
    path = tmp_path_factory.mktemp("ensemble") / "forecast.zarr"
    data = make_ensemble(path, channels=CHANNELS, init_times=INIT_TIMES, lead_times=LEADS, members=3)
    return str(path), data
