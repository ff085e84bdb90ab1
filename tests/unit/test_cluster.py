import socket
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
from distributed import LocalCluster

from fuxi_ens import cluster
from fuxi_ens.cluster import dask_client, reader_threads, run_tasks, worker_count
from fuxi_ens.config import DaskConfig
from fuxi_ens.errors import StoreError, UserError

SLURM = {"cluster": "slurm", "workers": 2, "slurm": {"queue": "long", "account": "weather"}}
BARRIER = threading.Barrier(2, timeout=20)
BEGUN = []


def square(item):
    return item * item


def refuse_three(item):
    if item == 3:
        raise StoreError("shard 3 is damaged")
    return item


def test_every_item_comes_back_once_with_its_result():
    with dask_client(DaskConfig(), threads=2) as client:
        found = dict(run_tasks(client, square, range(20), in_flight=3))
    assert found == {item: item * item for item in range(20)}


def test_no_more_than_in_flight_items_are_taken_ahead_of_the_results():
    taken, given = [], []

    def items():
        for item in range(12):
            taken.append(item)
            yield item

    with dask_client(DaskConfig(), threads=2) as client:
        for item, _ in run_tasks(client, square, items(), in_flight=3):
            given.append(item)
            assert len(taken) - len(given) <= 3
    assert sorted(given) == list(range(12))


def meet(_):
    return BARRIER.wait()


def test_thread_workers_run_at_the_same_time():
    with dask_client(DaskConfig(), threads=2) as client:
        assert len(list(run_tasks(client, meet, range(2), in_flight=2))) == 2


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_failing_task_raises_its_own_error_and_nothing_more_is_begun(kind, capfd):
    config = DaskConfig(cluster=kind, workers=1, memory="1GiB")
    with dask_client(config, threads=1) as client, pytest.raises(StoreError, match=r"^shard 3 is damaged$"):
        list(run_tasks(client, refuse_three, range(1000), in_flight=2))
    # The error is printed once, by the command line; no traceback of a worker stands before it.
    assert "Traceback" not in capfd.readouterr().err


def note(item):
    BEGUN.append(item)
    time.sleep(0.05)
    return item


def test_tasks_that_wait_are_dropped_when_the_caller_stops_early():
    with dask_client(DaskConfig(), threads=1) as client:
        results = run_tasks(client, note, range(100), in_flight=10)
        next(results)
        results.close()
        time.sleep(0.3)
    assert 1 <= len(BEGUN) <= 4


def test_processes_share_nothing_and_use_one_thread_of_arithmetic():
    import os

    config = DaskConfig(cluster="processes", workers=2, memory="1GiB")
    with dask_client(config, threads=1) as client:
        found = dict(run_tasks(client, lambda _: (os.getpid(), os.environ["OMP_NUM_THREADS"]), range(4), in_flight=4))
    assert {threads for _, threads in found.values()} == {"1"}
    assert os.getpid() not in {pid for pid, _ in found.values()}


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_no_dashboard_is_served_and_no_port_is_open_to_the_network(kind, monkeypatch):
    opened = []
    listen = socket.socket.listen
    monkeypatch.setattr(socket.socket, "listen", lambda self, *a: (opened.append(self.getsockname()), listen(self, *a)))
    with dask_client(DaskConfig(cluster=kind, workers=1, memory="1GiB"), threads=1) as client:
        scheduler = client.cluster.scheduler
        for page in ("status", "info/main/workers.html", "metrics", "json/counts.json"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{scheduler.http_server.port}/{page}", timeout=10)
    assert {host for host, *_ in opened} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("settings", "threads", "expected"),
    [
        ({}, 3, 3),
        ({"cluster": "processes", "workers": 4, "threads_per_worker": 2}, 3, 8),
        ({"cluster": "processes"}, 3, 3),
        (SLURM, 1, 2),
    ],
)
def test_worker_count(settings, threads, expected):
    assert worker_count(DaskConfig(**settings), threads) == expected


def test_zero_threads_are_the_cores_of_the_job(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2, 5})
    assert worker_count(DaskConfig(), 0) == 3


def test_slurm_jobs_ask_for_what_the_config_says():
    values = {**SLURM, "memory": "6GiB", "threads_per_worker": 3}
    values["slurm"] = {**values["slurm"], "walltime": "02:30:00", "interface": "lo", "directives": ("--qos=high",)}
    with cluster._slurm(DaskConfig(**values)) as jobs:
        script = jobs.job_script()
    for line in ("-p long", "-A weather", "-t 02:30:00", "--qos=high", "--cpus-per-task=3", "--mem=6G", "-n 1"):
        assert f"#SBATCH {line}\n" in script, line
    worker = next(line for line in script.splitlines() if "dask_worker" in line)
    assert "--nthreads 3" in worker
    assert "--interface lo" in worker
    assert worker.startswith(sys.executable)


@pytest.mark.parametrize(
    ("key", "value"), [("queue", "long\ncurl example.org"), ("interface", "lo; id"), ("directives", ("--x `id`",))]
)
def test_words_that_a_shell_would_act_on_are_refused(key, value):
    config = DaskConfig(**{**SLURM, "slurm": {**SLURM["slurm"], key: value}})
    with pytest.raises(UserError, match=f"dask.slurm.{key}"), dask_client(config, 1):
        pass


def test_slurm_without_its_library_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(UserError, match=r"pip install 'fuxi-ens\[slurm\]'"), dask_client(DaskConfig(**SLURM), 1):
        pass


def test_memory_that_is_no_size_is_refused():
    config = DaskConfig(cluster="processes", workers=1, memory="plenty")
    with pytest.raises(UserError, match=r"dask.memory 'plenty'.*8GiB"), dask_client(config, 1):
        pass


def test_the_cluster_ends_with_the_block():
    with dask_client(DaskConfig(), threads=1) as client:
        cluster_of_it = client.cluster
        assert isinstance(cluster_of_it, LocalCluster)
    assert cluster_of_it.status.name == "closed"


@pytest.mark.parametrize(
    ("cluster", "wanted", "source", "threads"),
    [
        ("threads", 0, "a.zarr", 0),
        ("threads", 0, "gs://bucket/a.zarr", 0),
        ("threads", 3, "a.zarr", 3),
        ("processes", 0, "a.zarr", 2),
        ("processes", 0, "gs://bucket/a.zarr", 8),
        ("processes", 3, "gs://bucket/a.zarr", 3),
    ],
)
def test_readers_of_several_processes_share_the_cores(cluster, wanted, source, threads):
    config = DaskConfig(cluster=cluster, threads_per_worker=2)
    assert reader_threads(config, wanted, source) == threads
