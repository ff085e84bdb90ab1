"""The cluster that the other tests use: several machines to look at, and nothing left when it ends."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jobs import PATIENCE, Jobs, until
from mini_slurm import FREEZER, MiniSlurm, remove_groups

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

ORPHAN = "setsid sleep 86399 & disown; srun --nodes=1 --ntasks=1 sleep 86399"


def processes(words):
    """Living processes of this host that have `words` on their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path.parent.name] if words in path.read_text().replace("\0", " ") else []
        except OSError:
            continue
    return found


def traces(cluster_folder, nodes):
    """What is left of a cluster: its processes, those of its jobs, control groups, mounts, files."""
    groups = [str(FREEZER / f"slurm_{node}") for node in nodes if (FREEZER / f"slurm_{node}").exists()]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(cluster_folder) in line]
    files = [cluster_folder] if cluster_folder.exists() else []
    return [*processes(str(cluster_folder)), *processes("sleep 86399"), *groups, *mounts, *files]


def test_nodes_are_machines_with_names_and_addresses_of_their_own(cluster, jobs):
    seen = jobs.run("srun", "--nodes=3", "bash", "-c", 'echo "$(hostname) $(hostname -i)"').splitlines()
    assert sorted(seen) == [f"{node} 127.0.1.{i}" for i, node in enumerate(cluster.nodes, 1)]


def test_an_ended_cluster_leaves_nothing_behind(host):
    with MiniSlurm(nodes=1) as cluster:
        Jobs(cluster).run("sbatch", f"--output={cluster.folder}/out", f"--wrap={ORPHAN}")
        until(lambda: len(processes("sleep 86399")) >= 2, PATIENCE, "the job does not start")
        assert traces(cluster.folder, cluster.nodes)
    assert not traces(cluster.folder, cluster.nodes)


def test_a_killed_test_run_leaves_no_process_behind(host):
    code = "from mini_slurm import *\nwith MiniSlurm(nodes=1) as c:\n print(c.folder, *c.nodes, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    folder, node = process.stdout.readline().split()
    assert processes(folder)
    process.kill()
    process.communicate()
    until(lambda: not processes(folder), 60, lambda: processes(folder))
    shutil.rmtree(folder)
    remove_groups(FREEZER / f"slurm_{node}")
