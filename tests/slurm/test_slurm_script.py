"""Job scripts: what they ask for, and what they do, run by bash with stand-ins for SLURM and for the program."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import typer
from makers import run_values

from fuxi_ens.config import Config
from fuxi_ens.config.site import SiteConfig
from fuxi_ens.errors import UserError
from fuxi_ens.slurm.jobs import JobKind, make_job
from fuxi_ens.slurm.script import render
from pipelines.__main__ import app

NASTY = "a b;rm -rf $HOME 'q\" `x` {{ y }} \\ #z"
SITE = {"cpu": {"cpus_per_task": 5}, "gpu": {"cpus_per_task": 5}, "max_requeues": 3}
# Each stand-in notes its words, one per line, and what it was given in the environment.
NOTE = 'printf "%s\\n" "== ${0##*/}" "$@" "OMP=$OMP_NUM_THREADS WORLD=${WORLD_SIZE:-} A=${A:-}" >> "$CALLS"\n'
STAND_INS = {
    # What srun starts: `check` or the stage itself, whose exit codes a test sets.
    "srun": '[[ " $* " == *" check "* ]] && { eval "${CHECK:-exit 0}"; }\neval "${STEP:-exit 0}"',
    "squeue": 'echo "${STATE-RUNNING}"',
    "scontrol": "exit ${SCONTROL:-0}",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return Config.model_validate(run_values(tmp_path_factory.mktemp("world")))


def script(config, kind="train", site=SITE, arguments=("c.yaml",), folder="/work", logs="/run/jobs", **sizes):
    site = SiteConfig.model_validate(site)
    job = make_job(JobKind(kind), config, site, **sizes)
    return render(job, site, list(arguments), folder=Path(folder), logs=Path(logs))


def options(text):
    """`#SBATCH` options by name; None for a switch."""
    words = [shlex.split(line)[1] for line in text.splitlines() if line.startswith("#SBATCH")]
    return {name: value or None for name, _, value in (word.partition("=") for word in words)}


class TestOptions:
    def test_training_asks_for_all_gpus_of_its_nodes(self, config):
        gpu = {"partition": "p", "gpus_per_node": 4, "cpus_per_task": 6, "memory": "0", "qos": "q", "constraint": "a|b"}
        found = options(script(config, site={"account": "acc", "gpu": gpu, "time": {"train": "2-0"}}, nodes=3))
        assert found == {
            "--job-name": "train-tiny",
            "--account": "acc",
            "--partition": "p",
            "--qos": "q",
            "--constraint": "a|b",
            "--time": "2-0",
            "--nodes": "3",
            "--ntasks-per-node": "4",
            "--cpus-per-task": "6",
            "--mem": "0",
            "--gpus-per-node": "4",
            "--chdir": "/work",
            "--output": "/run/jobs/%x-%j.out",
            "--open-mode": "append",
            "--signal": "B:USR1@300",
            "--requeue": None,
        }

    @pytest.mark.parametrize(
        ("gpu", "expected"),
        [
            ({"gpus_per_node": 2}, "--gpus-per-node=2"),
            ({"gpus_per_node": 2, "gpu_type": "a100"}, "--gpus-per-node=a100:2"),
            ({"gpus_per_node": 2, "gpu_option": "gres"}, "--gres=gpu:2"),
            ({"gpus_per_node": 2, "gpu_option": "gres", "gpu_type": "a100"}, "--gres=gpu:a100:2"),
        ],
    )
    def test_sites_ask_for_gpus_in_their_own_way(self, config, gpu, expected):
        assert f"#SBATCH {expected}\n" in script(config, site={"gpu": gpu})

    def test_a_cluster_without_gpus_is_asked_for_none(self, config):
        text = script(config, site={"gpu": {"gpus_per_node": 0, "tasks_per_node": 2}})
        assert options(text)["--ntasks-per-node"] == "2"
        assert not re.search("gpu|gres", text)

    @pytest.mark.parametrize(
        ("items", "parts", "gpus", "array", "each"),
        [
            (2, 2, 4, "0-1", "1"),
            (2, 1, 4, None, "2"),
            (9, 2, 4, "0-1", "4"),
            (9, 4, 4, "0-3", "3"),
            (9, 3, 1, "0-2", "1"),
        ],
    )
    def test_a_forecast_has_a_process_for_each_gpu_that_has_work(self, config, items, parts, gpus, array, each):
        starts = [f"2018-01-0{1 + day // 2}T{12 * (day % 2):02d}:00" for day in range(1, items + 1)]
        values = {**config.model_dump(), "forecast": {**config.forecast.model_dump(), "init_times": starts}}
        made = type(config).model_validate(values)
        assert made.forecast.item_count == items
        found = options(script(made, "forecast", {"gpu": {"gpus_per_node": gpus}}, parts=parts))
        assert (found.get("--array"), found["--nodes"]) == (array, "1")
        assert (found["--gpus-per-node"], found["--ntasks-per-node"]) == (each, each)

    def test_a_forecast_without_gpus_is_one_process(self, config):
        found = options(script(config, "forecast", {"gpu": {"gpus_per_node": 0, "tasks_per_node": 3}}))
        assert (found["--ntasks-per-node"], found.get("--gpus-per-node")) == ("1", None)

    def test_elements_of_an_array_have_logs_of_their_own(self, config):
        assert options(script(config, "forecast", parts=2))["--output"] == "/run/jobs/%x-%A_%a.out"

    def test_no_more_parts_than_init_times(self, config):
        assert len(config.forecast.init_times.times) == 2
        assert options(script(config, "forecast", parts=9))["--array"] == "0-1"

    def test_a_forecast_in_one_part_is_no_array(self, config):
        assert "ARRAY" not in script(config, "forecast").upper()

    @pytest.mark.parametrize(
        "kind", ["prepare", "statistics", "climatology", "verify", "scorecard", "cyclones", "heat-waves"]
    )
    def test_the_rest_runs_on_cores(self, config, kind):
        site = {"account": "a", "gpu": {"partition": "g"}, "cpu": {"partition": "c", "account": "b"}}
        found = options(script(config, kind, site, nodes=4))
        assert (found["--partition"], found["--account"], found["--nodes"]) == ("c", "b", "1")
        assert not re.search("gpu|gres", " ".join(found))

    def test_options_of_the_site_come_last(self, config):
        text = script(config, site={"sbatch_options": ["--mail-type=FAIL", "--exclusive"]})
        assert list(options(text))[-2:] == ["--mail-type", "--exclusive"]

    def test_folders_with_signs_stay_folders(self, config):
        found = options(script(config, folder="/a b", logs="/it's 50%j # x"))
        assert found["--chdir"] == "/a b"
        assert found["--output"] == "/it's 50%%j # x/%x-%j.out"

    def test_a_name_with_signs_is_made_plain(self, config):
        named = config.model_copy(update={"run": config.run.model_copy(update={"name": "a/b c\n#SBATCH --x"})})
        assert options(script(named))["--job-name"] == "train-a-b-c-SBATCH---x"

    def test_processes_that_cannot_share_samples_are_refused(self, config):
        shared = config.model_copy(update={"train": config.train.model_copy(update={"ranks_per_sample": 2})})
        with pytest.raises(UserError, match=r"2 does not divide 3 training processes \(3 nodes with 1 each\)"):
            script(shared, nodes=3)


class TestText:
    @pytest.fixture(params=[*JobKind], ids=str)
    def text(self, request, config):
        site = {**SITE, "setup": ["module load a"], "environment": {"A": NASTY}, "srun_options": ["--label"]}
        return script(config, request.param, site, ["c d.yaml", "--set", f"run.name={NASTY}"], parts=2)

    def test_bash_accepts_it(self, text):
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)

    @pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
    def test_shellcheck_has_nothing_to_say(self, text):
        done = subprocess.run(
            ["shellcheck", "--severity=warning", "-"], input=text, capture_output=True, text=True, check=False
        )
        assert not done.stdout

    def test_its_commands_and_options_exist(self, text, config):
        """As the command line itself knows them."""
        known = typer.main.get_command(app)
        calls = re.findall(r'"\$\{fuxi_ens\[@\]\}" (.*)', text)
        assert calls
        for call in calls:
            words = [word for word in shlex.split(call) if not word.startswith("$")]
            command = known
            while words and hasattr(command, "commands"):
                command = command.commands[words.pop(0)]
            taken = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= taken
            assert "--set" in taken

    def test_no_blank_line_is_left_by_the_template(self, text):
        assert "\n\n\n" not in text
        assert text.endswith("\nfinish $?\n")


@pytest.fixture
def job(config, tmp_path):
    """Runs a script as the job of number 7; returns its exit code, its calls, and what it said."""
    tools, calls = tmp_path / "tools", tmp_path / "calls"
    tools.mkdir()
    for name, body in STAND_INS.items():
        (tools / name).write_text(f"#!/bin/bash\n{NOTE}{body}\n")
        (tools / name).chmod(0o755)

    def begin(text, **environment):
        path = tmp_path / "job.sh"
        path.write_text(text)
        ours = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
        ours |= {"PATH": f"{tools}:{os.environ['PATH']}", "CALLS": str(calls), "SLURM_JOB_ID": "7"}
        ours |= {"SLURM_CPUS_PER_TASK": "5", "SLURM_NTASKS": "8", **environment}
        return subprocess.Popen(
            ["bash", path], cwd=tmp_path, env=ours, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def end(process):
        said = process.communicate(timeout=30)[0]
        blocks = calls.read_text().split("== ")[1:] if calls.exists() else []
        calls.unlink(missing_ok=True)
        return process.returncode, [block.splitlines() for block in blocks], said

    def run(text, **environment):
        return end(begin(text, **environment))

    run.begin, run.end, run.calls = begin, end, calls
    return run


def named(calls):
    return [call[0] for call in calls]


class TestSteps:
    def test_check_comes_first_and_judges_all_processes(self, config, job):
        code, calls, _ = job(script(config, arguments=["c.yaml", "--set", "run.seed=3"]))
        assert code == 0
        rest = ["c.yaml", "--set", "run.seed=3"]
        alone = ["--overlap", "--nodes=1", "--ntasks=1"]
        assert calls == [
            ["srun", *alone, "fuxi-ens", "check", *rest, "--stage", "train", "OMP=5 WORLD=8 A="],
            ["srun", "--kill-on-bad-exit=1", "fuxi-ens", "train", *rest, "OMP=5 WORLD= A="],
        ]

    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            ("prepare", ["data", "prepare", "c.yaml"]),
            ("statistics", ["data", "statistics", "c.yaml"]),
            ("climatology", ["data", "climatology", "c.yaml"]),
            ("forecast", ["forecast", "c.yaml"]),
            ("verify", ["verify", "c.yaml"]),
            ("scorecard", ["scorecard", "--config", "c.yaml"]),
            ("cyclones", ["events", "cyclones", "c.yaml"]),
            ("heat-waves", ["events", "heat-waves", "c.yaml"]),
        ],
    )
    def test_each_kind_runs_its_command(self, config, job, kind, words):
        _, calls, _ = job(script(config, kind))
        assert calls[-1][2:-1] == ["fuxi-ens", *words]
        assert len(calls) == (2 if kind in ("forecast", "verify") else 1)

    def test_an_element_of_an_array_takes_its_part(self, config, job):
        array = {"SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": "1"}
        _, calls, said = job(script(config, "forecast", parts=2), **array)
        assert calls[-1][2:-1] == ["fuxi-ens", "forecast", "c.yaml", "--part", "1/2"]
        assert "job 6_1, start 1: exit code 0" in said

    def test_nothing_in_words_is_shell(self, config, job):
        site = {**SITE, "container": ["apptainer", "exec", NASTY], "environment": {"A": NASTY}}
        words = [f"/x/{NASTY}", "--set", f"run.name={NASTY}"]
        _, calls, _ = job(script(config, site=site, arguments=words))
        assert calls[1] == ["srun", "--kill-on-bad-exit=1", "apptainer", "exec", NASTY, "fuxi-ens", "train", *words,
                            f"OMP=5 WORLD= A={NASTY}"]  # fmt: skip

    def test_setup_is_shell_and_may_use_what_is_not_set(self, config, job):
        site = {**SITE, "setup": ['export A="$UNSET-$((1 + 1))"', "export OMP_NUM_THREADS=2"]}
        assert job(script(config, site=site))[1][1][-1] == "OMP=2 WORLD= A=-2"

    def test_the_environment_of_the_site_has_the_last_word(self, config, job):
        site = {**SITE, "setup": ["export A=1"], "environment": {"A": "2", "OMP_NUM_THREADS": 3}}
        assert job(script(config, site=site))[1][1][-1] == "OMP=3 WORLD= A=2"

    def test_a_refused_check_ends_the_job(self, config, job):
        code, calls, _ = job(script(config), CHECK="exit 1")
        assert (code, named(calls)) == (1, ["srun"])


class TestEnd:
    @pytest.mark.parametrize("code", [0, 1, 2, 127])
    def test_what_another_start_would_not_change_is_final(self, config, job, code):
        end, calls, _ = job(script(config), STEP=f"exit {code}")
        assert (end, named(calls)) == (code, ["srun", "srun"])

    @pytest.mark.parametrize("code", [70, 75, 134, 137, 138, 143])
    def test_what_another_start_may_change_goes_back_into_the_queue(self, config, job, code):
        end, calls, said = job(script(config), STEP=f"exit {code}", SLURM_RESTART_COUNT="2")
        assert end == 75
        assert named(calls) == ["srun", "srun", "squeue", "scontrol"]
        assert calls[-1][1:3] == ["requeue", "7"]
        assert f"job 7, start 3: exit code {code}" in said

    def test_a_check_that_was_killed_too(self, config, job):
        end, calls, _ = job(script(config), CHECK="exit 137")
        assert (end, named(calls)) == (75, ["srun", "squeue", "scontrol"])

    def test_an_element_of_an_array_requeues_itself_alone(self, config, job):
        array = {"SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": "1"}
        calls = job(script(config, "forecast", parts=2), STEP="exit 75", **array)[1]
        assert calls[-1][1:3] == ["requeue", "6_1"]

    def test_there_is_an_end_to_it(self, config, job):
        end, calls, said = job(script(config), STEP="exit 75", SLURM_RESTART_COUNT="3")
        assert (end, named(calls)) == (1, ["srun", "srun", "squeue"])
        assert "went back into the queue 3 times" in said

    def test_where_jobs_may_not_requeue_the_exit_code_asks_for_it(self, config, job):
        assert job(script(config), STEP="exit 143", SCONTROL="1")[0] == 75

    @pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED", "PENDING", ""])
    def test_a_job_that_somebody_ended_stays_ended(self, config, job, state):
        end, calls, _ = job(script(config), STEP="exit 75", STATE=state)
        assert (end, named(calls)) == (75, ["srun", "srun", "squeue"])


class TestSignals:
    """A step answers a signal as training does: it saves for a while, then exits 75."""

    SAVES = "trap 'sleep 0.5; exit 75' USR1; echo ready >> ready; while :; do sleep 0.05; done"

    def send(self, job, tmp_path, text, numbers, **environment):
        process = job.begin(text, **environment)
        end = time.monotonic() + 20
        while not (tmp_path / "ready").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.1)
        return job.end(process)

    @pytest.mark.parametrize(
        "numbers", [[signal.SIGUSR1], [signal.SIGTERM], [signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1]]
    )
    def test_the_step_hears_it_and_its_own_exit_code_counts(self, config, job, tmp_path, numbers):
        code, calls, said = self.send(job, tmp_path, script(config), numbers, STEP=self.SAVES)
        assert "start 1: exit code 75" in said
        assert (code, named(calls)) == (75, ["srun", "srun", "squeue", "scontrol"])

    def test_a_step_that_finishes_anyway_is_done(self, config, job, tmp_path):
        finishes = "trap : USR1; echo ready >> ready; for _ in {1..20}; do sleep 0.05; done; exit 0"
        code, calls, _ = self.send(job, tmp_path, script(config), [signal.SIGUSR1], STEP=finishes)
        assert (code, named(calls)) == (0, ["srun", "srun"])

    def test_during_the_check_the_stage_does_not_begin(self, config, job, tmp_path):
        finishes = "trap : USR1; echo ready >> ready; for _ in {1..20}; do sleep 0.05; done; exit 0"
        code, calls, _ = self.send(job, tmp_path, script(config), [signal.SIGUSR1], CHECK=finishes)
        assert (code, named(calls)) == (75, ["srun", "squeue", "scontrol"])
