"""Hints that fit the file: data of the demos, other files, and files of another format."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.readers.common.first_bytes import NETCDF, format_of
from pipeline.readers.common.refusals import (
    DEMO_FILES,
    missing_hint,
    unreadable,
)

ROOT = Path(__file__).parents[4]


def hint(path: Path, error: Exception | None = None) -> str:
    refusal = unreadable("here", path, error or OSError("no"), "a NetCDF file", *NETCDF)
    return refusal.faults[0].hint


def test_the_demos_folders_are_those_of_their_catalogs() -> None:
    text = (ROOT / "requirements-data.txt").read_text()
    packages = re.findall(r"^([\w-]+)==", text, re.M)
    assert {name.lower() for name in DEMO_FILES} == {
        name.replace("-", "_").lower() for name in packages
    }
    for catalog in ("quickstart", "delaware"):
        text = (ROOT / "catalogs" / f"{catalog}.yml").read_text()
        folders = set(re.findall(r"\$\{data\}/(\w+)/", text))
        assert folders
        assert folders <= DEMO_FILES.keys()


def test_make_data_is_the_hint_for_the_demos_files_alone() -> None:
    assert "make data" in missing_hint(Path("data/registry/jcm/data/snow.nc"))
    assert "make data" not in missing_hint(Path("/mine/snow.nc"))
    assert "make data" not in missing_hint(Path("/home/me/itur/rain_2001.nc"))
    assert "correct `uri`" in missing_hint(Path("/mine/snow.nc"))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\n<!doctype html><title>Log in</title>", "It is an HTML page"),
        (b'<?xml version="1.0"?><Error>', "It is an XML file"),
        (b"PK\x03\x04....", "It is a ZIP archive"),
        (b"II*\x00....", "It begins like a TIFF: set `driver: raster`"),
        (b"\x89HDF\r\n\x1a\n", "Download it again: it has 8 of the 9 bytes"),
        (b"CDF\x01", "Download it again: it has 4 of the 5 bytes"),
        (
            b"other\x01",
            "Correct `uri` or `driver` of the entry: its first bytes, b'other\\x01', are",
        ),
    ],
)
def test_what_begins_as_another_format_is_not_called_truncated(
    tmp_path: Path, head: bytes, expected: str
) -> None:
    path = tmp_path / "a.nc"
    path.write_bytes(head)
    assert hint(path).startswith(expected)


def test_folders_have_no_format_and_missing_files_their_own_hint(tmp_path: Path) -> None:
    assert format_of(tmp_path) is None
    assert "correct `uri`" in hint(tmp_path / "none.nc", FileNotFoundError("none"))
