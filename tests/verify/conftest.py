import importlib

import numpy as np
import pytest
from verify_world import World, hours, make_analysis, make_forecast


@pytest.fixture
def rng():
    return np.random.default_rng(2025)


@pytest.fixture
def world(rng, tmp_path):
    return World(
        tmp_path,
        make_analysis(rng),
        make_forecast(rng, 4, hours(6, 12, 18, 24)),
        make_forecast(rng, 3, hours(12, 24)),
    ).save()


@pytest.fixture(scope="session")
def xskillscore():
    return importlib.import_module("xskillscore")


@pytest.fixture(scope="session")
def probability():
    """`scores.probability`, imported for those who ask: it takes seconds and bears the name of our module."""
    return importlib.import_module("scores.probability")


@pytest.fixture(scope="session")
def continuous():
    """`scores.continuous`."""
    return importlib.import_module("scores.continuous")
