"""Files of state of fetches, sources, folds, sweeps and publications, and what reads them.

- The next fetch leaves the bytes that the provider has, whatever the notes of the last one say.
- Digests of sources that were changed are those of other files, or none.
- Statistics of folds are those of their cells, and scores of a sweep those of its predictions.
- A list of published maps names files beside it, and has the types that it declares.
"""

from __future__ import annotations

import atexit
import hashlib
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults
from pipeline.cube.locations import write_locations
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import run_stage
from pipeline.fetch import cds
from pipeline.fetch import client as clients
from pipeline.fetch.client import Client
from pipeline.fetch.credentials import Credentials
from pipeline.fetch.order import RemoteFile
from pipeline.fetch.transfer import transfer
from pipeline.sources.versions.contents import read_contents, record_contents, replaced
from stefaland.data.normalise import Normaliser
from stefaland.folds.fold import Fold
from tests.faults.fuzz.oracle import FindingError
from tests.providers import DataStore, File, Provider, provider
from workflows.commands.sweep import (
    SEAL,
    Item,
    forget_damaged,
    items,
    predictions_digest,
    variant_scores,
    variant_tables,
)
from workflows.inputs.checked_folds import (
    _check_seal,
    check_heldout,
    fold_identity,
    write_statistics,
)
from workflows.inputs.folds import FoldFiles
from workflows.products.published import read_published
from workflows.products.series_scores import finite


@dataclass(frozen=True)
class State:
    """A kind of state: how its files are written, which are damaged, and the check of a damage."""

    write: Callable[[Path], None]
    check: Callable[[Path], Any]
    files: str = "*"


CONTENT = b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 200
HAVE = 20_000
"""Bytes of an interrupted fetch."""


@cache
def _server() -> tuple[Provider, DataStore]:
    """A provider with one file, and a data store with one job, until the tests end."""
    stack = ExitStack()
    atexit.register(stack.close)
    clients.FIRST_PAUSE = cds.FIRST_WAIT = 0.001
    server = stack.enter_context(provider(file=File(CONTENT)))
    store = DataStore(server, CONTENT, states=("successful",))
    return server, store


class _Credentials(Credentials):
    def cds(self) -> tuple[str, str]:
        """Return address and key of the store of the tests."""
        return _server()[1].url, _server()[1].key


def _client() -> Client:
    return Client(_Credentials(), rate=1e6)


def _file(folder: Path) -> RemoteFile:
    checksum = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    return RemoteFile(address=f"{_server()[0].url}/file", path=folder / "a.nc", checksum=checksum)


def _write_transfer(folder: Path) -> None:
    file, tag = _file(folder), f'"{hashlib.md5(CONTENT).hexdigest()}"'
    file.partial.write_bytes(CONTENT[:HAVE])
    file.partial.with_suffix(".note").write_text(json.dumps({"version": tag}))


def _check_transfer(folder: Path) -> Any:
    found = transfer(_client(), _file(folder), folder)
    return _of_provider(folder, found)


def _of_provider(folder: Path, found: Any) -> Any:
    if (folder / "a.nc").read_bytes() != CONTENT:
        raise FindingError("other bytes than those of the provider")
    if hidden := [path.name for path in folder.glob(".*")]:
        raise FindingError(f"files that are left, {hidden}")
    return found


def _job(folder: Path) -> RemoteFile:
    address = f"{_server()[1].url}/retrieve/v1/processes/land/execution"
    return RemoteFile(address=address, path=folder / "a.nc", login="cds", inputs={"year": ["2001"]})


def _write_job(folder: Path) -> None:
    file = _job(folder)
    cds._submitted(_client(), file, file.partial.with_suffix(".job"))


def _check_job(folder: Path) -> Any:
    return _of_provider(folder, cds.transfer_result(_client(), _job(folder), folder))


def _sources(folder: Path) -> list[Any]:
    from pipeline.entries.source import Source

    entry = {"name": "rain", "driver": "netcdf", "variables": {}, "uri": str(folder / "*.nc")}
    return [Source.model_validate(entry)]


def _write_contents(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / f"{name}.nc").write_bytes(name.encode() * 100)
    record_contents(folder / "sources.json", _sources(folder), folder)


def _check_contents(folder: Path) -> Any:
    file = folder / "sources.json"
    known = read_contents(file)
    if not all(isinstance(one, str) for one in replaced(known).values()):
        raise FindingError("digests that are no texts")
    record_contents(file, _sources(folder), folder)
    if set(read_contents(file)) != {"a.nc", "b.nc"}:
        raise FindingError("digests of other files")
    return known


def _fold() -> Fold:
    numbers = np.arange(12)
    return Fold(
        name="all", kind="groups", train=numbers[:6], validation=numbers[6:9], test=numbers[9:]
    )


