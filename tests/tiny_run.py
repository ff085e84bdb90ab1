"""Configs and run folders on the tiny synthetic stores of `makers`, for tests of training, forecasts and the chain."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
import yaml
from makers import make_run, run_values, set_value

from fuxi_ens.config import Config
from fuxi_ens.data.statistics import compute_statistics
from fuxi_ens.paths import RunPaths

ENSEMBLE_STAGE = {"name": "ensemble", "objective": "crps_kl", "iterations": 4, "learning_rate": 1e-3, "members": 2}


def make_world(folder):
    """Stores and statistics that all runs below `folder` share; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    make_run(folder)
    compute_statistics(tiny_config(folder, folder / "shared")).save(folder / "statistics.json")
    return folder


def tiny_values(world, run_folder, changes=None):
    """Settings of a run in `run_folder` on the stores of `world`, with `a.b.0.c` changed."""
    values = set_value(run_values(world), "run.folder", str(run_folder))
    for key, value in (changes or {}).items():
        set_value(values, key, value)
    return values


def tiny_config(world, run_folder, changes=None):
    return Config.model_validate(tiny_values(world, run_folder, changes))


def new_run(world, run_folder, changes=None):
    """Config of a run whose folder holds the statistics, so that training can start."""
    Path(run_folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(world / "statistics.json", RunPaths(Path(run_folder)).statistics)
    return tiny_config(world, run_folder, changes)


def write_settings(config, path):
    """The config as a YAML file, for a subprocess."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    return path


def start(code, *arguments):
    """Run Python code in a process of its own, one thread, warnings as errors."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RANK": "0"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def digest(folder, pattern="*"):
    """SHA-256 of every file below a folder, by relative path."""
    files = sorted(path for path in Path(folder).rglob(pattern) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def randomize(model, seed=0, size=0.05):
    """Give every parameter a small random value, so that members differ."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return model
