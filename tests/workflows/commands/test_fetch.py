"""`stefaland fetch` as it is typed: results, dry runs, refusals, and a process that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.catalog.catalog import read_catalog
from pipeline.fetch import transfer
from tests.conftest import ROOT
from tests.pipeline.fetch.products import written
from tests.providers import File, Provider, provider
from tests.workflows.cli.test_json import agree
from workflows.cli import main

LARGE = os.urandom(1 << 22)
PACE = 0.02
"""Seconds for 64 kB."""


@pytest.fixture
def server() -> Iterator[Provider]:
    with provider(**{f"rain_{year}.nc": File(b"x" * 1000 * year) for year in (2001, 2002)}) as it:
        yield it


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


def words(folder: Path, get: dict[str, Any], *more: str, static: bool = False) -> list[str]:
    catalog = str(written(folder, get, static))
    period = () if static else ("--period", "2001", "2002-06")
    return ["fetch", "rain", "--catalog", catalog, "--into", str(folder / "data"), *period, *more]


def by_year(server: Provider) -> dict[str, Any]:
    return {"kind": "http", "files": f"{server.url}/rain_{{year}}.nc", "rate": 1000}


def test_files_are_fetched_and_listed(
    server: Provider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(tmp_path, by_year(server))
    assert run(*command, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "to fetch: 4 MB in 2 requests" in shown
    assert "licence: CC0" in shown
    assert run(*command) == 0
    assert "2 fetched (4 MB) into" in capsys.readouterr().out
    assert (tmp_path / "data" / "rain" / "rain_2002.nc").stat().st_size == 2002000
    assert run(*command) == 0
    assert "0 fetched" in capsys.readouterr().out


def test_documents_are_those_of_the_documentation(
    server: Provider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(tmp_path, by_year(server), "--json")
    assert run(*command, "--dry-run") == 0
    document = json.loads(capsys.readouterr().out)
    agree(document, "stefaland fetch SOURCE --dry-run --json")
    assert document["bytes"] == 4003000
    assert run(*command) == 0
    document = json.loads(capsys.readouterr().out)
    agree(document, "stefaland fetch SOURCE --json")
    assert [record["path"] for record in document["fetched"]] == [
        "rain/rain_2001.nc", "rain/rain_2002.nc"
    ]  # fmt: skip
    assert Path(document["manifest"]).exists()


def test_a_part_of_the_variables_leads_to_an_entry_of_its_own(
    server: Provider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(tmp_path, by_year(server))
    text = Path(command[3]).read_text()
    Path(command[3]).write_text(text.replace("precipitation:", "air_temperature: {name: heat}\n    "
                                             "precipitation:"))  # fmt: skip
    assert run(*command, "--variables", "precipitation") == 0
    shown = capsys.readouterr().out
    assert "more variables, which a check misses in these files" in shown
    entry = yaml.safe_load(shown[shown.index("rain_part:") :])["rain_part"]
    assert list(entry["variables"]) == ["precipitation"]
    assert entry["uri"] == f"{tmp_path}/data/rain/rain_{{year}}.nc"
    own = tmp_path / "own.yml"
    own.write_text(shown[shown.index("rain_part:") :])
    assert read_catalog(own)["rain_part"].time.years == (2000, 2020)
    assert run(*command, "--variables", "precipitation", "--json") == 0
    agree(json.loads(capsys.readouterr().out), "stefaland fetch SOURCE --json")


def test_a_dry_run_says_which_credentials_are_missing(
    server: Provider, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("EARTHDATA_TOKEN", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    command = words(tmp_path, {**by_year(server), "auth": "earthdata"})
    assert run(*command, "--dry-run") == 0
    assert "credentials: EARTHDATA_TOKEN or ~/.netrc: missing" in capsys.readouterr().out
    assert run(*command) == 2
    assert "no credentials" in capsys.readouterr().err
    assert not server.asked


def test_data_of_a_form_are_refused_with_the_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = ["Fill in https://glim.org/form.", "Unpack rain.zip there."]
    command = words(tmp_path, {"kind": "manual", "steps": steps})
    for more in ((), ("--dry-run",)):
        assert run(*command, *more) == 2
        shown = capsys.readouterr().err
        assert "1. Fill in https://glim.org/form.\n  2. Unpack rain.zip there." in shown
        assert f"{tmp_path}/data/rain/rain_{{year}}.nc" in shown


@pytest.mark.parametrize("period", [("2001-13", "2002"), ("soon", "2002"), ("2001-02-30", "2002")])
def test_periods_that_do_not_exist_are_refused(
    period: tuple[str, str], server: Provider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(tmp_path, by_year(server), static=False)
    command[command.index("2001")], command[command.index("2002-06")] = period
    assert run(*command) == 2
    assert "a day, month or year" in capsys.readouterr().err


def test_an_unknown_source_has_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fetch", "chrips", "--period", "2001", "2001") == 2
    assert 'Did you mean "chirps"?' in capsys.readouterr().err


def started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "workflows.cli", *command],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_process_that_ends_in_the_middle_goes_on_there(
    how: signal.Signals, tmp_path: Path
) -> None:
    with provider(**{"rain.nc": File(LARGE, pause=PACE)}) as server:
        get = {"kind": "http", "files": f"{server.url}/rain.nc", "to": "rain/rain.nc"}
        command = words(tmp_path, get, static=True)
        process = started(command)
        until = time.monotonic() + 60
        while server.sent.get("/rain.nc", 0) < len(LARGE) // 3 and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(how)
        _, shown = process.communicate(timeout=60)
        assert process.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130), shown
        hidden = tmp_path / "data" / "rain" / ".rain.nc.fetching"
        have = hidden.stat().st_size
        assert len(LARGE) // 3 - 2 * transfer.BLOCK <= have < len(LARGE)
        assert not (tmp_path / "data" / "rain" / "rain.nc").exists()
        server.routes["/rain.nc"] = File(LARGE)
        second = started(command)
        assert second.wait(60) == 0
        assert (tmp_path / "data" / "rain" / "rain.nc").read_bytes() == LARGE
        assert server.asked[-1].start == have
        assert not hidden.exists()
