"""Answers of providers that are not the file: encoded, empty, cut, messages, odd documents."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.fetch import cds, transfer
from pipeline.fetch import client as clients
from pipeline.fetch.run import fetch
from tests.pipeline.fetch.products import fast, ordered
from tests.providers import Asked, DataStore, File, Provider, provider

CONTENT = bytes(range(255, -1, -1)) * 4096


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses before further tries are short."""
    monkeypatch.setattr(clients, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(cds, "FIRST_WAIT", 0.001)


@pytest.fixture
def server() -> Iterator[Provider]:
    with provider() as found:
        yield found


def fetched(
    folder: Path, server: Provider, route: Any, name: str = "rain.nc", **more: Any
) -> bytes:
    server.routes[f"/{name}"] = route
    get = {"kind": "http", "files": f"{server.url}/{name}", "to": f"rain/{name}", **more}
    fetch(ordered(folder, get, static=True), fast())
    return (folder / "data" / "rain" / name).read_bytes()


def test_an_encoded_answer_is_the_file_that_it_encodes(server: Provider, tmp_path: Path) -> None:
    def encoded(asked: Asked) -> None:
        asked.answer.send(200, gzip.compress(CONTENT), Content_Encoding="gzip", ETag='"1"')

    assert fetched(tmp_path, server, encoded) == CONTENT
    assert fetched(tmp_path, server, encoded, "rain.csv.gz") == gzip.compress(CONTENT)


def test_an_encoded_answer_that_ends_early_is_asked_for_again(
    server: Provider, tmp_path: Path
) -> None:
    faults = [True, False]

    def encoded(asked: Asked) -> None:
        content = gzip.compress(CONTENT, 0)
        asked.answer.begin(200, len(content), Content_Encoding="gzip", ETag='"1"')
        asked.answer.write(content[: len(content) // 2] if faults.pop(0) else content)
        asked.answer.close_connection = True

    assert fetched(tmp_path, server, encoded) == CONTENT


def cut_file(folder: Path) -> bytes:
    path = folder / "whole.nc"
    xr.Dataset({"rain": ("x", np.arange(5000.0))}).to_netcdf(path)
    return path.read_bytes()[:20_000]


@pytest.mark.parametrize(("kind", "words"), [
    ("empty", "an empty file"), ("cut", "the first 20,000 bytes"), ("json", "a JSON file instead"),
])  # fmt: skip
def test_what_cannot_be_the_file_is_refused_and_nothing_stays(
    kind: str, words: str, server: Provider, tmp_path: Path
) -> None:
    contents = {"empty": b"", "json": b'{"error": "quota exceeded"}', "cut": cut_file(tmp_path)}
    with pytest.raises(InputError, match=words):
        fetched(tmp_path, server, File(contents[kind]))
    home = tmp_path / "data" / "rain"
    assert not (home / "rain.nc").exists()
    # The next call begins anew.
    assert fetched(tmp_path, server, File(CONTENT)) == CONTENT


def test_json_that_was_asked_for_is_kept(server: Provider, tmp_path: Path) -> None:
    assert fetched(tmp_path, server, File(b'{"a": 1}'), "rain.json") == b'{"a": 1}'


def test_a_disk_that_takes_a_part_of_a_block_loses_nothing(
    server: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Narrow:
        """A file that takes 1,000 bytes at once."""

        def __init__(self, handle: Any) -> None:
            self.handle = handle

        def __getattr__(self, name: str) -> Any:
            return getattr(self.handle, name)

        def write(self, content: memoryview) -> int:
            return int(self.handle.write(content[:1000]))

    original = transfer._web_parts
    monkeypatch.setattr(
        transfer, "_web_parts", lambda client, file, handle: original(client, file, Narrow(handle))
    )
    assert fetched(tmp_path, server, File(CONTENT)) == CONTENT


GET: dict[str, Any] = {
    "kind": "cds", "dataset": "land", "to": "rain/rain_{year}_{month:02d}.nc",
    "variables": {"precipitation": "total_precipitation"},
}  # fmt: skip


@pytest.mark.parametrize(("step", "document", "words"), [
    ("submit", {"title": "maintenance"}, r"without jobID \(maintenance\)"),
    ("submit", ["maintenance"], "without jobID"), ("status", {}, "without status"),
    ("results", {"asset": {}}, "without asset.value.href"), ("results", None, "without asset"),
])  # fmt: skip
def test_documents_of_another_form_are_one_error(
    step: str, document: Any, words: str, server: Provider, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(DataStore, step, lambda self, asked: asked.answer.document(document))
    store = DataStore(server, CONTENT)
    monkeypatch.setenv("CDSAPI_URL", store.url)
    monkeypatch.setenv("CDSAPI_KEY", store.key)
    month = (date(2001, 2, 1), date(2001, 2, 28))
    if step == "submit":
        server.routes["/api/retrieve/v1/processes/land/execution"] = store.submit
    with pytest.raises(InputError, match=words) as error:
        fetch(ordered(tmp_path, GET, period=month), fast())
    assert len(error.value.faults) == 1


@pytest.mark.parametrize(("bounds", "words"), [
    ((170, -20, -170, 10), "--into data/west and --bounds -180 -20 -170 10 --into data/east"),
    ((170, -20, 190, 10), "--bounds 170 -20 180 10 --into data/west"),
    ((200, -20, 230, 10), "Write -160 -20 -130 10"),
    ((10, 20, 30, 10), "ascending"), ((10, 20, 30, 95), "ascending"),
])  # fmt: skip
def test_bounds_across_180_degrees_are_refused_with_the_way_out(
    bounds: tuple[float, float, float, float], words: str, tmp_path: Path
) -> None:
    get = {"kind": "http", "files": "https://h.org/rain.nc", "to": "rain/rain.nc"}
    with pytest.raises(InputError) as error:
        ordered(tmp_path, get, static=True, bounds=bounds)
    assert words in str(error.value)
