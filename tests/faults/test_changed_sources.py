"""Source files whose content changes while size and modification time stay as they were."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import xarray as xr

import pipeline.sources.versions.contents as contents
from pipeline.build import build_cube
from pipeline.core.errors import InputError
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.versions.contents import (
    read_contents,
    record_contents,
    replaced,
    replaced_since,
)
from pipeline.sources.versions.unchanged import stamps_of, unchanged
from tests.old_run import date_sources, unpack_old_run
from workflows.config.load import load_config
from workflows.fingerprints import record_sources, stage_fingerprint
from workflows.run import Run
from workflows.stages.order import run_stages, stage_state

GRID = TargetGrid.from_bounds("four", "EPSG:4326", (0, 0, 4, 4), 2.0)
AT = np.arange(0.5, 4)


def _write(path: Path, value: float) -> None:
    values = np.full((4, 4), value)
    da = xr.DataArray(values, {"lat": AT, "lon": AT}, ("lat", "lon"), "rain")
    if path.suffix == ".zarr":
        plain = {"rain": {"compressors": None}}
        da.to_zarr(path, mode="w", consolidated=False, encoding=plain)
    else:
        da.to_netcdf(path)


def _entry(path: Path) -> Source:
    return Source.model_validate(
        {"name": "rain", "uri": str(path), "driver": path.suffix[1:].replace("nc", "netcdf"),
         "variables": {"precipitation": {"name": "rain", "units": "mm/day"}}}
    )  # fmt: skip


def _at_equal_stamps(path: Path, change: Callable[[], object]) -> None:
    """Change a file or folder, and set all times back; sizes must be equal."""
    files = [path] if path.is_file() else [f for f in sorted(path.rglob("*")) if f.is_file()]
    before = {file: file.stat() for file in files}
    change()
    for file, status in before.items():
        assert file.stat().st_size == status.st_size
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("name", ["rain.nc", "rain.zarr"])
def test_a_change_at_equal_stamps_is_seen_and_its_undoing_too(tmp_path: Path, name: str) -> None:
    path, file = tmp_path / name, tmp_path / "sources.json"
    _write(path, 1.0)
    source = _entry(path)
    stamps = stamps_of(source)
    assert record_contents(file, [source], tmp_path) == []
    assert list(read_contents(file)) == [name]
    _at_equal_stamps(path, lambda: _write(path, 2.0))
    assert stamps_of(source) == stamps
    found = replaced_since(file, [source], tmp_path)
    assert list(found) == [name]
    assert record_contents(file, [source], tmp_path) == [name]
    # Reported once, but for good part of the fingerprint.
    assert record_contents(file, [source], tmp_path) == []
    assert replaced(read_contents(file)) == found
    _at_equal_stamps(path, lambda: _write(path, 1.0))
    assert record_contents(file, [source], tmp_path) == [name]
    assert replaced(read_contents(file)) == {}


def test_files_are_read_again_only_where_their_status_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, file = tmp_path / "rain.nc", tmp_path / "sources.json"
    _write(path, 1.0)
    record_contents(file, [_entry(path)])
    read: list[Path] = []
    real = contents._add

    def spy(digest: object, path: Path, whole: bool) -> None:
        read.append(path)
        real(digest, path, whole)

    monkeypatch.setattr(contents, "_add", spy)
    assert record_contents(file, [_entry(path)]) == []
    assert read == []
    path.chmod(0o600)
    assert record_contents(file, [_entry(path)]) == []
    assert read == [path]


def _sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat all files as large: a few bytes at their ends, and their metadata."""
    for name in ("WHOLE_BYTES", "END_BYTES", "BLOCK_BYTES"):
        monkeypatch.setattr(contents, name, 16)


def _hdf_attribute(path: Path, value: float) -> None:
    with h5py.File(path, "a") as file:
        file["rain"].attrs.modify("scale_factor", value)


def _tiff_tag(path: Path, value: float) -> None:
    rows = np.zeros((1, 300, 300), np.float32)
    with rasterio.open(path, "w", driver="GTiff", width=300, height=300, count=1, dtype="float32",
                       crs="EPSG:4326") as file:  # fmt: skip
        file.write(rows)
        file.update_tags(1, note=str(value))


