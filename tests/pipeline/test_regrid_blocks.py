"""Blocks of sources: every stored chunk decoded once, and the bytes of a cube of single tiles."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr

import pipeline.regrid_blocks
from benchmarks.inflated import counting
from pipeline import build
from pipeline.build import build_cube, fill_cube, template_of
from pipeline.core.errors import InputError
from pipeline.cube.open import open_cube
from pipeline.cube.write import create_cube
from pipeline.entries.source import Source, Variable
from pipeline.execution.cluster import ClusterConfig, connect
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import StageReport, run_stage
from pipeline.grid.target_grid import TargetGrid
from pipeline.regrid_blocks import blocks_of, plan_blocks, regrid_block
from pipeline.regrid_tile import RegridTask, regrid_tile
from pipeline.regridding.fill import GapFilling
from tests.cubes import contents

DAYS, ROWS, COLS = 10, 24, 48
GLOBE = TargetGrid.from_bounds("globe", "EPSG:4326", (-180, -60, 180, 60), 10.0)
EQUAL_AREA = TargetGrid.from_bounds("equal", "EPSG:6933", (-1.2e7, -4e6, 1.2e7, 4e6), 8e5)
KINDS = ("rain", "heat", "cover", "wind", "elevation")
VARIABLES = {name: Variable(long_name=name, units="1") for name in KINDS}
VARIABLES |= {
    "wind": Variable(long_name="wind", units="degree"),
    "elevation": Variable(long_name="elevation", units="m"),
}


def write(folder: Path, name: str, values: np.ndarray, chunk: tuple[int, ...], **more: Any) -> None:
    """A global field of 7.5° in files of deflated chunks; `days` is where each file begins."""
    lat, lon = 86.25 - 7.5 * np.arange(ROWS), 3.75 + 7.5 * np.arange(COLS)
    begins = more.get("begins", [0])
    for number, begin in enumerate(begins):
        coords: dict[str, Any] = {"lat": lat, "lon": lon}
        part = values
        if values.ndim == 3:
            end = [*begins, len(values)][number + 1]
            part = values[begin:end]
            days = np.arange(begin, end) * np.timedelta64(1, "D")
            coords = {"time": np.datetime64("2001-01-01", "ns") + days, **coords}
        da = xr.DataArray(part, coords, tuple(coords), name, {"units": VARIABLES[name].units})
        sizes = tuple(min(one) for one in zip(chunk, part.shape, strict=True))
        how = {"zlib": True, "chunksizes": sizes}
        da.to_netcdf(folder / f"{name}_{number:03d}.nc", encoding={name: how})


def entry(folder: Path, name: str, method: str, **more: Any) -> Source:
    return Source.model_validate(
        {"name": name, "uri": str(folder / f"{name}_*.nc"), "driver": "netcdf", "method": method,
         "variables": {name: {"name": name}}, **more}
    )  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, ...]:
    """Whole maps, chunks in time and space, daily files, classes, directions and a static field."""
    folder = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(3)
    shape = (DAYS, ROWS, COLS)
    rain = rng.random(shape).astype(np.float32)
    rain[:, rng.random(shape[1:]) < 0.2] = np.nan
    write(folder, "rain", rain, (1, ROWS, COLS))
    write(folder, "heat", rng.random(shape).astype(np.float32), (5, 10, 20), begins=[0, 6, 9])
    write(folder, "cover", rng.integers(1, 4, shape).astype(np.uint8), (1, ROWS, COLS),
          begins=range(DAYS))  # fmt: skip
    write(folder, "wind", rng.random(shape).astype(np.float32) * 359, (4, ROWS, COLS))
    height = rng.random(shape[1:]).astype(np.float32) * 900
    write(folder, "elevation", height, (ROWS, COLS))
    classes = {"wood": [1], "field": [2], "town": [3]}
    return (
        entry(folder, "rain", "conservative"),
        entry(folder, "heat", "bilinear"),
        entry(folder, "cover", "fractions", classes=classes, kind="categorical"),
        entry(folder, "wind", "circular_mean", kind="cyclic"),
        entry(folder, "elevation", "mean"),
    )


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every source is read in blocks, however little that spares."""
    for name in ("LEAST_GAIN", "SCRATCH_COST", "WORTH"):
        monkeypatch.setattr(pipeline.regrid_blocks, name, 0)


