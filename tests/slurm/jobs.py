"""What tests ask of a SLURM about their jobs."""

import re
import subprocess
import time
from pathlib import Path

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE")
PATIENCE = 600
"""Seconds after which something is lost; nothing takes a tenth of it on two idle cores, and nobody sleeps so long."""


def until(happened, seconds, what):
    """Wait for something and return it; fails with `what()` or `what` when it does not come."""
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(0.1)
    return found


class Jobs:
    """Jobs on a MiniSlurm, by the commands that a user has."""

    def __init__(self, cluster):
        self.cluster = cluster

    def run(self, *command, check=True, cwd=None):
        """A command on the login node; what it wrote to stdout."""
        done = self._start(*command, cwd=cwd)
        assert not (check and done.returncode), f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def refusal(self, *command):
        """The error of a command that is refused with exit code 1."""
        done = self._start(*command)
        assert done.returncode == 1, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr

    def _start(self, *command, cwd=None):
        return subprocess.run(
            [*map(str, command)],
            env=self.cluster.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def info(self, job):
        """What the controller knows of a job, by its words for it."""
        words = self.run("scontrol", "show", "job", "-o", job).splitlines()[0].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def state(self, job):
        return self.info(job)["JobState"]

    def restarts(self, job):
        return int(self.info(job)["Restarts"])

    def nodes(self, job):
        return self.run("scontrol", "show", "hostnames", self.info(job)["NodeList"]).split()

    def log(self, job):
        path = Path(self.info(job)["StdOut"])
        return path.read_text() if path.exists() else ""

    def wait(self, job, state="COMPLETED", seconds=PATIENCE):
        """Wait for the end of a job, which must be in `state`."""
        try:
            until(lambda: self.state(job) in ENDED, seconds, lambda: f"{self.info(job)}\n{self.log(job)}")
        finally:
            self.run("scancel", "--quiet", job, check=False)
        assert self.state(job) == state, f"{self.info(job)}\n{self.log(job)}"

    def wait_running(self, job, restarts=0, seconds=PATIENCE):
        """Wait until a job runs for the (restarts + 1)-th time."""
        expected = ("RUNNING", str(restarts))
        shown = lambda: f"{self.info(job)}\n{self.log(job)}"  # noqa: E731
        until(lambda: (self.info(job)["JobState"], self.info(job)["Restarts"]) == expected, seconds, shown)

    def task(self, job, rank):
        """Process id on this host of one rank of a job's training."""
        # The batch script has a SLURM_PROCID, too, and `srun` takes it over.
        wanted = {f"SLURM_JOB_ID={job}", f"SLURM_PROCID={rank}", "SLURM_STEP_NUM_TASKS"}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = set((folder / "environ").read_text().split("\0"))
                command = (folder / "cmdline").read_text()
            except OSError:
                continue
            words |= {word.partition("=")[0] for word in words}
            if wanted <= words and re.search(r"fuxi-ens\0train", command):
                return int(folder.name)
        raise AssertionError(f"job {job} has no rank {rank}:\n{self.log(job)}")