@pytest.mark.parametrize(("name", "write"), [("a.h5", _hdf_attribute), ("a.tif", _tiff_tag)])
def test_metadata_of_large_files_are_part_of_their_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
    write: Callable[[Path, float], None],
) -> None:  # fmt: skip
    _sampled(monkeypatch)
    path, file = tmp_path / name, tmp_path / "sources.json"
    with h5py.File(tmp_path / "a.h5", "w") as made:
        made["rain"] = np.zeros(50_000)
        made["rain"].attrs["scale_factor"] = 1.0
    write(path, 1.0)
    source = Source.model_validate({"name": "a", "uri": str(path), "driver": "netcdf",
                                    "variables": {"rain": {"name": "rain"}}})  # fmt: skip
    record_contents(file, [source])
    (one,) = read_contents(file).values()
    assert one.digest.startswith("whole:")
    _at_equal_stamps(path, lambda: write(path, 2.0))
    assert record_contents(file, [source]) == [str(path)]


def test_files_beyond_the_total_are_sampled_and_compared_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "TOTAL_BYTES", 1)
    sources = []
    for name in ("a", "b"):
        _write(tmp_path / f"{name}.nc", 1.0)
        sources.append(_entry(tmp_path / f"{name}.nc"))
    record_contents(tmp_path / "sources.json", sources)
    methods = [
        one.digest.split(":")[0] for one in read_contents(tmp_path / "sources.json").values()
    ]
    assert methods == ["whole", "sample"]
    monkeypatch.setattr(contents, "TOTAL_BYTES", 1 << 30)
    (tmp_path / "b.nc").chmod(0o600)
    assert record_contents(tmp_path / "sources.json", sources) == []


def test_a_cube_is_made_again_from_a_source_that_changed_unnoticeably(tmp_path: Path) -> None:
    path = tmp_path / "rain.nc"
    _write(path, 1.0)
    first = build_cube(tmp_path / "a.zarr", GRID, [_entry(path)])
    assert np.all(first["precipitation"].values == 1)
    _write(tmp_path / "new.nc", 2.0)
    _at_equal_stamps(path, lambda: os.replace(tmp_path / "new.nc", path))
    again = build_cube(tmp_path / "a.zarr", GRID, [_entry(path)])
    assert np.all(again["precipitation"].values == 2)


def test_a_change_at_equal_stamps_while_files_are_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rain.nc"
    _write(path, 1.0)
    with (
        pytest.raises(InputError, match=r"rain\.nc changed while it was read"),
        unchanged([_entry(path)]),
    ):
        _at_equal_stamps(path, lambda: _write(path, 2.0))
    with unchanged([_entry(path)]):
        path.chmod(0o600)  # A change of the status alone.


@pytest.mark.parametrize("text", ["[]", '{"a.nc": {"digest": 3}}', "", "{"])
def test_a_damaged_record_is_one_clear_error(tmp_path: Path, text: str) -> None:
    _write(tmp_path / "rain.nc", 1.0)
    (tmp_path / "sources.json").write_text(text)
    with pytest.raises(InputError, match=r"sources\.json.*Delete it"):
        record_contents(tmp_path / "sources.json", [_entry(tmp_path / "rain.nc")])


@pytest.fixture
def old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A finished run of version 0.2.0 with its sources."""
    home = unpack_old_run(tmp_path, monkeypatch)
    date_sources(home)
    return Run(load_config(home / "config.yml"))


def test_an_old_run_stays_finished_until_a_source_changes(
    old_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = stage_fingerprint(old_run, "report")
    assert stage_state(old_run, "regrid").is_finished
    assert record_sources(old_run) == []
    assert stage_fingerprint(old_run, "report") == before
    file = next(path for path in sorted(Path("sources").iterdir()) if path.suffix == ".nc")

    def last_byte() -> None:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)

    _at_equal_stamps(file, last_byte)
    assert not stage_state(old_run, "regrid").is_finished
    with pytest.raises(InputError, match=r"would be removed: of stats.*--upgrade"):
        run_stages(old_run, "stats", "stats")
    assert record_sources(old_run) == [file.name]
    _at_equal_stamps(file, last_byte)
    run_stages(old_run, "regrid", "regrid")
    printed = " ".join(capsys.readouterr().err.split())
    assert f"{file.name}), changed since they were read, at the same size and time" in printed
    assert "already finished" in printed
    assert stage_fingerprint(old_run, "report") == before
