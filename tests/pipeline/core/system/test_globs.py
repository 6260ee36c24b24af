"""Globs look through a bounded number of files, also where links lead in a circle."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.addresses import path_of
from pipeline.core.errors import InputError
from pipeline.core.provenance import file_stamp
from pipeline.core.system import globs
from pipeline.core.system.globs import matching
from pipeline.entries import file_series
from pipeline.entries.source import Source

FILES = ("a.nc", "b/a.nc", "b/c/a.nc", "b/c/d.txt", ".hidden/a.nc", "b[1]/a.nc", "e/f/g/a.nc")
PATTERNS = ("**/a.nc", "*/a.nc", "**/c/*", "b/**/*.nc", "*/*/?.*", "none/*", "**/**/a.nc",
            "[be]/*", "**/b/**/a.nc", "b/c")  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    return tmp_path


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_glob_matches_what_it_matches_in_python(pattern: str, tree: Path) -> None:
    # Versions of Python differ in whether `**` stands for links to folders, of which none is below.
    (tree / "b" / "loop").unlink()
    assert matching(tree, pattern, "x") == sorted(set(tree.glob(pattern)))


def test_links_in_a_circle_end(tree: Path) -> None:
    (tree / "b" / "again").symlink_to(tree / "b")
    assert len(matching(tree, "**/a.nc", "x", most=20)) == 6
    assert len(matching(tree, "*/*/*/a.nc", "x")) < 20


@pytest.mark.parametrize("pattern", ["**/rain.nc", "*/*/rain.nc", "**/x/*/rain.nc"])
def test_a_glob_that_looks_through_a_disk_is_refused(
    pattern: str, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_series, "MAX_FILES", 5)
    monkeypatch.setattr(globs, "MOST", 5)
    entry = Source.model_validate({
        "name": "s", "uri": f"{tree}/{pattern}", "driver": "netcdf", "variables": {},
    })  # fmt: skip
    with pytest.raises(InputError, match="more than 5 files or folders") as raised:
        assert entry.files
    assert raised.value.faults[0].where == f"{tree}/{pattern}"
    with pytest.raises(InputError, match="more than 5 files or folders"):
        file_stamp(f"{tree}/{pattern}")


def test_an_address_has_no_double_star() -> None:
    with pytest.raises(InputError, match="Write one \\* for each folder"):
        list(path_of("s3://bucket/rain").glob("**/a.nc"))
