"""Full disks, quotas and disks that fail: one error with file and bytes, nothing half-written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.core.files import UnwritableError, new_folder, require_space, write_json, writing
from pipeline.core.system.failures import error_number, system_fault
from pipeline.cube.locations import write_locations
from pipeline.execution.ledger import Ledger
from pipeline.fetch.manifest import Manifest, Record
from pipeline.maps.legend import named_legend
from pipeline.publish.geopackage import sites_frame, verify_sites, write_sites
from pipeline.publish.geotiff import write_cog
from pipeline.publish.png import write_preview
from pipeline.publish.zarr import write_map_zarr
from stefaland.checkpoints.checkpoint import save_checkpoint
from stefaland.model.networks.lstm import LSTMConfig, LSTMNetwork
from stefaland.training.log import RunLog
from stefaland.training.state import Progress, save_state
from tests.cubes import contents
from tests.faults.disks import small_disk
from tests.maps import GRID, TARGET, field
from workflows.cli import main
from workflows.stages.score import _write_heldout

RNG = np.random.default_rng(5)


def _map() -> xr.DataArray:
    da = field()[TARGET]
    return da.copy(data=RNG.normal(size=da.shape).astype(np.float32)).load()


def _network() -> LSTMNetwork:
    torch.manual_seed(0)
    config = LSTMConfig(forcings=("a",), statics=("b",), hidden=96)
    return LSTMNetwork(config)


def _state(folder: Path) -> None:
    model = _network()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    save_state(
        folder / "state.safetensors", Progress(), "x", model=model, optimiser=optimiser,
        averaged=None, best=None,
    )  # fmt: skip


def _sites(folder: Path) -> None:
    count = 4000
    lon, lat = RNG.uniform(-170, 170, count), RNG.uniform(-80, 80, count)
    values = {f"score_{i}": RNG.normal(size=count) for i in range(6)}
    write_sites(folder / "sites.gpkg", {"sites": sites_frame(lon, lat, values)})


def _heldout() -> xr.Dataset:
    cells = {"cell": np.arange(50), "lat": ("cell", np.zeros(50)), "lon": ("cell", np.ones(50))}
    values = RNG.normal(size=(400, 50)).astype(np.float32)
    time = np.datetime64("2001-01-01", "ns") + np.arange(400).astype("timedelta64[D]")
    return xr.Dataset({"q": (("time", "cell"), values)}, {**cells, "time": time})


LEGEND = named_legend("soil_moisture")
WRITERS: dict[str, Callable[[Path], object]] = {
    "cog": lambda f: write_cog(f / "a.tif", _map(), GRID),
    "zarr": lambda f: write_map_zarr(f / "a.zarr", _map().to_dataset(), GRID),
    "png": lambda f: write_preview(f / "a.png", _map(), LEGEND, "a title"),
    "geopackage": _sites,
    "state": _state,
    "checkpoint": lambda f: save_checkpoint(f / "model", _network(), {"a": [0.1] * 9}),
    "heldout": lambda f: _write_heldout(f / "heldout.zarr", _heldout()),
    "locations": lambda f: write_locations(f / "sites.zarr", _heldout()),
    "report": lambda f: write_json(f / "report.json", "x" * 300_000),
}


@pytest.mark.parametrize(
    ("writer", "size"),
    [
        *((writer, size) for writer in WRITERS for size in (4, 60)),
        *(("cog", size) for size in (320, 400, 560)),
        ("geopackage", 400),
        ("zarr", 280),
    ],
)
def test_a_small_disk_is_named_and_nothing_is_left(tmp_path: Path, writer: str, size: int) -> None:
    with small_disk(tmp_path / "disk", f"{size}k") as disk:
        with pytest.raises(UnwritableError, match=r"disk that is full \(No space") as caught:
            WRITERS[writer](disk)
        assert caught.value.faults[0].where.startswith(str(disk))
        left = [path for path in disk.rglob("*") if path.is_file()]
        assert not left


def test_the_bytes_needed_are_named(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "16k") as disk, pytest.raises(UnwritableError) as caught:
        write_cog(disk / "a.tif", _map(), GRID)
    assert f"of {12 * 52 * 117 * 4:,} needed" in str(caught.value)


def test_an_older_file_stays_when_its_successor_does_not_fit(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "256k") as disk:
        write_json(disk / "card.json", [1])
        save_checkpoint(disk / "model", _small(), {})
        before = contents(disk)
        (disk / "other").write_bytes(bytes(_left(disk)))
        for writer in (lambda: write_json(disk / "card.json", [2] * 9999),
                       lambda: save_checkpoint(disk / "model", _network(), {})):  # fmt: skip
            with pytest.raises(UnwritableError, match="full"):
                writer()
        (disk / "other").unlink()
        assert contents(disk) == before


def _small() -> LSTMNetwork:
    return LSTMNetwork(LSTMConfig(forcings=("a",), statics=("b",), hidden=8))


def _left(disk: Path) -> int:
    status = os.statvfs(disk)
    return max(0, (status.f_bavail - 2) * status.f_frsize)


def test_a_geopackage_on_a_disk_that_fits_is_sound(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        _sites(disk)
        assert verify_sites(disk / "sites.gpkg") == []


def test_ledgers_manifests_and_logs_name_their_file(tmp_path: Path) -> None:
    record = Record(path="a" * 5000, address="b", origin="c", size=1, sha256="d")
    with small_disk(tmp_path / "disk", "16k") as disk:
        ledger, manifest = Ledger(disk / "ledger", "f").open(), Manifest(disk / "data")
        manifest.add(record)
        (disk / "other").write_bytes(bytes(_left(disk)))
        with pytest.raises(UnwritableError, match=r"fetched\.jsonl: found a disk that is full"):
            [manifest.add(record) for _ in range(9)]
        with pytest.raises(UnwritableError, match=r"t1\.done\.json: found a disk that is full"):
            [ledger.mark(f"t{i}", {"a": "x" * 5000}) for i in (1, 2, 3)]
        with pytest.raises(UnwritableError, match=r"log\.jsonl: found a disk that is full"):
            [RunLog(disk).write({"a": "x" * 5000}) for _ in range(4)]  # type: ignore[dict-item]
        assert not list((disk / "ledger").rglob("*.partial"))
        assert [*manifest.records()] == ["a" * 5000]


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "Free space"), (errno.EDQUOT, "Free space"), (errno.EROFS, "Free space"),
        (errno.ENAMETOOLONG, "shorter"), (errno.EACCES, "Free space"),
    ],
)  # fmt: skip
def test_errors_that_stay_are_unwritable(tmp_path: Path, number: int, hint: str) -> None:
    with pytest.raises(UnwritableError, match=hint), writing(tmp_path / "a"):
        raise OSError(number, os.strerror(number))
    with (
        pytest.raises(UnwritableError, match=os.strerror(number)),
        new_folder(tmp_path / "b") as folder,
    ):
        raise OSError(number, os.strerror(number), str(folder))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (RuntimeError("I/O error: No space left on device (os error 28)"), errno.ENOSPC),
        (RuntimeError("database or disk is full"), errno.ENOSPC),
        (OSError(errno.EIO, "Input/output error"), errno.EIO),
        (ValueError("No space left on device"), None),
    ],
)
def test_the_system_error_behind_that_of_a_library(error: Exception, number: int | None) -> None:
    assert error_number(error) == number


def test_space_is_compared_before_a_write(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "there")
    with pytest.raises(UnwritableError, match="needed"):
        require_space(tmp_path, 1 << 60)


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOSPC, errno.ENAMETOOLONG])
def test_the_command_line_prints_one_line_for_errors_of_the_system(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def broken(*arguments: object) -> None:
        raise OSError(number, os.strerror(number), "/data/rain.nc")

    monkeypatch.setattr("workflows.commands.doctor.machine", broken)
    with pytest.raises(SystemExit) as stopped:
        main(["doctor"])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: /data/rain.nc: found")
    assert os.strerror(number) in line


def test_memory_that_runs_out_names_settings() -> None:
    fault = system_fault(MemoryError("Unable to allocate 8.00 TiB"))
    assert fault is not None
    assert "8.00 TiB" in fault.found
    assert "tile" in fault.hint


def test_input_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught, writing(tmp_path / "a"):
        raise InputError([])
    assert type(caught.value) is InputError
