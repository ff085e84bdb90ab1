"""Training on a real SLURM through `fuxi-ens submit`: whatever befalls a job, its weights are those of a quiet run."""

import os
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from jobs import PATIENCE, until
from ranks_world import fit_on_ranks
from submitting import iteration, records, submit, write_site
from tiny_run import digest, new_run

from fuxi_ens.paths import RunPaths
from fuxi_ens.train.loop import fit

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

L1 = {"name": "deterministic", "objective": "l1", "iterations": 40, "learning_rate": 1e-3}
CRPS = {"name": "ensemble", "objective": "crps_kl", "iterations": 120, "learning_rate": 1e-3, "members": 2}
EVERY = {"train.checkpoint_every": 10, "train.log_every": 5, "train.validate_every": 1000, "train.trackers": []}


def settings(batch_size=1, **changes):
    """Changes to the tiny run; all iterations train on two init times, one per rank or two at once."""
    stages = [{**stage, "batch_size": batch_size} for stage in (L1, CRPS)]
    return {"train.stages": stages, "data.in_memory": True, **EVERY, **changes}


WAYS = {way: settings(**{"train.parallel": way}) for way in ("ddp", "fsdp")}


@pytest.fixture(scope="module")
def quiet(world, tmp_path_factory):
    """Runs of two ranks outside SLURM that nobody disturbed, by how they are parallel."""
    configs = {way: new_run(world, tmp_path_factory.mktemp(way), changes) for way, changes in WAYS.items()}
    fit_on_ranks(2, configs.values())
    return configs


@pytest.fixture(scope="module")
def alone(world, tmp_path_factory):
    """A run of a single process with the same global batch."""
    config = new_run(world, tmp_path_factory.mktemp("alone"), settings(batch_size=2))
    fit(config)
    return config


@pytest.fixture
def site(tmp_path):
    return write_site(tmp_path)


def weights(config):
    return digest(RunPaths(config.run.folder).model, "*.safetensors")


def losses(config):
    return torch.tensor([r["loss"] for r in records(config)])


def assert_same_bits(config, quiet):
    """Every logged iteration once, with the losses of the quiet run, and its weights."""
    assert [r["iteration"] for r in records(config)] == [r["iteration"] for r in records(quiet)]
    assert torch.equal(losses(config), losses(quiet))
    assert weights(config) == weights(quiet)


def assert_same_training(config, alone):
    """Equal but for the order of sums, which many iterations blow up."""
    torch.testing.assert_close(losses(config)[:10], losses(alone)[:10], rtol=1e-4, atol=0.0)
    torch.testing.assert_close(losses(config), losses(alone), rtol=2e-2, atol=0.0)


def go_on(config, iterations=10):
    """Wait until so many more iterations are in the metrics."""
    goal = iteration(config) + iterations
    until(lambda: iteration(config) >= goal, PATIENCE, lambda: f"stuck at iteration {iteration(config)} of {goal}")


@contextmanager
def busy(jobs, job):
    """Let the ranks stand still, as in a slow iteration, until they are told to stop."""
    ranks = [jobs.task(job, rank) for rank in range(2)]
    for rank in ranks:
        os.kill(rank, signal.SIGSTOP)
    try:
        yield
        until(lambda: all(pending(rank, signal.SIGUSR1) for rank in ranks), PATIENCE, lambda: jobs.info(job))
    finally:
        for rank in ranks:
            os.kill(rank, signal.SIGCONT)


def let_time_run_out(jobs, job):
    """Lower the time limit to the next whole minute that leaves time to save."""
    hours, minutes, seconds = map(int, jobs.info(job)["RunTime"].split(":"))
    limit = -(-(60 * (60 * hours + minutes) + seconds + 40) // 60)
    jobs.run("scontrol", "update", f"JobId={job}", f"TimeLimit={limit}")


def pending(process, number):
    """Whether a signal waits for a process that is stopped."""
    status = Path(f"/proc/{process}/status").read_text()
    masks = [line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def test_ddp_goes_on_after_its_time_limit_and_a_preemption(jobs, world, quiet, alone, site, tmp_path):
    config = new_run(world, tmp_path / "run", WAYS["ddp"])
    job = submit(jobs, "train", config, site)["train"]
    go_on(config)
    with busy(jobs, job):
        let_time_run_out(jobs, job)
    jobs.wait_running(job, restarts=1)
    assert "stopped on SIGUSR1 after iteration" in jobs.log(job)
    jobs.run("scontrol", "update", f"JobId={job}", "TimeLimit=10")
    go_on(config)
    urgent = ["sbatch", "--parsable", "--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null"]
    with busy(jobs, job):
        urgent = jobs.run(*urgent, "--wrap=true").strip()
    jobs.wait(urgent)
    jobs.wait_running(job, restarts=2)
    jobs.wait(job)
    assert jobs.log(job).count("stopped on SIG") == 2
    assert jobs.restarts(job) == 2
    assert_same_bits(config, quiet["ddp"])
    assert_same_training(config, alone)


def test_fsdp_goes_on_after_a_drain_a_killed_rank_and_a_lost_node(cluster, jobs, world, quiet, alone, site, tmp_path):
    config = new_run(world, tmp_path / "run", WAYS["fsdp"])
    job = submit(jobs, "train", config, site)["train"]
    go_on(config)

    drained = jobs.nodes(job)[1]
    jobs.run("scontrol", "update", f"NodeName={drained}", "State=DRAIN", "Reason=test")
    jobs.run("scancel", "--signal=USR1", job)
    jobs.wait_running(job, restarts=1)
    assert drained not in jobs.nodes(job)
    assert "stopped on SIGUSR1 after iteration" in jobs.log(job)
    jobs.run("scontrol", "update", f"NodeName={drained}", "State=RESUME")

    go_on(config)
    os.kill(jobs.task(job, 1), signal.SIGKILL)
    until(lambda: jobs.state(job) != "RUNNING", 60, "the other rank waits for the dead one")
    jobs.wait_running(job, restarts=2)

    go_on(config)
    lost = jobs.nodes(job)[0]
    cluster.power_cut(lost)
    jobs.wait_running(job, restarts=3)
    assert lost not in jobs.nodes(job)

    jobs.wait(job)
    assert_same_bits(config, quiet["fsdp"])
    assert_same_training(config, alone)


def test_a_run_goes_on_with_more_ranks_and_with_fewer_but_not_with_other_settings(jobs, world, alone, site, tmp_path):
    config = new_run(world, tmp_path / "run", settings(batch_size=2, **{"train.parallel": "fsdp"}))
    halved = [word for stage in range(2) for word in ("--set", f"train.stages.{stage}.batch_size=1")]
    for nodes, sizes in ((1, ()), (2, halved)):
        job = submit(jobs, "train", config, site, f"--nodes={nodes}", *sizes)["train"]
        go_on(config, 40)
        jobs.run("scancel", job)
        jobs.wait(job, "CANCELLED")
        assert "stopped on SIG" in jobs.log(job), f"{jobs.info(job)}\n{jobs.log(job)}"
        until(lambda: not jobs.run("squeue", "--noheader"), PATIENCE, "the job does not end")
    last = submit(jobs, "train", config, site, "--nodes=1")["train"]
    jobs.wait(last)
    assert "resuming stage" in jobs.log(last)
    assert_same_training(config, alone)

    # What its user must mend ends a job of several ranks at once, and the log says what it is.
    refused = submit(jobs, "train", config, site, "--set", "train.weight_decay=0.2")["train"]
    jobs.wait(refused, "FAILED")
    assert jobs.restarts(refused) == 0
    assert "other settings" in jobs.log(refused)
