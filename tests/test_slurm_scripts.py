"""The job scripts are code: their syntax, what they call and in which order, and what they must not know."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from pipelines.__main__ import app

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "slurm").glob("*.sbatch"))
RESOURCES = {"--job-name", "--nodes", "--ntasks", "--gpus", "--cpus-per-task", "--output"}
CONFIG = "configs/era5_64x32.yaml"


@pytest.fixture(params=SCRIPTS, ids=lambda path: path.stem)
def script(request):
    return request.param


@pytest.fixture
def run(tmp_path):
    """Runs a script as a job would, with stand-ins that write down how they were called."""
    calls = tmp_path / "calls"
    for name, body in {
        "fuxi-ens": '[[ "$1" != check || -z "${REFUSE:-}" ]]',
        "srun": "exit 7",
    }.items():
        stand_in = tmp_path / name
        stand_in.write_text(f'#!/bin/bash\necho "{name} $* threads=$OMP_NUM_THREADS" >> {calls}\n{body}\n')
        stand_in.chmod(0o755)

    def start(path, *arguments, cwd=ROOT, **environment):
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_", "SRUN_"))}
        clean |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "5", **environment}
        job = subprocess.run(["bash", path, *arguments], cwd=cwd, env=clean, capture_output=True, check=False)
        return job.returncode, calls.read_text().splitlines() if calls.exists() else []

    return start


def body(path):
    """Lines that bash runs."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def directives(path):
    """`#SBATCH` options by name; None for a switch."""
    lines = [line.split()[1] for line in path.read_text().splitlines() if line.startswith("#SBATCH")]
    return {name: value or None for name, _, value in (line.partition("=") for line in lines)}


def config_keys(values):
    if isinstance(values, dict):
        return set(values) | {key for value in values.values() for key in config_keys(value)}
    return {key for item in values for key in config_keys(item)} if isinstance(values, list) else set()


def test_every_stage_with_a_job_has_a_script():
    assert [path.stem for path in SCRIPTS] == ["forecast", "train", "verify"]


def test_bash_accepts_the_syntax(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_bash_accepts_the_site_file():
    subprocess.run(["bash", "-n", ROOT / "slurm" / "site.env.example"], check=True)


def test_check_comes_first_and_the_exit_code_is_that_of_the_stage(script, run, tmp_path):
    code, calls = run(script, CONFIG, "--set", "run.seed=3", cwd=tmp_path)
    assert code == 7
    assert calls == [
        f"fuxi-ens check {CONFIG} --stage {script.stem} --set run.seed=3 threads=5",
        f"srun --cpus-per-task=5 fuxi-ens {script.stem} {CONFIG} --set run.seed=3 threads=5",
    ]


def test_a_refused_check_ends_the_job(script, run, tmp_path):
    code, calls = run(script, CONFIG, cwd=tmp_path, REFUSE="yes")
    assert code != 0
    assert len(calls) == 1


def test_a_forgotten_config_ends_the_job(script, run, tmp_path):
    code, calls = run(script, cwd=tmp_path)
    assert code != 0
    assert not calls


def test_the_site_file_is_read_first(script, run, tmp_path):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "site.env").write_text("exit 3\n")
    assert run(script, CONFIG, cwd=tmp_path) == (3, [])


def test_a_stopped_job_can_go_on_in_the_same_log(script):
    given = directives(script)
    assert given["--open-mode"] == "append"
    assert given["--output"] == "%x-%j.out"
    assert "--requeue" in given


def test_resources_are_all_that_a_script_decides(script):
    assert set(directives(script)) <= RESOURCES | {"--open-mode", "--requeue"}
    assert directives(script)["--ntasks"] == "1", "every stage is one process so far"
    for line in body(script):
        # The argument $1, and a switch set to 1, are no settings.
        assert not re.search(r"\d", line.replace("${1:", "").removesuffix("=1")), line


def test_nothing_repeats_the_config(script):
    keys = {key for path in (ROOT / "configs").glob("*.yaml") for key in config_keys(yaml.safe_load(path.read_text()))}
    assert {"seed", "iterations", "members", "batch_size"} <= keys
    set_here = {match.lower() for line in body(script) for match in re.findall(r"([\w.]+)=", line)}
    assert not {key for name in set_here for key in keys if name.split(".")[-1] == key}


def test_scripts_call_commands_that_exist(script):
    called = re.findall(r"fuxi-ens ([a-z]+)", "\n".join(body(script)))
    assert called == ["check", script.stem]
    known = typer.main.get_command(app).commands
    for name in called:
        assert "--set" in {option for parameter in known[name].params for option in parameter.opts}
