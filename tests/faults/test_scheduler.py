"""The Dask scheduler of a run dies during a stage: the run reports it, and is resumed later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.execution.ledger import Ledger
from tests.conftest import ROOT
from tests.cubes import contents, filled_cube

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SCRIPT = """
    import sys
    from functools import partial
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from pipeline.execution.cluster import ClusterConfig, connect
    from pipeline.execution.ledger import Ledger
    from pipeline.execution.run import run_stage
    from pipeline.core.errors import InputError
    from tests.cubes import make_cube
    from tests.faults.slow import fill_slowly

    folder = Path({folder!r})
    try:
        with connect(ClusterConfig(kind="address", address={address!r})) as executor:
            made = make_cube(folder / "a.zarr", (10, 10))
            ledger = Ledger(folder / "ledger", "f")
            work = partial(fill_slowly, folder / "a.zarr")
            run_stage("fill", made.tiles, work, ledger, executor)
    except InputError as error:
        print(error, flush=True)
        sys.exit(2)
    print("ended", flush=True)
"""


def _dask(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]], cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def _start(folder: Path) -> tuple[str, list[subprocess.Popen[bytes]]]:
    """Address and processes of a scheduler with a worker."""
    file = folder / f"scheduler-{time.monotonic_ns()}.json"
    scheduler = _dask(
        ["dask_scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard",
         "--scheduler-file", str(file)], folder,
    )  # fmt: skip
    worker = _dask(
        ["dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard",
         "--death-timeout", "20"], folder,
    )  # fmt: skip
    end = time.monotonic() + 60
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.1)
    import json

    return json.loads(file.read_text())["address"], [scheduler, worker]


def _run(folder: Path, address: str) -> subprocess.Popen[str]:
    text = textwrap.dedent(SCRIPT.format(root=str(ROOT), folder=str(folder), address=address))
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """End all processes that the test started."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_killed_scheduler_is_named_and_the_next_run_writes_the_same_bytes(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    address, started = _start(tmp_path)
    processes += started
    run = _run(tmp_path, address)
    ledger, end = Ledger(tmp_path / "ledger", "f"), time.monotonic() + 60
    while len(ledger.names_done()) < 5 and time.monotonic() < end:
        time.sleep(0.01)
    started[0].kill()
    out, err = run.communicate(timeout=90)
    assert run.returncode == 2, (out, err)
    assert "scheduler" in out
    assert "Traceback" not in err
    done = ledger.names_done()
    assert 5 <= len(done) < 30
    address, started = _start(tmp_path)
    processes += started
    run = _run(tmp_path, address)
    out, err = run.communicate(timeout=90)
    assert out == "ended\n", err
    assert done < ledger.names_done()
    filled_cube(tmp_path / "b.zarr", (10, 10))
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")
