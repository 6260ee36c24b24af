"""Faults around a run's folder: links, a disk that turns read-only, clocks, sources that change."""

from __future__ import annotations

import os
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.files import UnwritableError, write_json
from pipeline.cube.write import verify_cube
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import StageReport, run_stage
from tests.cubes import contents, fill_tile, filled_cube, make_cube
from tests.end_to_end.small import QUICKSTART, digests, settings, stefaland
from tests.faults.disks import remount, small_disk
from workflows.cli import main
from workflows.commands.status import tiles
from workflows.config.load import load_config
from workflows.run import Run
from workflows.stages import regrid
from workflows.stages.markers import StageState
from workflows.stages.owned import require_inside


def test_a_link_out_of_the_run_folder_is_refused_and_its_files_stay(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("kept")
    run = tmp_path / "run"
    run.mkdir()
    (run / "cubes").symlink_to(elsewhere)
    (run / "maps").mkdir()
    (run / "maps" / "a.zarr").symlink_to(elsewhere)
    with pytest.raises(InputError) as caught:
        require_inside(run, [run / "cubes", run / "maps"])
    assert [fault.where for fault in caught.value.faults] == [
        str(run / "cubes"), str(run / "cubes" / "precious"), str(run / "maps" / "a.zarr")
    ]  # fmt: skip
    assert str(elsewhere) in str(caught.value)
    assert (elsewhere / "precious").read_text() == "kept"


def test_a_run_folder_that_is_itself_a_link_is_fine(tmp_path: Path) -> None:
    (tmp_path / "scratch" / "cubes").mkdir(parents=True)
    (tmp_path / "run").symlink_to(tmp_path / "scratch")
    require_inside(tmp_path / "run", [tmp_path / "run" / "cubes", tmp_path / "run" / "maps"])


@pytest.mark.registry
def test_the_command_refuses_links_before_it_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    registry: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("STEFALAND_RUNS", str(tmp_path))
    monkeypatch.setenv("STEFALAND_DATA", str(registry))
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("kept")
    (tmp_path / "quickstart" / "maps").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SystemExit) as stopped:
        main(["run", "quickstart", *settings(QUICKSTART)])
    assert stopped.value.code == 2
    assert "within the run folder" in capsys.readouterr().err
    assert (tmp_path / "elsewhere" / "precious").read_text() == "kept"
    assert not (tmp_path / "quickstart" / "cubes").exists()


def test_a_disk_that_turns_read_only_and_back(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        made = make_cube(disk / "a.zarr", (10, 10))
        ledger = Ledger(disk / "ledger", "f")
        run_stage("fill", made.tiles[:7], partial(fill_tile, disk / "a.zarr"), ledger)
        remount(disk, "ro")
        with pytest.raises(UnwritableError, match="Read-only file system"):
            run_stage("fill", made.tiles, partial(fill_tile, disk / "a.zarr"), ledger)
        with pytest.raises(UnwritableError, match="Read-only file system"):
            write_json(disk / "marker.json", {})
        with pytest.raises(UnwritableError, match="Read-only file system"):
            StageState(disk, "regrid", "f").start([], resume=True)
        remount(disk, "rw")
        assert len(ledger.names_done()) == 7
        run_stage("fill", made.tiles, partial(fill_tile, disk / "a.zarr"), ledger)
        filled_cube(tmp_path / "b.zarr", (10, 10))
        assert contents(disk / "a.zarr") == contents(tmp_path / "b.zarr")


@pytest.mark.parametrize("jump", [-3e8, 3e8])
def test_a_clock_that_jumps_changes_no_byte_and_repeats_no_tile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    made = make_cube(tmp_path / "a.zarr", (10, 10))
    ledger = Ledger(tmp_path / "ledger" / "regrid-a", "f")
    step = partial(fill_tile, tmp_path / "a.zarr")
    run_stage("fill", made.tiles[:9], step, ledger)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    monkeypatch.setattr(time, "time_ns", lambda: int((real() + jump) * 1e9))
    for marker in ledger.path.glob("*.json"):
        os.utime(marker, (real() + 2 * jump, real() + 2 * jump))
    report = run_stage("fill", made.tiles, step, ledger)
    assert (len(report.skipped), len(report.done)) == (9, len(made.tiles) - 9)
    filled_cube(tmp_path / "b.zarr", (10, 10))
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")
    assert verify_cube(tmp_path / "a.zarr", ledger=ledger) == []
    (counted,) = tiles(tmp_path, "regrid")
    assert counted.done == len(made.tiles)
    assert counted.per_minute >= 0


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Path) -> Run:
    """A run whose data folder is its own: links to the packages, but one source a copy."""
    data = tmp_path / "data"
    data.mkdir()
    for item in registry.iterdir():
        (data / item.name).symlink_to(item)
    (data / "jcm").unlink()
    subprocess.run(["cp", "-r", str(registry / "jcm"), str(data / "jcm")], check=True)
    monkeypatch.setenv("STEFALAND_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("STEFALAND_DATA", str(data))
    return Run(load_config("quickstart", [*QUICKSTART, *SMALLER]))


SMALLER = ("cubes.global={grid: global_2deg, tile: [90, 180]}",)


@pytest.mark.registry
def test_a_source_that_changes_under_the_run_is_named(
    copied: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = next(f for s in regrid.used_sources(copied) for f in s.files if "soil" in str(f))

    def meanwhile(*arguments: object, **settings: object) -> StageReport:
        os.utime(changed, ns=(1, 1))
        return StageReport(0.0, 0)

    monkeypatch.setattr(regrid, "fill_cube", meanwhile)
    with pytest.raises(InputError, match=r"soil\.nc changed while it was read"):
        regrid.main(copied)


@pytest.mark.registry
@pytest.mark.slow
def test_a_changed_source_makes_the_cubes_of_a_new_run(copied: Run, tmp_path: Path) -> None:
    """Same bytes as an undisturbed run on the changed file, not a mixture with the first one's."""
    data = Path(os.environ["STEFALAND_DATA"])
    overrides = (*QUICKSTART, *SMALLER, f"roots.data={data}")
    done = stefaland(tmp_path / "runs", "quickstart", overrides, "regrid", "--part", "1/3")
    assert done.returncode == 0, done.stderr
    file = next(f for s in regrid.used_sources(copied) for f in s.files if "soil" in str(f))
    os.utime(str(file), ns=(1, 1))
    for runs in ("runs", "undisturbed"):
        done = stefaland(tmp_path / runs, "quickstart", overrides, "regrid")
        assert done.returncode == 0, done.stderr
    found = digests(tmp_path / "runs" / "quickstart" / "cubes")
    assert found == digests(tmp_path / "undisturbed" / "quickstart" / "cubes")
    fingerprints = list((tmp_path / "runs/quickstart/ledger").glob("regrid-global/*"))
    assert len(fingerprints) == 1
