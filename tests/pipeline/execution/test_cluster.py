"""Stages on real local clusters: worker processes, deaths, and scripts without a main guard."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import dask
import numpy as np
import psutil
import pytest

from pipeline.core.errors import InputError
from pipeline.core.written import references
from pipeline.execution.cluster import (
    ClusterConfig,
    SlurmConfig,
    _prepare,
    _slurm_cluster_class,
    connect,
    slurm_settings,
)
from pipeline.execution.dask import WINDOW_PER_THREAD
from pipeline.execution.executor import Here, Task
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import StageError, run_stage
from tests.cubes import contents, fill_tile, filled_cube, make_cube
from tests.pipeline.execution.test_run import Job, jobs, note, stumble

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def executor():
    with connect(ClusterConfig(workers=2, dashboard_port=0)) as executor:
        yield executor


@pytest.fixture
def client(executor):
    return executor.client


def test_workers_are_processes_with_one_thread(client):
    threads = client.nthreads()
    assert sorted(threads.values()) == [1, 1]
    pids = set(client.run(os.getpid).values())
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert client.dashboard_link.startswith("http://127.0.0.1:")


def test_the_cluster_writes_the_bytes_that_one_process_writes(executor, tmp_path):
    made = make_cube(tmp_path / "a.zarr")
    ledger = Ledger(tmp_path / "ledger", "f")
    work = partial(fill_tile, tmp_path / "a.zarr")
    report = run_stage("fill", made.tiles, work, ledger, executor)
    assert len(report.done) == len(made.tiles)
    filled_cube(tmp_path / "b.zarr")
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")
    assert ledger.summaries()["r001_c002"]["rain"]["valid"] == 40 * 20 * 16


def _quote(secret: str, job: Job) -> None:
    logging.getLogger("distributed.worker").error("%s: a message with %s", job.name, secret)
    try:
        raise KeyError(secret)
    except KeyError:
        logging.getLogger("distributed.worker").exception("an exception")
    raise RuntimeError(f"no access with {secret}")


def test_logs_of_workers_have_no_values_of_the_environment(executor, tmp_path, monkeypatch):
    secret = "hunter2-\"q'<&>\\€"
    monkeypatch.setattr(references, "_values", {})
    monkeypatch.setenv("TOKEN", secret)
    references.environment_value("TOKEN")
    _prepare(executor.client)
    with pytest.raises(StageError):
        run_stage("t", jobs(1), partial(_quote, secret), Ledger(tmp_path, "f"), executor)
    texts = [text for logs in executor.client.get_worker_logs().values() for _, text in logs]
    assert "hunter2" not in "".join(texts)
    assert sum("a message with ${TOKEN}" in text for text in texts) == 3
    assert sum("KeyError: '${TOKEN}'" in text for text in texts) == 3
    # Dask describes the task that failed, and cuts the description anywhere: it must have no bytes.
    assert any("Compute Failed" in text and "no result of t000" in text for text in texts)


def test_the_scheduler_sees_one_task_a_tile_and_few_at_once(executor, client, tmp_path):
    def tasks(dask_scheduler):
        return len(dask_scheduler.tasks)

    (tmp_path / "n").mkdir()
    seen = []

    original = client.map
    try:

        def counting(task, items, **kwargs):
            futures = original(task, items, **kwargs)
            seen.append(client.run_on_scheduler(tasks))
            return futures

        client.map = counting
        report = run_stage(
            "t", jobs(60), partial(note, tmp_path / "n"), Ledger(tmp_path / "l", "f"), executor
        )
    finally:
        client.map = original
    assert len(report.done) == 60
    assert report.peak_memory > 10_000_000
    assert max(seen) <= 2 * WINDOW_PER_THREAD
    assert len(seen) >= 60 / (2 * WINDOW_PER_THREAD)


def test_failures_are_retried_and_listed(executor, tmp_path):
    (tmp_path / "n").mkdir()
    ledger = Ledger(tmp_path / "l", "f")
    report = run_stage("t", jobs(7), partial(stumble, tmp_path / "n", 1), ledger, executor)
    assert len(report.done) == 7
    with pytest.raises(StageError, match="network sneezed"):
        run_stage(
            "t", jobs(4), partial(stumble, tmp_path / "n", 99), Ledger(tmp_path / "l", "g"),
            executor, retries=1,
        )  # fmt: skip
    assert Ledger(tmp_path / "l", "g").names_done() == {"t001", "t002"}


def test_steps_that_carry_arrays_are_refused(executor, tmp_path):
    with pytest.raises(ValueError, match="pass paths, not arrays"):
        run_stage(
            "t", jobs(2), partial(note, np.zeros(1_000_000)), Ledger(tmp_path / "l", "f"), executor
        )


def _read(job: Job) -> int:
    return int(job.name[1:])


def _squares(pairs):
    return ((job, number**2) for job, number in pairs)


def _noted(folder: Path, job: Job, result: int) -> dict[str, int]:
    (folder / job.name).write_text(str(result))
    return {"square": result}


def test_a_task_in_three_parts_runs_on_a_cluster_too(executor, tmp_path):
    ledger = Ledger(tmp_path / "l", "f")
    (tmp_path / "n").mkdir()
    run_stage(
        "t", jobs(5), Task(_read, _squares, partial(_noted, tmp_path / "n")), ledger, executor
    )
    assert ledger.summaries() == {job.name: {"square": i**2} for i, job in enumerate(jobs(5))}
    assert (tmp_path / "n/t004").read_text() == "16"


def _die_once(folder: Path, job: Job) -> dict[str, str]:
    summary = note(folder, job)
    if job.name == "t003" and len((folder / job.name).read_text()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return summary


def test_a_worker_killed_in_a_tile_is_replaced(executor, tmp_path):
    (tmp_path / "n").mkdir()
    ledger = Ledger(tmp_path / "l", "f")
    report = run_stage("t", jobs(10), partial(_die_once, tmp_path / "n"), ledger, executor)
    assert len(report.done) == 10
    assert len((tmp_path / "n/t003").read_text()) == 2


def test_no_cluster_is_this_process():
    with connect(ClusterConfig(kind="none")) as executor:
        assert executor == Here()


def test_an_existing_scheduler_is_used_and_left_alone(client, tmp_path):
    known = client.security.get_tls_config_for_role("client")
    files = {key: tmp_path / key for key in ("ca_file", "cert", "key")}
    for key, file in files.items():
        file.write_text(known[key])
    tls = "distributed.comm.tls"
    settings = {f"{tls}.ca-file": str(files["ca_file"]), f"{tls}.client.key": str(files["key"]),
                f"{tls}.client.cert": str(files["cert"])}  # fmt: skip
    config = ClusterConfig(kind="address", address=client.scheduler.address)
    with dask.config.set(settings), connect(config) as other:
        assert other.client.scheduler.address == client.scheduler.address
    client.wait_for_workers(2, timeout=30)


@pytest.mark.parametrize(
    "settings, where",
    [
        ({"kind": "address", "address": "tcp://127.0.0.1:9"}, "cluster.address"),
        ({"kind": "address", "address": "tls://127.0.0.1:9"}, "cluster.address"),
        ({"memory_per_worker": "lots"}, "cluster.memory_per_worker"),
    ],
)
def test_clusters_that_cannot_be_used(settings, where, monkeypatch):
    monkeypatch.setattr("pipeline.execution.cluster.CONNECT_SECONDS", 1)
    usual = dask.config.get("scheduler", None)
    with pytest.raises(InputError) as raised, connect(ClusterConfig(**settings)):
        pass
    assert raised.value.faults[0].where == where
    assert dask.config.get("scheduler", None) == usual


def test_missing_slurm_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="no sbatch"), connect(ClusterConfig(kind="slurm")):
        pass


def test_dask_jobqueue_does_not_take_ctrl_c_over():
    before = signal.getsignal(signal.SIGINT)
    assert _slurm_cluster_class().__name__ == "SLURMCluster"
    assert signal.getsignal(signal.SIGINT) == before


def test_the_job_script_has_the_settings_of_the_site():
    slurm = SlurmConfig(
        queue="normal", account="hydro", walltime="02:00:00", cores=16, processes=8, memory="64GiB",
        directives=("--constraint=milan",), prologue=("module load proj",), scratch="/scratch",
    )  # fmt: skip
    cluster = _slurm_cluster_class()(**slurm_settings(slurm), scheduler_options={"port": 0})
    try:
        script = cluster.job_script()
    finally:
        cluster.close()
    for line in ("-p normal", "-A hydro", "-t 02:00:00", "--mem=64G", "--constraint=milan"):
        assert f"#SBATCH {line}" in script
    assert "module load proj" in script
    for part in ("--nworkers 8", "--nthreads 2", "--lifetime 6480s", "--local-directory /scratch"):
        assert part in script


def test_slurm_workers_end_before_the_wall_time():
    slurm = SlurmConfig(walltime="1-02:00:00")
    assert slurm.seconds == 26 * 3600
    _, lifetime, _, stagger = slurm.lifetime
    assert int(lifetime[:-1]) + int(stagger[:-1]) < slurm.seconds


SCRIPT = """
    import sys, time
    from dataclasses import dataclass
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from pipeline.execution.cluster import ClusterConfig, connect
    from pipeline.execution.ledger import Ledger
    from pipeline.execution.run import run_stage

    @dataclass(frozen=True)
    class Job:
        name: str

    def step(job):
        time.sleep({seconds})
        return {{}}

    print("started", flush=True)
    ledger = Ledger(Path({ledger!r}), "f")
    jobs = [Job(f"t{{i:03d}}") for i in range({n})]
    with connect(ClusterConfig(workers=2, dashboard_port=0)) as executor:
        run_stage("t", jobs, step, ledger, executor)
    print("ended", flush=True)
"""


def _script(tmp_path, n, seconds):
    text = SCRIPT.format(root=str(ROOT), n=n, seconds=seconds, ledger=str(tmp_path / "l"))
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(text))
    return subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def test_a_script_without_a_main_guard_starts_one_cluster(tmp_path):
    process = _script(tmp_path, 4, 0)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.split() == ["started", "ended"]
    assert "dashboard http://127.0.0.1:" in err
    assert len(Ledger(tmp_path / "l", "f").names_done()) == 4


@pytest.mark.parametrize(
    "number, group",
    [pytest.param(signal.SIGTERM, False, marks=pytest.mark.slow), (signal.SIGINT, True)],
)
def test_signals_end_the_run_and_its_workers_quickly(tmp_path, number, group):
    process = _script(tmp_path, 500, 0.05)
    ledger = Ledger(tmp_path / "l", "f")
    deadline = time.monotonic() + 60
    while len(ledger.names_done()) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    os.killpg(process.pid, number) if group else process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 15
    assert process.returncode != 0
    assert "KeyboardInterrupt" in err
    assert err.count("Traceback") == 1
    assert not psutil.wait_procs(family, timeout=5)[1]
    assert 4 <= len(ledger.names_done()) < 500
