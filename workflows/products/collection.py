"""The STAC collection of a run's maps, with one item for each product."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import Fault, InputError
from pipeline.cube.open import open_cube
from pipeline.publish.stac import (
    COLLECTION,
    StacItem,
    collection_documents,
    times_of,
    write_collection,
)
from pipeline.publish.verify import verify_collection
from pipeline.times.periods import climatology_note
from workflows.products.map_layers import Layer

Products = Mapping[str, Sequence[Layer]]
"""The maps of every product by its suffix."""


@dataclass(frozen=True)
class MapCollection:
    """The STAC collection of a run's maps."""

    folder: Path
    name: str
    title: str
    target: str
    made_from: Mapping[str, Sequence[Path]]
    """Stores of each predicted cube that may have the time of maps without one; the first with a
    time axis is used.
    """

    def items(self, layers_by_product: Products) -> list[StacItem]:
        """One item for each product, with all files of its maps."""
        return [
            StacItem(
                id=f"{self.target}_{suffix}", title=f"{self.title}: {suffix}",
                grid=layers[0].grid, files=_files(layers),
                time=covered_time(
                    [layers[0].product_store.store, *self.made_from[layers[0].product.cube]]
                ),
                description=self._description(layers[0]),
            )
            for suffix, layers in layers_by_product.items()
        ]  # fmt: skip

    def write(self, layers_by_product: Products) -> None:
        """Write the collection beside the maps."""
        write_collection(self.folder, self.items(layers_by_product), **self._metadata)

    def faults(self, layers_by_product: Products) -> list[Fault]:
        """Differences of the stored collection from that of the present maps."""
        faults: list[Fault] = []
        documents = None
        try:
            documents = collection_documents(
                self.folder, self.items(layers_by_product), **self._metadata
            )
        except InputError as error:
            faults += error.faults
        return faults + verify_collection(self.folder / COLLECTION, documents)

    @property
    def _metadata(self) -> dict[str, Any]:
        return {"id": self.name, "title": self.title, "description": self.title}

    def _description(self, layer: Layer) -> str:
        """The title, for a climatology the meaning of its dates, and the model of the maps."""
        da = layer.da
        note = climatology_note(da["time"]) if "time" in da.dims else ""
        title = f"{self.title} ({note})" if note else self.title
        made_by = layer.product_store.made_by
        return f"{title.rstrip('.')}. {made_by}" if made_by else title


def covered_time(stores: Iterable[Path]) -> np.ndarray:
    """First and last second of the first store with a time axis; empty where none has one.

    The stores are the map's own and those of the series it was made from.
    """
    found = np.zeros(0, "datetime64[s]")
    for path in stores:
        if (found := times_of(open_cube(path))).size:
            return found
    return found


def _files(layers: Sequence[Layer]) -> dict[str, Path]:
    return {
        f"{layer.variable}{key}": layer.path(ending)
        for layer in layers
        for key, ending in (("", "tif"), ("_style", "qml"), ("_preview", "png"), ("_zarr", "zarr"))
    }
