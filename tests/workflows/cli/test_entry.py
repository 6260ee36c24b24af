"""The command line as a whole: help, versions, options of output, exit codes."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.execution.progress import is_hidden
from tests.conftest import ROOT
from tests.workflows.tiny import write_tiny
from workflows.cli import main
from workflows.cli.entry import output_options_first
from workflows.commands import doctor
from workflows.fingerprints import NEEDS
from workflows.stages.order import stage_module

HEAVY = ("torch", "xarray", "rasterio", "numpy", "pandas", "dask")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_help_names_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    assert all(stage in text for stage in [*NEEDS, "run", "catalog", "doctor"])


def test_help_has_panels_in_the_order_of_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    panels = ["─ Data ─", "─ Model ─", "─ Maps ─", "─ Scores ─", "─ Runs ─", "─ About ─"]
    positions = [text.index(panel) for panel in panels]
    assert positions == sorted(positions)
    stages = [name for name in NEEDS if name != "report"]
    rows = [text.index(f"│ {name} ") for name in stages]
    assert rows == sorted(rows)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["--version", "-v"]])
def test_help_and_version_load_no_library_of_the_data_or_the_model(arguments: list[str]) -> None:
    code = f"""
import sys
from workflows.cli import main
try:
    main({arguments!r})
except SystemExit:
    print(sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_python_m_stefaland_is_the_command_line() -> None:
    done = python("-m", "stefaland", "--version")
    assert (done.returncode, done.stdout) == (0, "stefaland 0.2.0\n")
    help_text = python("-m", "stefaland", "--help").stdout
    assert "python -m stefaland" in help_text


def test_verbose_version_lists_main_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version", "--verbose") == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "stefaland 0.2.0"
    assert {line.split()[0] for line in others} == set(doctor.PACKAGES) - {"stefaland"}


def test_output_options_come_first_wherever_they_stand() -> None:
    typed = ["run", "--log-file", "a.log", "x", "-v", "--log-file=b.log", "--", "-q"]
    expected = ["--log-file", "a.log", "-v", "--log-file=b.log", "run", "x", "--", "-q"]
    assert output_options_first(typed) == expected
    assert output_options_first(["run", "--log-file"]) == ["--log-file", "run"]


@pytest.mark.parametrize("quiet", [("-q", "check"), ("check", "--quiet")])
def test_quiet_hides_progress_alone(
    quiet: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(write_tiny(tmp_path))
    assert run("check", config) == 0
    printed = capsys.readouterr().err
    assert "all values of 3 sources" in printed
    assert "values, in canonical units" in printed
    assert not is_hidden()
    assert run(*quiet, config) == 0
    assert capsys.readouterr() == ("", "")
    assert is_hidden()
    (tmp_path / "rain.nc").unlink()
    assert run(*quiet, config) == 2
    assert "error:" in capsys.readouterr().err


def test_the_log_file_has_all_that_is_printed_and_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, log = str(write_tiny(tmp_path)), tmp_path / "new" / "folder" / "all.log"
    assert run("check", config, "-v", "--log-file", str(log)) == 0
    printed = capsys.readouterr().err
    assert "DEBUG" in printed
    assert run("-q", f"--log-file={log}", "check", config) == 0
    assert run("check", f"{config}x", "--log-file", str(log)) == 2
    text = log.read_text()
    assert text.count("all values of 3 sources checked\n") == 2
    assert text.count("DEBUG workflows.cli.options: run tiny") == 1
    assert "error: " in text
    assert run("doctor") == 0
    assert log.read_text() == text, "written to after its command had ended"


def test_a_log_file_that_cannot_be_written_is_one_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "a.log"
    assert run("doctor", "--log-file", str(path)) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: --log-file {path}: found a file that cannot be written")
    assert printed.count("\n") == 1


def test_settings_of_output_that_contradict_each_other_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("-v", "doctor", "-q") == 2
    assert "expected one of them" in capsys.readouterr().err
    monkeypatch.setenv("STEFALAND_LOG", "WARNIG")
    assert run("doctor") == 2
    assert 'Did you mean "WARNING"?' in capsys.readouterr().err


def test_libraries_show_warnings_and_we_show_all_when_verbose(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def report() -> dict[str, object]:
        for name in ("numcodecs", "pipeline.x"):
            for level in (logging.DEBUG, logging.INFO, logging.WARNING):
                logging.getLogger(name).log(level, "%s-%d", name, level)
        raise InputError([])

    monkeypatch.setattr(doctor, "machine", report)
    logging.getLogger("numcodecs").setLevel(logging.DEBUG)
    for options, shown in (((), {30}), (("-q",), {30}), (("-v",), {10, 20, 30})):
        assert run("doctor", *options) == 2
        printed = capsys.readouterr().err
        assert {level for level in (10, 20, 30) if f"pipeline.x-{level}" in printed} == shown
        assert {level for level in (10, 20, 30) if f"numcodecs-{level}" in printed} == {30}


def test_an_interrupt_is_reported_with_how_to_continue(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "machine", interrupted)
    assert run("doctor") == 130
    assert "run the same command again" in capsys.readouterr().err


def test_an_error_of_ours_has_its_traceback_in_the_log_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(doctor, "machine", broken)
    with pytest.raises(RuntimeError):
        main(["doctor", "--log-file", str(tmp_path / "a.log")])
    text = (tmp_path / "a.log").read_text()
    assert "Traceback" in text
    assert text.endswith("RuntimeError: broken\n\n")


def test_an_error_of_ours_has_no_secret_in_what_it_prints() -> None:
    code = """
import os
from workflows.cli import main
from workflows.commands import doctor
os.environ |= {"CDSAPI_KEY": "hunter2", "HOME": os.getcwd()}
def broken():
    raise RuntimeError(f"{os.environ['CDSAPI_KEY']} in {os.getcwd()}/x")
doctor.machine = broken
main(["doctor"])
"""
    done = python("-c", code)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == "RuntimeError: ${CDSAPI_KEY} in ~/x"
    assert str(ROOT) not in done.stderr


@pytest.mark.parametrize("name", list(NEEDS))
def test_every_stage_begins_with_its_command(name: str) -> None:
    first = str(stage_module(name).__doc__).splitlines()[0]
    assert first == f"stefaland {name} workflows/configs/quickstart.yml"


def test_doctor_lists_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_a_fault_of_the_catalog_is_reported_once(
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
