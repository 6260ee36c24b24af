"""The regrid stage unpacks a run and leaves the rest to pipeline.build: the bytes are the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.build import build_cube
from pipeline.core.errors import InputError
from pipeline.cube.open import open_cube, read_store
from pipeline.execution.ledger import Ledger
from pipeline.grid.tiles import default_tile
from pipeline.regridding.fill import GapFilling
from tests.conftest import ROOT
from tests.cubes import contents
from workflows.config.load import load_config
from workflows.fingerprints import stage_fingerprint
from workflows.run import Run
from workflows.stages import regrid

FIXTURES = ROOT / "tests" / "golden" / "v0_2"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with synthetic sources, a catalog, a grid and a config."""
    shutil.copytree(FIXTURES / "sources", tmp_path / "sources")
    for name in ("catalog.yml", "target_grids.yml", "config.yml"):
        shutil.copy(FIXTURES / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEFALAND_DATA", "sources")
    monkeypatch.setenv("STEFALAND_RUNS", ".")
    return tmp_path


@pytest.mark.parametrize(
    ("overrides", "settings"),
    [
        ((), {}),
        (("inputs.terrain_from=elevation",), {"terrain_from": "elevation"}),
        (
            ("inputs.fill_distance=2",),
            {"filling": GapFilling(distance=2, never=("soil_moisture",))},
        ),
        (("cubes.land.time_shard=30",), {"time_shard": 30}),
    ],
)
def test_build_cube_gives_the_bytes_of_the_stage(
    home: Path, overrides: tuple[str, ...], settings: dict[str, Any]
) -> None:
    run = Run(load_config("config.yml", overrides))
    assert regrid.main(run) == {"tiles": {"land": 2}}
    attrs = open_cube(run.cube("land")).attrs
    build_cube(
        "own.zarr",
        run.grid("land"),
        run.catalog.select(*run.config.inputs.sources),
        tile=run.config.cubes["land"].tile,
        attrs={name: attrs[name] for name in ("config", "sources", "versions", "code")},
        **settings,
    )
    assert contents(home / "own.zarr") == contents(run.cube("land"))


def test_the_stage_names_the_source_that_changed_while_it_was_read(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, fill_cube = Run(load_config("config.yml")), regrid.fill_cube

    def touched(*arguments: Any, **settings: Any) -> Any:
        (home / "sources" / "elevation.nc").touch()
        return fill_cube(*arguments, **settings)

    monkeypatch.setattr(regrid, "fill_cube", touched)
    with pytest.raises(InputError, match=r"source elevation: found elevation.nc changed"):
        regrid.main(run)


def test_tiles_that_are_not_set_are_chosen_or_those_of_the_cube(home: Path) -> None:
    """A cube of 0.2.0, whose default was 64 by 64 cells, is resumed with its own tiles."""
    chosen = Run(load_config("config.yml", ["cubes.land.tile=null", "name=chosen"]))
    regrid.main(chosen)
    assert read_store(chosen.cube("land")).tile == default_tile(chosen.grid("land").shape, 36)
    regrid.main(chosen)  # as it is after a stop: its attributes are the same
    former = Run(load_config("config.yml", ["cubes.land.tile=[64,64]"]))
    now = Run(load_config("config.yml", ["cubes.land.tile=null"]))
    assert stage_fingerprint(now, "regrid") == stage_fingerprint(former, "regrid")
    regrid.main(former)
    before = contents(now.cube("land"))
    former_ledger = Ledger(now.ledger("regrid", "land"), stage_fingerprint(now, "regrid"))
    former_ledger.forget("r000_c000")
    assert regrid.main(now) == {"tiles": {"land": 1}}
    assert contents(now.cube("land")) == before
