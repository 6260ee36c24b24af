"""Files appear complete or not at all: after any failure the old file is there and nothing else."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from stat import S_ISDIR

import pytest

import pipeline.core.files
from pipeline.core.errors import InputError
from pipeline.core.files import (
    FileSet,
    UnwritableError,
    new_folder,
    read_json,
    replacing,
    write_bytes,
    write_json,
    write_text,
)


def _names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_a_replaced_file_gets_its_name_last(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "map.tif"
    with replacing(path) as partial:
        partial.write_text("whole")
        assert partial.name == path.name
        assert not path.exists()
    assert path.read_text() == "whole"
    assert _names(path.parent) == ["map.tif"]


def test_an_error_leaves_what_was_there_and_no_scrap(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})

    def fail() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            partial.with_name("journal").write_text("of a library")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read_json(path) == {"x": 1}
    assert _names(tmp_path) == ["a.json"]


def test_a_file_is_on_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    seen: list[tuple[int | str, bool]] = []

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        seen.append(("folder" if S_ISDIR(status.st_mode) else status.st_size, path.exists()))

    monkeypatch.setattr(pipeline.core.files.os, "fsync", fsync)
    write_text(path, "12345")
    assert seen == [(5, False), ("folder", True)]


def test_a_killed_writer_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from pipeline.core.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "a.txt"
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert [name.startswith(".a.txt.") for name in _names(tmp_path)] == [True]
    write_text(path, "whole")
    assert _names(tmp_path) == ["a.txt"]


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as first:
        first.write_text("first")
        write_text(path, "second")
        assert first.read_text() == "first"
    assert path.read_text() == "first"
    assert _names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_an_input_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pipeline.core.files.os, "fsync", full)
    with pytest.raises(UnwritableError, match=r"a\.txt.*Free space"):
        write_text(tmp_path / "a.txt", "text")
    assert not _names(tmp_path)


def test_an_error_that_may_pass_stays_itself(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass
    assert not _names(tmp_path)


def test_text_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "Niño")
    assert (tmp_path / "a").read_bytes() == "Niño".encode()
    write_json(tmp_path / "b", {"b": 1, "a": [2]})
    assert (tmp_path / "b").read_bytes() == b'{\n  "a": [\n    2\n  ],\n  "b": 1\n}\n'


@pytest.mark.parametrize("content", [b"{", b"\xff", b""])
def test_what_is_no_json_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match="a JSON file"):
        read_json(tmp_path / "a.json")


def test_files_of_a_set_appear_together_or_not_at_all(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", [b"old"])

    def fail() -> None:
        with FileSet() as files:
            files.add(tmp_path / "a", [b"new"])
            files.add(tmp_path / "b", [b"new"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert _names(tmp_path) == ["a"]
    with FileSet() as files:
        files.add(tmp_path / "a", [b"n", b"ew"])
        files.add(tmp_path / "b", [b"new"])
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"new", b"new"]


def test_a_new_folder_takes_the_place_of_the_old_one_or_refuses(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with new_folder(tmp_path / "a") as folder:
            (folder / text).write_text(text)
        assert _names(tmp_path / "a") == [text]
    with pytest.raises(FileExistsError), new_folder(tmp_path / "a", replace=False) as folder:
        (folder / "third").write_text("third")
    assert _names(tmp_path / "a") == ["second"]
    assert _names(tmp_path) == ["a"]
