"""Values of the environment and paths of people: no file of a run and no message has them."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import rasterio
import yaml

import workflows
from pipeline.core.files import read_json
from pipeline.cube.open import open_cube
from tests.workflows.tiny import write_tiny
from workflows.cli import main

SECRETS = {
    "TOKEN": "hunter2-\"q'<&>\\€",
    "VAULT": "zebra 7781",
    "ACCOUNT": "proj-9f3c",
    "PASSWORD": "opensesame",
    "SHORT": "a",
    "SEED": "11",
}
TITLE = "<!--<script> $x_{ [/b] by ${TOKEN} and ${SHORT}"


def write_config(home: Path) -> Path:
    """The config of a run of a few cells that refers to secrets wherever one may."""
    vault, project = home / SECRETS["VAULT"], home / "project"
    vault.mkdir(parents=True)
    project.mkdir()
    tiny = write_tiny(vault)
    settings = yaml.safe_load(tiny.read_text())
    for name in ("catalog.yml", "grids.yml"):
        (vault / name).rename(project / name)
    settings |= {
        "title": TITLE,
        "seed": "${SEED}",
        "roots": {"data": f"{home}/${{VAULT}}", "runs": f"{home}/scratch"},
        "catalogs": [str(project / "catalog.yml")],
        "grids": [str(project / "grids.yml")],
        "caveats": ["Seen by ${TOKEN}."],
        "variables": {
            "own": {"units": "1", "standard_name": "own", "long_name": "of ${TOKEN}",
                    "valid_range": [0, 1]}
        },
        "publish": {
            "products": [{"cube": "globe", "suffix": "globe"}],
            "legend": "wet", "spread_legend": "wet",
            "legends": {"wet": {"title": "wet, ${TOKEN}", "kind": "continuous", "units": "m3 m-3",
                                "stops": [{"value": 0, "colour": "#000000", "label": "${TOKEN}"},
                                          {"value": 1, "colour": "#ffffff"}]}},
        },
        "places": [{"name": "${TOKEN}", "why": "${PASSWORD}", "lon": 0, "lat": 0,
                    "product": "globe", "minimum": 0, "maximum": 1}],
        "cluster": {"kind": "none", "slurm": {
            "account": "${ACCOUNT}", "queue": "${SHORT}", "prologue": ["export KEY=${PASSWORD}"],
        }},
    }  # fmt: skip
    config = project / "tiny.yml"
    config.write_text(yaml.safe_dump(settings))
    return config


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("people") / "alice"
    write_config(home)
    sbatch = home / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(f"#!/bin/sh\necho \"$@\" >> '{home}/submitted'\necho 1\n")
    sbatch.chmod(0o700)
    return home


def environment(home: Path) -> dict[str, str]:
    path = f"{home}/bin:{os.environ['PATH']}"
    return {**SECRETS, "HOME": str(home), "PATH": path, "COLUMNS": "60"}


@pytest.fixture(scope="module")
def ran(home: Path) -> subprocess.CompletedProcess[str]:
    """A whole run, as its user starts it."""
    code = str(Path(str(workflows.__file__)).parents[1])
    return subprocess.run(
        [sys.executable, "-m", "workflows.cli", "run", f"{home}/project/tiny.yml", "-v",
         "--log-file", f"{home}/scratch/all.log"],
        cwd=home / "project", env={**os.environ, **environment(home), "PYTHONPATH": code},
        capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """A function that calls `stefaland` in the project; returns exit code, output and messages."""
    monkeypatch.chdir(home / "project")
    for name, value in environment(home).items():
        monkeypatch.setenv(name, value)

    def called(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        return int(stopped.value.code or 0), *capfd.readouterr()

    return called


def spellings(text: str) -> set[bytes]:
    """A text as JSON, Python, YAML, URLs and XML may have it."""
    found = {text, json.dumps(text)[1:-1], repr(text)[1:-1], quote(text), quote(text, safe="")}
    found |= {text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
    return {spelling.encode() for spelling in found}


def contents(path: Path) -> bytes:
    """The bytes of a file, and those of the files in an archive."""
    content = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return content + b"".join(archive.read(name) for name in archive.namelist())
    assert not tarfile.is_tarfile(io.BytesIO(content))
    return content


def leaks(text: bytes, home: Path) -> list[str]:
    """What a text holds that it should not."""
    hidden = {name: value for name, value in SECRETS.items() if len(value) > 3}
    hidden |= {"part of TOKEN": "hunter2", "part of VAULT": "zebra", "home": str(home)}
    return [name for name, value in hidden.items() if any(s in text for s in spellings(value))]


def test_no_file_of_a_run_and_no_message_has_a_secret_or_the_home(
    home: Path, ran: subprocess.CompletedProcess[str]
) -> None:
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert not leaks((ran.stdout + ran.stderr).encode(), home)
    run = home / "scratch" / "tiny"
    files = [path for path in (home / "scratch").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {
        ".html", ".json", ".tif", ".qgz", ".qml", ".gpkg", ".png", ".safetensors", ".log",
    }  # fmt: skip
    found = {str(path.relative_to(run.parent)): leaks(contents(path), home) for path in files}
    assert not {path: names for path, names in found.items() if names}


def test_references_are_in_their_places(home: Path, ran: subprocess.CompletedProcess[str]) -> None:
    assert ran.returncode == 0
    run = home / "scratch" / "tiny"
    settings = read_json(run / "scorecard.json")["provenance"]["config"]
    assert settings["title"] == TITLE
    assert settings["seed"] == "${SEED}"
    assert settings["roots"] == {"data": "~/${VAULT}", "runs": "${runs}"}
    assert settings["catalogs"] == ["${config}/catalog.yml"]
    assert settings["cluster"]["slurm"]["queue"] == "${SHORT}"
    assert settings["places"][0]["name"] == "${TOKEN}"
    # A short value is in many texts, which stay as they are.
    assert settings["inputs"]["target"] == "soil_moisture"
    cube = open_cube(run / "cubes" / "globe.zarr")
    assert cube.attrs["sources"]["rain"]["uri"] == "${data}/rain.nc"
    with rasterio.open(run / "maps" / "soil_moisture_globe.tif") as raster:
        assert raster.tags()["title"] == TITLE
    page = (run / "report.html").read_text()
    assert "&lt;!--&lt;script&gt; $x_{ [/b] by ${TOKEN}" in page


@pytest.mark.slow
def test_a_published_run_with_a_hostile_title_is_verified(
    ran: subprocess.CompletedProcess[str], command: Command
) -> None:
    assert ran.returncode == 0
    code, _, messages = command("publish", "tiny.yml", "--verify")
    assert code == 0, messages


def test_jobs_get_references_in_private_files(home: Path, command: Command) -> None:
    code, output, messages = command("submit", "tiny.yml")
    assert code == 0, messages
    assert f"--account={SECRETS['ACCOUNT']}" in (home / "submitted").read_text()
    assert not leaks((output + messages).encode(), home)
    folder = home / "scratch" / "tiny" / "slurm"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in ("config.yml", "prologue.sh"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
        # Jobs need the paths themselves.
        text = (folder / name).read_text().replace(str(home), "")
        assert not leaks(text.encode(), home)
    assert (folder / "prologue.sh").read_text() == "export KEY=${PASSWORD}\n"
    # The job reads the settings again, in the environment of its submission.
    code, _, messages = command("check", str(folder / "config.yml"))
    assert code == 0, messages
    _, output, _ = command("submit", "tiny.yml", "--dry-run")
    assert "--account=${ACCOUNT}" in output
    assert not leaks(output.replace(str(home), "").encode(), home)


def test_messages_have_references(home: Path, command: Command) -> None:
    rain = home / SECRETS["VAULT"] / "rain.nc"
    rain.rename(rain.with_suffix(".away"))
    try:
        code, output, messages = command("check", "tiny.yml")
        _, _, with_paths = command("check", "tiny.yml", "--show-paths")
    finally:
        rain.with_suffix(".away").rename(rain)
    assert code == 2
    assert not leaks((output + messages).encode(), home)
    assert "~/${VAULT}/rain.nc" in messages
    assert f"{home}/${{VAULT}}/rain.nc" in with_paths


def test_a_setting_that_does_not_fit_is_not_cut_within_a_secret(
    home: Path, command: Command
) -> None:
    for setting in ("cluster.kind=${TOKEN}", f"cluster.workers={'x' * 70}${{TOKEN}}"):
        code, output, messages = command("check", "tiny.yml", "--set", setting)
        assert code == 2
        assert not leaks((output + messages).encode(), home)


def test_control_characters_are_found_before_anything_is_computed(command: Command) -> None:
    code, _, messages = command("run", "tiny.yml", "--set", 'title="a\\x07b"')
    assert code == 2
    assert "tiny.yml: title: found a text with the control character U+0007" in messages
