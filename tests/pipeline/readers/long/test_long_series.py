"""Long series: what is looked at, what that costs, and that nothing is read otherwise for it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest

from pipeline.build import template_of
from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.readers import netcdf
from pipeline.readers.long import sample, series
from pipeline.readers.long.sample import every_file, noting
from pipeline.readers.registry import read_files
from pipeline.regrid_tile import RegridTask
from pipeline.sources.open import check_source

FILES = 24


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Files by how often each was opened whole; series of more than eight files are long."""
    monkeypatch.setattr(sample, "LONG", 8)
    monkeypatch.setattr(sample, "SPREAD", 4)
    count: Counter[str] = Counter()
    original = netcdf.ChunkStore.open

    def counted(path: Any, **more: Any) -> Any:
        if more:  # of the reader; those that are compared have none
            count[Path(path).name] += 1
        return original(path, **more)

    monkeypatch.setattr(netcdf.ChunkStore, "open", counted)
    return count


def write_day(folder: Path, day: int, *, since: bool = False, **other: Any) -> Path:
    """Write a file of one day, or of `steps`: packed rain of 2 × 3 cells, with bounds of times."""
    path = folder / f"rain_2001{1 + day // 28:02d}{1 + day % 28:02d}.nc"
    begin = (np.datetime64(f"2001-{1 + day // 28:02d}-{1 + day % 28:02d}")).astype("M8[D]")
    number = int((begin - np.datetime64("2001-01-01")).astype(int))
    steps = other.get("steps", 1)
    first = 0 if since else number
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", None), ("nv", 2), ("lat", 2), ("lon", 3)):
            file.createDimension(name, size)
        for name, values in (("lat", other.get("lat", (10.5, 9.5))), ("lon", (0.5, 1.5, 2.5))):
            file.createVariable(name, "f8", (name,))[:] = values
        time = file.createVariable("time", "f8", ("time",))
        time.setncatts({"units": f"days since {begin if since else '2001-01-01'}",
                        "bounds": "time_bnds"})  # fmt: skip
        time[:] = first + np.arange(steps) / steps
        edges = file.createVariable("time_bnds", "f8", ("time", "nv"))
        edges[:] = first + np.stack([np.arange(steps), np.arange(1, steps + 1)], 1) / steps
        rain = file.createVariable("rain", other.get("dtype", "i2"), ("time", "lat", "lon"))
        packing = {"add_offset": 1.0, "scale_factor": other.get("scale", 0.1)}
        rain.setncatts({"units": other.get("units", "mm/day"), **packing, **other.get("attrs", {})})
        rain[:] = 1.0 + day / 5 + np.arange(6 * steps).reshape(steps, 2, 3) / 10
    return path


def source_of(folder: Path, uri: str = "rain_{year}{month:02d}{day:02d}.nc") -> Source:
    time: dict[str, Any] = {"gaps": "missing"}
    if "{" in uri:
        time |= {"years": [2001, 2001]}
    rain = {"name": "rain", "units": "mm/day", "cell_method": "mean"}
    return Source.model_validate(
        {"name": "rain", "uri": f"{folder}/{uri}", "driver": "netcdf", "time": time,
         "variables": {"precipitation": rain}}
    )  # fmt: skip


