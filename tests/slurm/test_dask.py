"""Dask workers as jobs of a real SLURM (`cluster.kind: slurm`), one of which dies."""

from __future__ import annotations

import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

from pipeline.execution.cluster import ClusterConfig, connect
from pipeline.execution.dask import OnCluster
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import run_stage
from pipeline.execution.slurm import SlurmConfig
from tests.conftest import ROOT
from tests.cubes import contents, filled_cube, make_cube
from tests.faults.slow import fill_slowly
from tests.slurm.cluster import missing_programs

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {missing_programs()}"),
]


def _jobs() -> list[str]:
    done = subprocess.run(
        ["squeue", "-h", "-t", "RUNNING", "-o", "%i"], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_workers_are_jobs_and_a_lost_one_is_replaced(
    slurm: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    settings = SlurmConfig(
        cores=1, processes=1, memory="1GiB", walltime="00:10:00", jobs=2, minimum_jobs=2,
        interface="lo", prologue=(f"export PYTHONPATH={ROOT}",),
    )  # fmt: skip
    made = make_cube(tmp_path / "a.zarr", (5, 5))
    ledger = Ledger(tmp_path / "ledger", "f")
    with connect(ClusterConfig(kind="slurm", slurm=settings)) as executor:
        assert isinstance(executor, OnCluster)
        executor.client.wait_for_workers(2, timeout=90)
        first = _jobs()
        assert len(first) == 2
        subprocess.run(["scancel", "--signal=KILL", "--full", first[0]], check=True)
        report = run_stage(
            "fill", made.tiles, partial(fill_slowly, tmp_path / "a.zarr"), ledger, executor
        )
        assert len(report.done) == len(made.tiles)
        end = time.monotonic() + 60
        while set(_jobs()) <= set(first) and time.monotonic() < end:
            time.sleep(0.5)
        assert set(_jobs()) - set(first), "no job came for the lost one"
    filled_cube(tmp_path / "b.zarr", (5, 5))
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")
