"""Names that leave their folder, or that no system can hold, are refused before any work."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.catalog.catalog import read_catalog
from pipeline.core.archives.member_path import MemberPath
from pipeline.core.archives.unpacked_files import member_copy
from pipeline.core.errors import InputError
from pipeline.core.written.names import checked_below, name_fault
from pipeline.cube.write import cube_template
from pipeline.fetch.listing import remote_files
from pipeline.fetch.zarr_metadata import read_arrays
from tests.cubes import GRID
from tests.pipeline.fetch.products import fast, ordered
from workflows.config.load import load_config

BAD = (
    "", ".", "..", "../evil", "../../evil", "a/b", "a\\b", "/etc/evil", ".hidden", "-rf", "a..b",
    "ends.", "two words", "line\nbreak", "tab\t", "nul\x00l", "é", "con", "NUL", "com1.tif", "aux",
    "a" * 101, "~", "${HOME}x", "a:b", "a*",
)  # fmt: skip
GOOD = ("run", "conus_1deg", "v0.2.0", "2024-06", "a" * 100, "_x", "conus", "null")
SETTINGS: Mapping[str, Any] = {
    "name": lambda name: {"name": name},
    "cubes": lambda name: {"cubes": {name: {"grid": "global_1deg"}}},
    "folds.regions.folds": lambda name: {"folds": {"regions": {"folds": {name: ["Africa"]}}}},
    "publish.products": lambda name: {
        "publish": {"products": [{"cube": "global", "suffix": name}]}
    },
    "publish.legend": lambda name: {"publish": {"legend": name}},
    "inputs.target": lambda name: {"inputs": {"target": name}},
    "variables": lambda name: {"variables": {name: {"long_name": "a", "units": "1"}}},
    "places": lambda name: {"places": [{"name": "x", "lon": 0, "lat": 0, "product": name,
                                        "minimum": 0, "maximum": 1}]},
}  # fmt: skip
"""A config with a name at each setting that becomes a part of paths."""


@pytest.mark.parametrize("name", BAD)
def test_bad_names_are_refused(name: str) -> None:
    assert name_fault(name)


@pytest.mark.parametrize("name", GOOD)
def test_plain_names_are_accepted(name: str) -> None:
    assert name_fault(name) == ""


@pytest.mark.parametrize("setting", list(SETTINGS))
@pytest.mark.parametrize("name", ["../../evil", "a/b", "con", "x" * 101, "line\nbreak"])
def test_every_setting_that_becomes_a_path_is_checked(
    tmp_path: Path, setting: str, name: str
) -> None:
    config = tmp_path / "own.yml"
    config.write_text(yaml.safe_dump({"extends": "quickstart.yml", **SETTINGS[setting](name)}))
    with pytest.raises(InputError) as caught:
        load_config(config)
    faults = [fault for fault in caught.value.faults if setting in fault.where]
    assert faults, str(caught.value)
    assert any("letters, digits" in fault.expected for fault in faults)


def test_variables_of_catalogs_and_arrays_of_cubes_are_checked(tmp_path: Path) -> None:
    catalog = tmp_path / "own.yml"
    catalog.write_text('variables: {"../../evil": {long_name: a, units: "1"}}\n')
    with pytest.raises(InputError, match=r"evil.*is no plain name.*array of cubes"):
        read_catalog(catalog)
    with pytest.raises(InputError, match=r"evil.*is no plain name"):
        cube_template(GRID, None, {"../evil": {"dims": ("y", "x")}}, 10)


@pytest.mark.parametrize(
    "name", ["..%2F..%2Fevil.nc", "%2e%2e", "a%5Cb.nc", "a%00b.nc", "x" * 260 + ".nc"]
)
def test_names_of_servers_stay_in_the_data_folder(tmp_path: Path, name: str) -> None:
    order = ordered(
        tmp_path, {"kind": "http", "files": f"https://example.org/{name}", "to": "rain/"},
        static=True,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"files below .*data"):
        remote_files(order, fast())


def test_templates_of_paths_and_unpacked_folders_stay_there_too(tmp_path: Path) -> None:
    get = {"kind": "http", "files": "https://example.org/a.nc", "to": "../evil.nc"}
    with pytest.raises(InputError, match="files below"):
        remote_files(ordered(tmp_path, get, static=True), fast())
    get = {"kind": "http", "files": "https://example.org/...zip", "to": "rain/", "unpack": True}
    with pytest.raises(InputError, match="files below"):
        remote_files(ordered(tmp_path, get, static=True), fast())


@pytest.mark.parametrize("name", ["a/../../evil", "..", "new\nline", "back\\slash", ""])
def test_paths_below_a_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="files below"):
        checked_below("here", tmp_path, tmp_path / name)


def test_members_of_archives_do_not_leave_the_folder_of_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEFALAND_CACHE", str(tmp_path / "cache"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a/../../evil.nc", b"1")
        archive.writestr("deep/..", b"2")
    (tmp_path / "a.zip").write_bytes(content.getvalue())
    for member in MemberPath(tmp_path / "a.zip", "").members():
        path = MemberPath(tmp_path / "a.zip", member)
        try:
            copy = member_copy(path)
        except InputError:
            continue
        assert copy.resolve().is_relative_to(tmp_path / "cache")
    outside = [p for p in tmp_path.iterdir() if p.name not in ("a.zip", "cache")]
    assert outside == []


ARRAY = {"zarr_format": 2, "shape": [4, 4], "chunks": [2, 2], "dtype": "<f4", "order": "C",
         "compressor": None, "filters": None, "fill_value": 0}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "separator"), [("..", "."), ("rain", "/../../"), ("a\\b", "."), ("rain", None)]
)
def test_arrays_of_remote_stores_stay_in_theirs(
    tmp_path: Path, name: str, separator: str | None
) -> None:
    array = {**ARRAY, "dimension_separator": separator}
    metadata = {".zattrs": {}, f"{name}/.zarray": array, f"{name}/.zattrs": {}}
    (tmp_path / ".zmetadata").write_text(json.dumps({"metadata": metadata}))
    with pytest.raises(InputError, match="a plain name"):
        read_arrays(tmp_path)


def test_usual_arrays_of_remote_stores_are_read(tmp_path: Path) -> None:
    encodings = ({}, {"dimension_separator": "/"})
    for array in ({**ARRAY, **more} for more in encodings):
        document = {"metadata": {".zattrs": {}, "rain/.zarray": array, "rain/.zattrs": {}}}
        (tmp_path / ".zmetadata").write_text(json.dumps(document))
        assert list(read_arrays(tmp_path)[0]) == ["rain"]
    assert np.prod(ARRAY["shape"]) == 16