def _write_statistics(folder: Path) -> None:
    files = FoldFiles(folder)
    _fold().save(files.cells("all"))
    _fold().save(files.pretraining_cells("all"))
    write_statistics(files, _fold(), _fold(), _scaling())


def _check_statistics(folder: Path) -> Any:
    files, faults = FoldFiles(folder), Faults()
    fold, other = files.fold("all"), files.pretraining_fold("all")
    _check_seal(files, fold, other, faults)
    faults.raise_if_any()
    scaling = files.normaliser("all")
    if scaling.to_dict() != _scaling().to_dict():
        raise FindingError("other statistics under the same seal")
    return scaling


def _scaling() -> Normaliser:
    moments = {"count": 6, "mean": 0.5, "m2": 3.0, "min": -1.0, "max": 2.0}
    return Normaliser.from_moments({"rain": moments, "heat": {**moments, "mean": 0.25}})


TIMES = np.arange("2001-01-01", "2001-02-10", dtype="datetime64[D]").astype("datetime64[ns]")


def _sweep_items() -> list[Item]:
    return items(["all"], ["lstm"], [""], [0, 1])


def _predict(folder: Path, item: Item) -> dict[str, Any]:
    """Write predictions of one training, the same each time."""
    cells, seed = _fold().test, item.seed
    values = np.random.default_rng(seed).random((len(TIMES), len(cells)), np.float32)
    coords = {"time": TIMES, "cell": cells, "lon": ("cell", cells * 1.0),
              "lat": ("cell", cells * 1.0)}  # fmt: skip
    write_locations(folder / item.name / "heldout.zarr", xr.Dataset(
        dict.fromkeys(("mean", "spread"), (("time", "cell"), values)),
        coords, {"fold": fold_identity(_fold())},
    ))  # fmt: skip
    return {SEAL: predictions_digest(folder, item)}


def _sweep(folder: Path) -> Any:
    files, todo, work = FoldFiles(folder), _sweep_items(), partial(_predict, folder / "sweep")
    ledger = Ledger(folder / "ledger", "f")
    forget_damaged(ledger, todo, folder / "sweep")
    run_stage("sweep", todo, work, ledger, progress=False)
    check_heldout(files, [(one.fold, folder / "sweep" / one.name / "heldout.zarr") for one in todo])
    cells = _fold().test
    observed = np.random.default_rng(5).random((len(cells), len(TIMES)))
    table = xr.Dataset(
        {"flow": (("cell", "time"), observed)},
        {"cell": cells, "time": TIMES, "site": ("cell", cells), "region": ("cell", ["a"] * 3)},
    )
    tables = variant_tables(table, ["flow"], True, todo, folder / "sweep")
    return finite(variant_scores(tables, "regression", "KGE", 1))


def _write_sweep(folder: Path) -> None:
    _fold().save(FoldFiles(folder).cells("all"))
    _SCORES.append(repr(_sweep(folder)))


_SCORES: list[str] = []


def _check_sweep(folder: Path) -> Any:
    found = _sweep(folder)
    if repr(found) != _SCORES[0]:
        raise FindingError("other scores")
    return found


PUBLISHED: dict[str, Any] = {
    "maps": [{"file": "wet.tif", "image": "wet.png", "caption": "wet; 3 land cells"}] * 2,
    "places": [
        {"name": "Sahara", "lon": 10.0, "lat": 23.5, "product": "globe", "variable": None,
         "minimum": 0.0, "maximum": 0.1, "why": "a desert", "found": 0.04, "passed": True},
        {"name": "Amazon", "lon": -60.0, "lat": -3.0, "product": "globe", "variable": "wet",
         "minimum": 0.2, "maximum": 0.5, "why": "", "found": "no value", "passed": False},
    ],
}  # fmt: skip


def _write_published(folder: Path) -> None:
    (folder / "published.json").write_text(json.dumps(PUBLISHED))
    (folder / "wet.png").write_bytes(b"picture")
    (folder.parent / "secret.png").write_bytes(b"secret")


def _check_published(folder: Path) -> Any:
    found = read_published(folder / "published.json")
    for item in found.maps:
        if (folder / item.image).resolve().parent != folder.resolve():
            raise FindingError(f"a picture elsewhere, {item.image}")
    json.dumps(found.model_dump(mode="json"))
    return found


STATES_OF_PRODUCTS = {
    "transfer": State(_write_transfer, _check_transfer, ".*.note"),
    "job": State(_write_job, _check_job, ".*.job"),
    "contents": State(_write_contents, _check_contents, "*.json"),
    "statistics": State(_write_statistics, _check_statistics, "**/*"),
    "sweep": State(_write_sweep, _check_sweep, "**/*"),
    "published": State(_write_published, _check_published, "*.json"),
}
