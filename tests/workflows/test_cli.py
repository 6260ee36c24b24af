"""The command line: help, doctor, catalogs, and the two ways a command can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflows.cli import main
from workflows.fingerprints import NEEDS
from workflows.stages.order import stage_module


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


def test_help_names_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert all(stage in text for stage in [*NEEDS, "run", "catalog", "doctor"])


@pytest.mark.parametrize("name", list(NEEDS))
def test_every_stage_begins_with_its_command(name: str) -> None:
    first = str(stage_module(name).__doc__).splitlines()[0]
    assert first == f"stefaland {name} workflows/configs/quickstart.yml"


def test_doctor_says_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor") == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("torch", "GDAL", "PROJ", "memory", "cuda"))


@pytest.mark.registry
def test_catalogs_are_listed_shown_and_checked(
    capsys: pytest.CaptureFixture[str], registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "220")
    data = ("--data", str(registry))
    assert run("catalog", "list", "quickstart.yml", *data) == 0
    assert "soil_moisture" in capsys.readouterr().out
    assert run("catalog", "show", "quickstart.yml", "koppen", *data) == 0
    assert "continental" in capsys.readouterr().out
    assert run("catalog", "check", "quickstart.yml", "delaware.yml", *data) == 0
    assert "16 sources agree" in capsys.readouterr().out


def test_a_fault_of_the_catalog_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yml").write_text(
        "a: {uri: x.nc, driver: netcdf, variables: {rain: {name: v}}, crs: EPSG:99999}\n"
    )
    settings = [f"catalogs=[{tmp_path}/bad.yml]", f"roots.runs={tmp_path}"]
    assert run("check", "quickstart", "--set", settings[0], "--set", settings[1]) == 2
    text = capsys.readouterr().err
    assert text.count("a CRS that PROJ knows") == 1


def test_a_wrong_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("regrid", "quickstart", "--part", "3/2") == 2
    assert "1 <= i <= n" in capsys.readouterr().err


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", "quickstart", "--untill", "score") == 2
