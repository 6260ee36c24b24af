"""`Store`: a Zarr store of a provider, the local store of parts of it, and the record of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.addresses import public_uri
from pipeline.core.files import read_json
from pipeline.core.untrusted.safe_json import parse_json
from pipeline.fetch.order import Order

NOTE = "fetched"
"""Attribute of a local store that records which part of the provider's store it has, as JSON."""


@dataclass(frozen=True)
class Store:
    """A store of the provider, the local one, and the folder in which its chunks gather."""

    address: str
    path: Path

    @property
    def partial(self) -> Path:
        """Folder of the chunks that were fetched for a local store that is not complete."""
        return self.path.with_name(f".{self.path.name}.fetching")

    @property
    def note(self) -> dict[str, Any]:
        """The record of the local store; empty if there is none."""
        for name in (".zattrs", "zarr.json"):
            if (self.path / name).is_file():
                found = read_json(self.path / name)
                text = found.get("attributes", found).get(NOTE)
                return dict(parse_json(text)) if text else {}
        return {}

    def has(self, order: Order) -> bool:
        """Whether the local store has all that an order wants of it."""
        note = self.note
        if not note or note["address"] != public_uri(self.address):
            return False
        wanted = _wanted(order)
        return set(wanted_arrays(order)) <= set(note["arrays"]) and _within(wanted, note)

    def chunk(self, array: str, key: str) -> Path:
        """Return the path at which a chunk of the provider's store is kept."""
        return self.partial / "chunks" / array / key.replace("/", ".")


def _wanted(order: Order) -> dict[str, Any]:
    return {
        "bounds": list(order.bounds or order.product.bounds),
        "period": [day.isoformat() for day in order.period] if order.period else None,
    }


def _within(wanted: Mapping[str, Any], note: Mapping[str, Any]) -> bool:
    west, south, east, north = wanted["bounds"]
    have = note["bounds"]
    inside = have[0] <= west and have[1] <= south and east <= have[2] and north <= have[3]
    if wanted["period"] is None or note["period"] is None:
        return bool(inside and wanted["period"] == note["period"])
    first, last = wanted["period"]
    return bool(inside and note["period"][0] <= first and last <= note["period"][1])


def wanted_arrays(order: Order) -> tuple[str, ...]:
    """Return the names of the arrays that the variables of an order need, expressions included."""
    known = order.source.variables
    entries = [known[name] for name in order.variables or known]
    return tuple(
        dict.fromkeys(name for entry in entries for name in entry.names_in_files(entry.name))
    )


def joined_note(order: Order, store: Store) -> dict[str, Any]:
    """Return the address, bounds and period of a local store after an order was added to it."""
    note = store.note
    wanted = _wanted(order)
    if note:
        pairs = list(zip(wanted["bounds"], note["bounds"], strict=True))
        wanted["bounds"] = [*(min(p) for p in pairs[:2]), *(max(p) for p in pairs[2:])]
        if wanted["period"] and note["period"]:
            both = [wanted["period"], note["period"]]
            wanted["period"] = [min(p[0] for p in both), max(p[1] for p in both)]
    return {"address": public_uri(store.address), **wanted}
