"""`stefaland init`: a config and a catalog from files, answers and what a catalog offers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from tests.tutorial_data import Truth
from tests.workflows.tiny import write_tiny
from workflows.cli import main
from workflows.commands.data.init import Wishes, start
from workflows.config.load import load_config
from workflows.run import Run


def test_answers_at_a_terminal_decide(
    tutorial: tuple[Path, Truth], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = tutorial
    asked: list[tuple[str, str | None]] = []
    answers = {"Folder": str(folder), "CRS": "EPSG:32632", "Region": "10.6, 47.0, 11.8 48.0",
               "Cell": "10000", "First": "2019-04-10 2019-06-30"}  # fmt: skip

    def ask(question: str, default: str | None) -> str:
        asked.append((question, default))
        return answers.get(question.split()[0].strip(":"), default or "")

    started = start("mine", tmp_path, None, Wishes(), ask)
    assert [question.split()[0].strip(":") for question, _ in asked] == [
        "Folder", "Variable", "CRS", "Region", "Cell", "First",
    ]  # fmt: skip
    assert dict(asked)["First and last day"] == "2019-04-01 2019-07-31"
    monkeypatch.setenv("STEFALAND_DATA", "/elsewhere")
    run = Run(load_config(started["config"]))
    (grid,) = run.grids.values()
    assert (grid.crs, grid.dx, grid.shape) == ("EPSG:32632", 10000, (13, 11))
    assert [edge % 10000 for edge in grid.bounds] == [0, 0, 0, 0]
    inputs = run.config.inputs
    assert inputs.forcings == ("precipitation", "air_temperature")
    assert {"elevation", "slope", "clay", "landcover_fraction_*"} <= {*inputs.statics}
    assert inputs.target_sites == "stations"
    periods = {one.time.period for one in run.catalog.sources.values() if one.time.period}
    assert [str(day) for day in periods.pop()] == ["2019-04-10", "2019-06-30"]
    assert not periods
    assert run.config.pretrain.window == 54  # two thirds of 82 days
    with pytest.raises(InputError, match="is there already"):
        start("mine", tmp_path, folder, Wishes(), None)
    # A catalog that is there is used as it is.
    catalog = Path(started["catalog"])
    catalog.write_text(catalog.read_text().replace("clay:", "sand:"))
    edited = catalog.read_bytes()
    again = start("again", tmp_path, folder, Wishes(crs="EPSG:3035", resolution=20000), None)
    assert catalog.read_bytes() == edited
    assert "sand" in load_config(again["config"]).inputs.statics


def test_months_without_years_have_an_example_of_their_own(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    before = (tmp_path / "catalog.yml").read_bytes()
    with pytest.raises(InputError, match="quickstart"):
        start("own", tmp_path, tmp_path, Wishes(target=("soil_moisture",), grid="coarse"), None)
    assert (tmp_path / "catalog.yml").read_bytes() == before
    assert not (tmp_path / "own.yml").exists()


def test_targets_of_grids_and_of_no_packaged_legend(
    tutorial: tuple[Path, Truth], tmp_path: Path
) -> None:
    folder, _ = tutorial
    wishes = Wishes(target=("air_temperature",), crs="EPSG:3035", resolution=20000)
    started = start("heat", tmp_path, folder, wishes, None)
    config = load_config(started["config"])
    assert config.inputs.forcings == ("precipitation",)
    assert config.inputs.target_sites is None
    assert config.folds.kind == "blocks"
    legend = config.publish.legend_named("air_temperature")
    assert legend.units == "degC"
    assert legend.minimum < 0 < legend.maximum
    with pytest.raises(InputError, match='Did you mean "precipitation"'):
        start("rain", tmp_path, folder, Wishes(target=("precipitatoin",)), None)


def test_without_a_terminal_options_must_say_what_files_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STEFALAND_DATA", raising=False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(SystemExit) as stopped:
        main(["init", "mine"])
    assert stopped.value.code == 2
    assert "error: --data: found nothing, and no terminal to ask at" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--crs", "EPSG:3035", "--bounds", "10", "46", "12", "48", "--resolution", "1000"],
         "add `--degrees`"),
        (["--crs", "EPSG:3035", "--resolution", "1000"], "--bounds: found nothing"),
        (["--crs", "EPSG:99", "--bounds", "0", "0", "9", "9", "--resolution", "1"], "PROJ knows"),
        (["--crs", "EPSG:4326", "--bounds", "0", "0", "1", "1", "--resolution", "0.3"], "whole"),
        (["--like", "absent.tif"], "absent.tif"),
        (["--like", "a.tif", "--resolution", "3"], "together with"),
    ],
)  # fmt: skip
def test_grids_that_cannot_be_are_refused(
    options: list[str], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["grid", "add", "mine", *options])
    assert stopped.value.code == 2
    assert found in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_grid_like_that_of_a_file_is_added_below_the_others(
    tutorial: tuple[Path, Truth], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.grid.named_grids import read_grids

    monkeypatch.chdir(tmp_path)
    bounds = ["--bounds", "5", "43", "17", "49"]
    lines = (["one", "--crs", "EPSG:4326", *bounds, "--resolution", "0.1"],
             ["two", "--like", str(tutorial[0] / "landcover.tif")])  # fmt: skip
    for options in lines:
        with pytest.raises(SystemExit) as stopped:
            main(["grid", "add", *options])
        assert not stopped.value.code
    grids = read_grids(tmp_path / "grids.yml")
    assert grids["one"].shape == (60, 120)
    assert (grids["two"].crs, grids["two"].dx) == ("EPSG:3035", 500)


@pytest.mark.parametrize("written", [b"# Grids of ours.\n", b"# old\na: {crs: 'EPSG:4326'"])
def test_what_a_person_wrote_stays_in_a_file_of_grids(
    written: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grids.yml").write_bytes(written)
    with pytest.raises(SystemExit) as stopped:
        main(["grid", "add", "one", "--crs", "EPSG:4326", "--bounds", "5", "43", "17", "49",
              "--resolution", "0.1"])  # fmt: skip
    text = (tmp_path / "grids.yml").read_bytes()
    assert text.startswith(written)
    assert stopped.value.code == (0 if b"one:" in text else 2)
    assert (b"one:" in text) == (b"{" not in written)
