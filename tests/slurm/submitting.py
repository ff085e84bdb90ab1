"""`fuxi-ens submit` on the cluster of the tests, as a user would call it."""

import json
import re
import sys
from pathlib import Path

import yaml
from tiny_run import write_settings

from fuxi_ens.paths import RunPaths

FUXI_ENS = Path(sys.executable).with_name("fuxi-ens")
SITE = {
    "gpu": {"partition": "low", "gpus_per_node": 0, "nodes": 2, "cpus_per_task": 1, "memory": "1500M"},
    "cpu": {"partition": "low", "cpus_per_task": 1, "memory": "3000M"},
    "time": dict.fromkeys(
        ("prepare", "statistics", "climatology", "train", "forecast", "verify", "scorecard"), "00:10:00"
    ),
    "signal_seconds": 60,
    "max_requeues": 5,
}


def write_site(folder, setup=f"export PATH={FUXI_ENS.parent}:$PATH", **changes):
    """A site file for the cluster of the tests."""
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump({**SITE, "setup": [setup], **changes}))
    return path


def submit(jobs, what, config, site, *options):
    """Submit a stage or `chain`; the jobs' numbers by stage."""
    path = write_settings(config, config.run.folder / "submitted.yaml")
    said = jobs.run(FUXI_ENS, "submit", what, path, "--site", site, *options)
    return dict(re.findall(r"^(\w+) +job (\d+), log ", said, re.MULTILINE))


def records(config, kind="train"):
    """The lines of one kind in a run's metrics, so far as they are written."""
    path = RunPaths(config.run.folder).metrics
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [line for line in found if line["kind"] == kind]


def iteration(config):
    """The newest iteration in a run's metrics."""
    return max((line["iteration"] for line in records(config)), default=0)
