"""Sources that are no files, may not be read, or promise more than memory holds."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import Fault, Faults
from pipeline.core.system.paths import unfit_path
from pipeline.entries.source import Source
from pipeline.sources.open import check_source

DRIVERS = {
    "netcdf": {}, "raster": {}, "grib": {}, "zarr": {}, "table": {},
    "npz": {"lat": "lat", "lon": "lon"},
}  # fmt: skip


def _check(uri: Path | str, driver: str = "netcdf", **more: Any) -> list[Fault]:
    name = "band_1" if driver == "raster" else "rain"
    entry = {"name": "s", "uri": str(uri), "driver": driver, **DRIVERS.get(driver, {}),
             "variables": {"precipitation": {"name": name, "units": "mm/day"}}, **more}  # fmt: skip
    faults = Faults()
    check_source(Source.model_validate(entry), faults)
    return faults.faults


@pytest.mark.parametrize("driver", DRIVERS)
def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path: Path, driver: str) -> None:
    os.mkfifo(tmp_path / "pipe.nc")
    (fault,) = _check(tmp_path / "pipe.nc", driver)
    assert (fault.where, fault.found) == (f'source "s", {tmp_path}/pipe.nc', "a named pipe")
    (fault,) = _check("/dev/zero", driver)
    assert fault.found == "a device"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.nc"))
        (fault,) = _check(tmp_path / "s.nc", driver)
    assert fault.found == "a socket"


def test_a_pipe_among_files_of_a_glob_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "b.nc")
    (fault,) = _check(tmp_path / "*.nc")
    assert fault.found == "a named pipe"


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.nc").symlink_to(tmp_path / "gone.nc")
    (tmp_path / "b.nc").symlink_to(tmp_path / "b.nc")
    (fault,) = _check(tmp_path / "a.nc")
    assert fault.found == f"a link to {tmp_path}/gone.nc, which does not exist"
    (fault,) = _check(tmp_path / "b.nc")
    assert os.strerror(errno.ELOOP) in fault.found


def test_names_that_are_too_long_are_named(tmp_path: Path) -> None:
    (fault,) = _check(tmp_path / f"{'x' * 300}.nc")
    assert "File name too long" in fault.found


@pytest.mark.parametrize("driver", DRIVERS)
def test_files_that_may_not_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    (tmp_path / "a.nc").write_bytes(b"CDF\x01")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (fault,) = _check(tmp_path / "a.nc", driver)
    assert "Permission denied" in fault.found
    assert "chmod" in fault.hint


def test_disks_that_fail_while_a_file_is_opened_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.nc").write_bytes(b"CDF\x01")

    def broken(path: Path, *arguments: Any, **options: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(Path, "open", broken)
    (fault,) = _check(tmp_path / "a.nc")
    assert fault.where == f'source "s", {tmp_path}/a.nc'
    assert "Input/output error" in fault.found


def test_a_folder_that_may_not_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.nc").write_bytes(b"CDF\x01")

    def refused(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "iterdir", refused)
    (fault,) = _check(tmp_path / "[a-c].nc")
    assert fault.where == f'source "s", {tmp_path}'
    assert "Permission denied" in fault.found


def test_what_can_be_read_is_fit(tmp_path: Path) -> None:
    (tmp_path / "a.nc").touch()
    assert unfit_path(tmp_path) is None
    assert unfit_path(tmp_path / "a.nc") is None
    assert unfit_path(tmp_path / "gone") is None
    assert unfit_path(tmp_path / "a.nc" / "b") is None
