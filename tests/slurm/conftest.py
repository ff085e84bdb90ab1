import sys
from pathlib import Path

import pytest
from jobs import Jobs
from mini_slurm import MiniSlurm, unavailable
from tiny_run import make_world

# `ranks_world`, which starts ranks without SLURM.
sys.path.append(str(Path(__file__).parents[1] / "train"))


@pytest.fixture(scope="session")
def host():
    """Skips where no SLURM can run."""
    if reason := unavailable():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster(host):
    """A real SLURM of three nodes."""
    with MiniSlurm(nodes=3) as cluster:
        yield cluster


@pytest.fixture
def jobs(cluster):
    """The cluster's jobs; afterwards none is left and all nodes work."""
    jobs = Jobs(cluster)
    yield jobs
    jobs.run("scancel", "--quiet", "--user=root", check=False)
    cluster.repair()


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("slurm_world"))