def made(
    path: Path, sources: tuple[Source, ...], grid: TargetGrid = GLOBE, **settings: Any
) -> dict[str, bytes]:
    build_cube(path, grid, sources, variables=VARIABLES, tile=(7, 13), **settings)
    assert not path.with_suffix(".blocks").exists()
    return contents(path)


SETTINGS: dict[str, dict[str, Any]] = {
    "sharded": {"time_shard": 5, "terrain_from": "elevation"},
    "filled": {"filling": GapFilling(distance=2, never=("heat",))},
    "projected": {"grid": EQUAL_AREA},
}
KINDS_OF_CUBE = [
    pytest.param(kind, marks=[pytest.mark.slow] if kind == "projected" else []) for kind in SETTINGS
]


@pytest.mark.parametrize("kind", KINDS_OF_CUBE)
def test_blocks_write_the_bytes_of_tiles(
    sources: tuple[Source, ...], tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    of_tiles = made(tmp_path / "a.zarr", sources, **SETTINGS[kind])
    request.getfixturevalue("always")
    written: list[str] = []
    real = regrid_block

    def noted(task: RegridTask, scratch: Any, block: Any) -> Any:
        written.append(task.sources[block.source].name)
        return real(task, scratch, block)

    request.getfixturevalue("monkeypatch").setattr(build, "regrid_block", noted)
    assert made(tmp_path / "b.zarr", sources, **SETTINGS[kind]) == of_tiles
    expected = {one.name for one in sources} - {SETTINGS[kind].get("terrain_from")}
    assert {*written} == expected


def stored_bytes(source: Source) -> int:
    """Bytes of all chunks of a source's variable, uncompressed."""
    total = 0
    for file in source.files:
        with netCDF4.Dataset(file) as ds:
            variable = ds[source.name]
            chunks = variable.chunking()
            whole = [-(-n // c) * c for n, c in zip(variable.shape, chunks, strict=True)]
            total += int(np.prod(whole)) * variable.dtype.itemsize
    return total


def filled_through_blocks(task: RegridTask) -> tuple[dict[str, int], dict[str, int]]:
    """Fill the task's cube; the bytes decoded by variable for the blocks, and in all."""
    template = template_of(task, (4, 12))
    create_cube(task.store, template, {})
    with (
        blocks_of(task, template, template.tiles, "a-1of1", 1 << 28) as scratch,
        counting() as decoded,
    ):
        for block in scratch.blocks:
            regrid_block(task, scratch, block)
        of_blocks = dict(decoded)
        for tile in template.tiles:
            regrid_tile(task, tile, scratch)
    return of_blocks, dict(decoded)


def test_every_stored_chunk_is_decoded_once(
    sources: tuple[Source, ...], tmp_path: Path, always: None
) -> None:
    sources = tuple(one for one in sources if one.name != "elevation")
    decoded, in_all = filled_through_blocks(
        RegridTask(tmp_path / "a.zarr", GLOBE, sources, VARIABLES)
    )
    # Of the chunks of heat some are beyond the grid.
    stored = {one.name: stored_bytes(one) for one in sources}
    assert decoded == stored | {"heat": decoded["heat"]}
    assert 0.5 < decoded["heat"] / stored["heat"] < 0.7
    assert in_all == decoded


def _as_zarr(source: Source, folder: Path) -> Source:
    """The source as Zarr v3, whose shards of 4 days hold chunks of one."""
    path, how = folder / "rain.zarr", {"chunks": (1, ROWS, COLS), "shards": (4, ROWS, COLS)}
    with xr.open_dataset(source.files[0]) as ds:
        bare = ds.drop_encoding()
        bare.to_zarr(path, zarr_format=3, encoding={"rain": how}, consolidated=False)
    return source.model_copy(update={"uri": str(path), "driver": "zarr"})


def _as_grib(source: Source, folder: Path) -> Source:
    """The source as GRIB2, a message a day."""
    if not shutil.which("cdo"):
        pytest.skip("CDO, which writes the GRIB file, is not installed")
    made = folder / "rain.grib2"
    command = ["cdo", "-s", "-a", "-f", "grb2", "setparam,0.0.0", str(source.files[0]), str(made)]
    subprocess.run(command, check=True, capture_output=True)
    variables = {"rain": source.variables["rain"].model_copy(update={"name": "t", "units": "1"})}
    changed = {"uri": str(made), "driver": "grib", "variables": variables}
    return source.model_copy(update={**changed, "wrong_in_file": ("units",)})


@pytest.mark.parametrize("written_as", [_as_zarr, _as_grib])
def test_chunks_of_shards_and_messages_are_decoded_once(
    sources: tuple[Source, ...],
    tmp_path: Path,
    always: None,
    written_as: Callable[[Source, Path], Source],
) -> None:
    source = written_as(sources[0], tmp_path)
    task = RegridTask(tmp_path / "a.zarr", GLOBE, (source,), VARIABLES)
    _, decoded = filled_through_blocks(task)
    assert list(decoded.values()) == [4 * DAYS * ROWS * COLS]
    values = open_cube(task.store)["rain"].values
    build_cube(tmp_path / "b.zarr", GLOBE, sources[:1], variables=VARIABLES, tile=(4, 12))
    expected = open_cube(tmp_path / "b.zarr")["rain"].values
    np.testing.assert_allclose(values, expected, atol=2e-3)


class _Killed(BaseException):
    """What ends a process, as no error of a tile does."""


def test_what_a_killed_call_left_is_used_and_what_is_damaged_is_read_again(
    sources: tuple[Source, ...], tmp_path: Path, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = sources[:2]
    whole = made(tmp_path / "a.zarr", chosen)
    store, calls = tmp_path / "b.zarr", [0]
    reals = {"regrid_block": regrid_block, "regrid_tile": regrid_tile}

    def dying(name: str, after: int) -> None:
        def work(*arguments: Any, **named: Any) -> Any:
            calls[0] += 1
            if after and calls[0] > after:
                raise _Killed
            return reals[name](*arguments, **named)

        calls[0] = 0
        monkeypatch.setattr(build, name, work)

    for name, after in (("regrid_block", 3), ("regrid_tile", 2)):
        dying(name, after)
        with pytest.raises(_Killed):
            made(store, chosen)
        monkeypatch.setattr(build, name, reals[name])
    (folder,) = store.with_suffix(".blocks").iterdir()
    files = sorted(folder.glob("*.bin"))
    assert len(files) > 6
    files[0].unlink()
    damaged = bytearray(files[1].read_bytes())
    damaged[100] ^= 1
    files[1].write_bytes(damaged)
    files[2].write_bytes(files[2].read_bytes()[:-3])
    dying("regrid_block", 0)
    assert made(store, chosen) == whole
    assert not calls[0], "blocks that were finished are not read again"


def _dies_once(marker: Path, task: RegridTask, scratch: Any, block: Any) -> Any:
    """Write a block; the first worker to do so dies before its marker is written."""
    summary = regrid_block(task, scratch, block)
    with suppress(FileExistsError):
        marker.touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
    return summary


@pytest.mark.slow
def test_blocks_of_two_workers_of_which_one_is_killed_write_the_bytes_of_tiles(
    sources: tuple[Source, ...],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen, killed = sources[:2], tmp_path / "killed"
    of_tiles = made(tmp_path / "a.zarr", chosen)
    request.getfixturevalue("always")
    reports: list[StageReport] = []

    def noted(*arguments: Any, **settings: Any) -> StageReport:
        reports.append(run_stage(*arguments, **settings))
        return reports[-1]

    monkeypatch.setattr(build, "run_stage", noted)
    monkeypatch.setattr(build, "regrid_block", partial(_dies_once, killed))
    with connect(ClusterConfig(workers=2, dashboard_port=0)) as executor:
        assert made(tmp_path / "b.zarr", chosen, executor=executor) == of_tiles
    assert killed.exists()
    of_blocks, _ = reports
    assert len(of_blocks.done) > 6
    assert not of_blocks.failed, "the block of the worker that died is done by another"


def test_files_of_others_beside_a_cube_stay(
    sources: tuple[Source, ...], tmp_path: Path, always: None
) -> None:
    theirs = tmp_path / "a.blocks" / "notes" / "of_a_user.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("kept")
    (tmp_path / "b.blocks").symlink_to(tmp_path / "a.blocks")
    settings: dict[str, Any] = {"variables": VARIABLES, "tile": (7, 13)}
    build_cube(tmp_path / "a.zarr", GLOBE, sources[:1], **settings)
    with pytest.raises(InputError, match="a link"):
        build_cube(tmp_path / "b.zarr", GLOBE, sources[:1], **settings)
    assert theirs.read_text() == "kept"


def test_blocks_that_another_call_left_are_removed_once_the_cube_is_finished(
    sources: tuple[Source, ...], tmp_path: Path, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = RegridTask(tmp_path / "a.zarr", GLOBE, sources[:1], VARIABLES)
    beside, ledger = tmp_path / "a.blocks", Ledger(tmp_path / "ledger", "a")

    def fill(part: tuple[int, int], made_by: Ledger = ledger) -> list[str]:
        fill_cube(task, template_of(task, (4, 12)), made_by, attrs={}, part=part)
        return sorted(one.name for one in beside.iterdir()) if beside.exists() else []

    def dying(*arguments: Any, **named: Any) -> Any:
        raise _Killed

    with monkeypatch.context() as context:
        context.setattr(build, "regrid_tile", dying)
        for part in ((1, 2), (2, 3)):
            with pytest.raises(_Killed):
                fill(part)
    assert fill((2, 2)) == ["a-1of2", "a-2of3"], "the other half is not finished"
    theirs, link = tmp_path / "theirs", beside / "a-2of2"
    shutil.copytree(beside / "a-1of2", theirs)
    link.symlink_to(theirs)
    (beside / "a-3of3").mkdir()
    assert fill((1, 2)) == ["a-2of2", "a-3of3"]
    assert (theirs / "plan.json").exists()
    link.unlink()
    (beside / "a-3of3").rmdir()
    shutil.copytree(theirs, beside / "a-2of3")
    monkeypatch.setattr(pipeline.regrid_blocks, "LEAST_GAIN", 1 << 60)
    assert not fill((1, 1), Ledger(tmp_path / "ledger", "b"))
    assert not beside.exists()


def test_parts_and_little_memory_change_no_byte(
    sources: tuple[Source, ...], tmp_path: Path, always: None
) -> None:
    task = RegridTask(tmp_path / "a.zarr", GLOBE, sources[:2], VARIABLES)
    fill_cube(task, template_of(task, (4, 12)), Ledger(tmp_path / "ledger", "a"), attrs={})
    small = replace(task, store=tmp_path / "b.zarr")
    template = template_of(small, (4, 12))
    most = 4 * 5 * ROWS * COLS // 3
    divided = [one for one in plan_blocks(small, template, template.tiles, most) if one.source]
    assert {one.steps for one in divided} == {(0, 5), (5, 6), (6, 9), (9, 10)}
    assert len({one.tiles for one in divided}) > 2
    for part in (1, 2):
        fill_cube(
            small, template, Ledger(tmp_path / "small", "a"), attrs={}, part=(part, 2),
            block_bytes=most,
        )  # fmt: skip
    assert contents(small.store) == contents(task.store)
    assert not small.store.with_suffix(".blocks").exists()


def test_blocks_are_used_where_they_spare_decoding(
    sources: tuple[Source, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = RegridTask(tmp_path / "a.zarr", GLOBE, sources[:1], VARIABLES)
    template = template_of(task, (4, 12))
    assert not plan_blocks(task, template, template.tiles)
    monkeypatch.setattr(pipeline.regrid_blocks, "LEAST_GAIN", 4 * DAYS * ROWS * COLS)
    assert plan_blocks(task, template, template.tiles)
    assert not plan_blocks(task, template, template.tiles[:1])
    one_row = template_of(task, (12, 36))
    assert not plan_blocks(task, one_row, one_row.tiles)
