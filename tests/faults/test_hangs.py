"""Sources that never answer and tiles that do not fit into memory: one error, the others go on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.core.system.time_limit import TimeLimitError, in_time, reading
from pipeline.execution.cluster import ClusterConfig, connect
from pipeline.execution.executor import Task
from pipeline.execution.ledger import Ledger
from pipeline.execution.overlap import Overlapped
from pipeline.execution.run import StageError, run_stage
from tests.faults.hangs import ask_for_too_much, jobs, read_a_pipe, take_memory
from tests.workflows.tiny import write_tiny
from workflows.commands.plan import plan_run
from workflows.config.load import load_config
from workflows.run import Run


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A folder with a pipe that nobody fills; ended afterwards, so that no thread stays."""
    os.mkfifo(tmp_path / "rain.nc")
    yield tmp_path
    os.close(os.open(tmp_path / "rain.nc", os.O_RDWR | os.O_NONBLOCK))
    (tmp_path / "rain.nc").unlink()


def test_a_source_that_hangs_is_named_and_the_other_tiles_are_done(pipe: Path) -> None:
    with pytest.raises(StageError) as caught:
        run_stage(
            "regrid a", jobs(4), partial(read_a_pipe, pipe), Ledger(pipe / "l", "f"),
            task_seconds=0.3,
        )  # fmt: skip
    (fault,) = caught.value.faults
    assert fault.where == str(pipe / "rain.nc")
    assert "stage regrid a, t1" in fault.found
    assert fault.expected == "an end within 0.3 s"
    assert "cluster.task_seconds" in fault.hint
    assert Ledger(pipe / "l", "f").names_done() == {"t0", "t2", "t3"}


def test_reading_that_hangs_ahead_of_a_device_is_given_up(pipe: Path) -> None:
    task = Task(
        partial(read_a_pipe, pipe), lambda pairs: ((item, 1) for item, _ in pairs),
        lambda item, result: {},
    )  # fmt: skip
    with pytest.raises(StageError, match=r"rain\.nc: found no end of reading"):
        run_stage(
            "predict a", jobs(4), task, Ledger(pipe / "l", "f"), Overlapped(2), task_seconds=0.3
        )
    assert Ledger(pipe / "l", "f").names_done() == {"t0", "t2", "t3"}


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(pipe: Path) -> None:
    config = ClusterConfig(workers=1, dashboard_port=0)
    ledger = Ledger(pipe / "l", "f")
    with connect(config) as executor, pytest.raises(StageError, match=r"rain\.nc"):
        run_stage(
            "regrid a", jobs(40), partial(read_a_pipe, pipe), ledger, executor, task_seconds=1.0
        )
    assert len(ledger.names_done()) == 39


def test_calls_in_time_share_one_thread_and_raise_their_own_errors() -> None:
    threads = {in_time(threading.get_ident, 5, "a") for _ in range(5)}
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    with pytest.raises(ZeroDivisionError):
        in_time(lambda: 1 / 0, 5, "a")
    assert in_time(threading.get_ident, None, "a") == threading.get_ident()


def test_an_interrupt_reaches_the_call_that_tidies_up(monkeypatch: pytest.MonkeyPatch) -> None:
    tidied = threading.Event()

    def call() -> None:
        try:
            for _ in range(500):
                time.sleep(0.01)
        except KeyboardInterrupt:
            tidied.set()
            raise

    def interrupt() -> None:
        import signal

        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.2, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        in_time(call, 20, "a")
    assert tidied.is_set()


def test_a_call_that_waits_for_one_that_hangs_blames_its_file() -> None:
    lock, end = threading.Lock(), threading.Event()

    def hangs() -> None:
        with lock, reading("/nfs/rain.nc"):
            end.wait(20)

    def waits() -> None:
        with reading("/data/other.nc"), lock:
            pass

    for call in (hangs, waits):
        with pytest.raises(TimeLimitError, match=r"^/nfs/rain\.nc: found no end"):
            in_time(call, 0.2, "stage regrid, t0")
    end.set()


def test_a_lack_of_memory_names_the_tile_and_the_settings(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l", "f")
    with pytest.raises(StageError) as caught:
        run_stage("regrid a", jobs(4), ask_for_too_much, ledger)
    (fault,) = caught.value.faults
    assert fault.where == "stage regrid a, t1"
    assert "4.00 EiB" in fault.found
    for setting in ("cubes.NAME.tile", "time_shard", "cluster.workers", "memory_per_worker"):
        assert setting in fault.hint
    assert ledger.names_done() == {"t0", "t2", "t3"}


@pytest.mark.slow
def test_a_worker_that_the_system_kills_names_the_tile_and_its_memory(tmp_path: Path) -> None:
    config = ClusterConfig(workers=1, memory_per_worker="700MiB", dashboard_port=0)
    ledger = Ledger(tmp_path / "l", "f")
    with connect(config) as executor, pytest.raises(StageError) as caught:
        run_stage("regrid a", jobs(4), partial(take_memory, 900 << 20), ledger, executor)
    (fault,) = caught.value.faults
    assert fault.where == "stage regrid a, t1"
    assert fault.found.startswith("2 workers that died")
    assert "0.68 GiB" in fault.found
    assert "cluster.memory_per_worker" in fault.hint
    assert ledger.names_done() == {"t0", "t2", "t3"}


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 1e300])
def test_limits_that_are_none_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="null for no limit"):
        ClusterConfig(task_seconds=seconds)


def _with_a_pipe(folder: Path) -> tuple[Path, Path]:
    """A tiny run, of whose rain a chunk is a pipe that nobody fills."""
    config = write_tiny(folder)
    with xr.open_dataset(folder / "rain.nc") as ds:
        ds.to_zarr(folder / "rain.zarr", consolidated=False)
    catalog = (folder / "catalog.yml").read_text()
    catalog = catalog.replace("rain.nc\n  driver: netcdf", "rain.zarr\n  driver: zarr")
    (folder / "catalog.yml").write_text(catalog)
    chunk = folder / "rain.zarr" / "rain" / "c" / "0" / "0" / "0"
    chunk.unlink()
    os.mkfifo(chunk)
    return config, chunk


def test_check_and_plan_end_although_a_source_hangs(tmp_path: Path) -> None:
    config, chunk = _with_a_pipe(tmp_path)
    run = Run(load_config(config, ["cluster.task_seconds=1"]))
    try:
        with pytest.raises(InputError) as caught:
            plan_run(run, "check", "report")
    finally:
        os.close(os.open(chunk, os.O_RDWR | os.O_NONBLOCK))
    (fault,) = caught.value.faults
    assert fault.where == str(tmp_path / "rain.zarr")
    assert fault.found == 'no end of reading, in check of source "rain"'
    assert "cluster.task_seconds" in fault.hint


@pytest.mark.slow
def test_the_command_line_ends_although_a_thread_of_a_library_does_not(tmp_path: Path) -> None:
    config, _ = _with_a_pipe(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "workflows.cli", "check", str(config), "--set",
         "cluster.task_seconds=1"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "rain.zarr: found no end of reading" in done.stderr
