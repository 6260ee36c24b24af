"""What consoles and log files show: no signatures of addresses, and every name, however encoded."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from workflows.console import REPORT, set_up, write_to_log

ADDRESS = "https://h.org/a.tif?X-Amz-Signature=SECRET"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "run.log"


def test_signatures_in_messages_of_libraries_are_not_logged(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STEFALAND_LOG", "DEBUG")
    try:
        set_up(log_file=log)
        logging.getLogger("urllib3.connectionpool").debug(
            '%s "GET %s HTTP/1.1" %s', "https://h.org:443", "/a.tif?sig=SECRET", 200
        )
        logging.getLogger("rasterio._env").warning("CPLE_HttpResponse in HTTP on %s: 403", ADDRESS)
        write_to_log(f"Traceback: OSError: {ADDRESS}")
        shown = log.read_text() + "".join(capsys.readouterr())
    finally:
        monkeypatch.undo()
        set_up()
    assert shown.count("a.tif") >= 3
    assert "SECRET" not in shown


def test_names_that_are_no_utf8_are_shown(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        set_up(log_file=log)
        REPORT.plain("error: d\udce9bit.nc: found no such file")
        assert "bit.nc: found no such file" in log.read_text(encoding="utf-8")
    finally:
        set_up()
    assert "bit.nc: found no such file" in capsys.readouterr().err
