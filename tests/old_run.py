"""A finished run of version 0.2.0, unpacked to work in; `golden/v0_2/make.py` made it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "golden" / "v0_2"
ENVIRONMENT = {"STEFALAND_DATA": "sources", "STEFALAND_RUNS": ".", "OMP_NUM_THREADS": "1"}
MODIFIED = 1_000_000_000
"""Modification time of the sources when the run was made, seconds."""


def unpack_old_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the fixtures below `folder`, with the run folder `run` unpacked, to be in."""
    home = folder / "v0_2"
    shutil.copytree(FIXTURES, home)
    shutil.unpack_archive(home / "run.tar.gz", home, filter="data")
    monkeypatch.chdir(home)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return home


def date_sources(home: Path) -> None:
    """Set the sources' modification times to those that the run has recorded."""
    for source in (home / "sources").iterdir():
        os.utime(source, (MODIFIED, MODIFIED))