KINDS: dict[str, dict[int, dict[str, Any]]] = {
    "alike": {},
    "mixed": {
        **{day: {"since": True} for day in range(3, FILES)},
        **{day: {"steps": 2, "since": True} for day in range(5, FILES, 5)},
        **{13: {"scale": 0.2}, 14: {"scale": 0.05}, FILES - 1: {"attrs": {"note": "late"}}},
    },
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("uri", ["rain_{year}{month:02d}{day:02d}.nc", "rain_*.nc"])
def test_a_long_series_is_read_as_its_files_are_one_by_one(
    tmp_path: Path, opened: Counter[str], kind: str, uri: str
) -> None:
    for day in range(FILES):
        write_day(tmp_path, day, **KINDS[kind].get(day, {}))
    source = source_of(tmp_path, uri)
    found = read_files(source).load()
    assert opened.total() <= 4 + (kind == "mixed") * 5
    with every_file():
        whole = read_files(source).load()
    assert found.identical(whole)
    assert found["rain"].dtype == whole["rain"].dtype
    assert {*found.coords} == {"time", "time_bnds", "lat", "lon"}


@pytest.mark.parametrize(
    ("other", "what"),
    [({"lat": (10.0, 9.0)}, '"lat" that differs'), ({"units": "K"}, "units")],
    ids=["grid", "units"],
)
def test_a_file_that_differs_is_refused_when_it_is_read(
    tmp_path: Path, opened: Counter[str], other: dict[str, Any], what: str
) -> None:
    paths = [write_day(tmp_path, day, **(other if day == 13 else {})) for day in range(FILES)]
    source, faults = source_of(tmp_path), Faults()
    info = check_source(source, faults, values=False)
    assert not faults.faults
    assert info is not None
    assert opened.total() == 4
    with pytest.raises(InputError, match=what) as refused:
        read_files(source).load()
    assert str(paths[13]) in str(refused.value)
    with every_file():
        check_source(source, faults, values=False)
    assert any(what in f"{fault.where} {fault.found}" for fault in faults.faults)


def test_the_check_counts_the_files_that_it_looked_at(
    tmp_path: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(FILES):
        write_day(tmp_path, day)
    monkeypatch.setattr("pipeline.sources.check_values.SAMPLED_BLOCKS", 2)
    faults = Faults()
    info = check_source(source_of(tmp_path), faults)
    assert not faults.faults
    assert info is not None
    (note,) = [note for note in info.notes if "looked at" in note]
    assert int(note.split()[0]) <= 4 + 2 * 4
    assert f"of {FILES} files looked at whole" in note
    with every_file():
        whole = check_source(source_of(tmp_path), faults)
    assert whole is not None
    assert (whole.notes, whole.checked) == ((), 1.0)
    assert whole.times == info.times


@pytest.mark.parametrize("end", [0, 2000], ids=["no HDF5", "truncated"])
def test_each_file_is_opened_for_its_times(tmp_path: Path, opened: Counter[str], end: int) -> None:
    paths = [write_day(tmp_path, day) for day in range(FILES)]
    paths[13].write_bytes(b"x" + paths[13].read_bytes()[: end or 9000])
    faults = Faults()
    check_source(source_of(tmp_path), faults, values=False)
    assert str(paths[13]) in str(faults.faults[0].where)


def test_times_that_two_files_share_are_refused(tmp_path: Path, opened: Counter[str]) -> None:
    for day in range(FILES):
        write_day(tmp_path, day)
    (tmp_path / "rain_copy.nc").write_bytes((tmp_path / "rain_20010114.nc").read_bytes())
    with pytest.raises(InputError, match="times that no two files share"):
        read_files(source_of(tmp_path, "rain_*.nc"))


def test_files_of_the_series_are_not_kept_open(tmp_path: Path, opened: Counter[str]) -> None:
    for day in range(FILES):
        write_day(tmp_path, day)
    source = source_of(tmp_path)
    ds = read_files(source)
    joined = ds["rain"].variable._data.array  # type: ignore[attr-defined]
    assert isinstance(joined.files, series.LongPieces)
    joined.files.held = None  # as of a series above `SMALL_BYTES`
    np.testing.assert_allclose(ds["rain"].values[:, 0, 0], 1.0 + np.arange(FILES) / 5)
    assert (len(joined.files.series.odd), len(joined.files.series.kinds)) == (0, 1)
    assert joined.files.series.counts == (FILES, FILES)


def test_the_template_of_a_cube_is_made_from_one_step(tmp_path: Path, opened: Counter[str]) -> None:
    for day in range(FILES):
        write_day(tmp_path, day)
    grid = TargetGrid.from_bounds("corner", "EPSG:4326", (0, 9, 3, 11), 1.0)
    task = RegridTask(tmp_path / "cube.zarr", grid, (source_of(tmp_path),), read_variables())
    with noting() as seen:
        template = template_of(task, (2, 3))
    assert template.time is not None
    assert template.time.size == FILES
    assert [one.counts for one in seen.values()] == [(4, FILES)]
