"""A whole run on a disk that fills in every stage: one error each, and the same bytes at last."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.end_to_end.small import digests
from tests.faults.disks import small_disk
from tests.workflows.tiny import write_tiny
from workflows import fingerprints
from workflows.cli import main
from workflows.stages import owned
from workflows.stages.owned import below

STAGES = [name for name in fingerprints.NEEDS if name != "check"]
PAGE = 4096
SETTINGS = (
    "publish.products=[{cube: globe, suffix: globe}]", "publish.legend=soil_moisture",
    "publish.spread_legend=soil_moisture_spread",
)  # fmt: skip
TIMED = {"log.jsonl", "report.html"}
"""Names of files with the time that something took."""


def _run(config: Path, runs: Path, last: str) -> int:
    """Run the stages up to `last`; the exit code."""
    settings = (*SETTINGS, f"roots.runs={runs}")
    options = [part for setting in settings for part in ("--set", setting)]
    with pytest.raises(SystemExit) as stopped:
        main(["--quiet", "run", str(config), "--until", last, *options])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def _results(runs: Path) -> dict[str, str]:
    return {
        name: value
        for name, value in digests(runs / "tiny").items()
        if not name.startswith(".stages/") and Path(name).name not in TIMED
    }


def _is_finished(runs: Path, stage: str) -> bool:
    return (runs / "tiny" / ".stages" / f"{stage}.finished.json").exists()


def _pages(folder: Path) -> int:
    """Number of pages that the files of a folder take on a tmpfs."""
    return sum(-(-path.stat().st_size // PAGE) for path in below(folder))


def _fill(disk: Path, left: int) -> Path:
    """A file that takes all of the disk but `left` pages."""
    free = os.statvfs(disk).f_bavail
    (disk / "other").write_bytes(bytes(max(0, free - left) * PAGE))
    return disk / "other"


@pytest.mark.slow
def test_a_disk_that_fills_in_every_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(owned, "MIN_DISK", 0)
    config, whole = write_tiny(tmp_path), tmp_path / "whole"
    sizes, before = {}, 0
    for stage in STAGES:
        assert _run(config, whole, stage) == 0
        sizes[stage] = _pages(whole) - before
        before += sizes[stage]
    capsys.readouterr()
    with small_disk(tmp_path / "disk", "64m") as disk:
        for stage in STAGES:
            for left in (0, sizes[stage] // 2):
                other = _fill(disk, left)
                assert _run(config, disk, stage) == 2, stage
                lines = capsys.readouterr().err.splitlines()
                (line,) = [line for line in lines if line.startswith("error: ")]
                assert line.startswith(f"error: {disk / 'tiny'}/"), line
                assert "found a disk that is full (No space left on device)" in line
                other.unlink()
                # What the stages before had finished stays so.
                done = [name for name in STAGES[: STAGES.index(stage)] if _is_finished(disk, name)]
                assert done == STAGES[: STAGES.index(stage)]
            assert _run(config, disk, stage) == 0
        assert _results(disk) == _results(whole)
