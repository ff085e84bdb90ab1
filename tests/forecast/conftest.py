import pytest
import torch
from tiny_run import make_world


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(2025)


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("forecast_world"))
