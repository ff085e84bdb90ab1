"""What every test may use; `makers` is importable from all test folders because this file lies beside it."""

import os

# Before anything imports torch: tests share the machine, and one thread gives the same bits everywhere.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("fuxi_ens", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("fuxi_ens")


@pytest.fixture
def rng():
    return np.random.default_rng(2025)
