"""The STAC collection of a run's maps: an item a product."""

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
    """What the STAC collection of a run's maps says of itself and of its products."""

    folder: Path
    name: str
    title: str
    target: str
    made_from: Mapping[str, Sequence[Path]]
    """Of each predicted cube: stores with the time of maps that have none, the first that has one
    counts.
    """

    def items(self, of_product: Products) -> list[StacItem]:
        """An item of each product, with all files of its maps."""
        return [
            StacItem(
                id=f"{self.target}_{suffix}", title=f"{self.title}: {suffix}",
                grid=of[0].grid, files=_files(of),
                time=covered_time([of[0].of.store, *self.made_from[of[0].product.cube]]),
                description=self._description(of[0]),
            )
            for suffix, of in of_product.items()
        ]  # fmt: skip

    def write(self, of_product: Products) -> None:
        """Write the collection beside the maps."""
        write_collection(self.folder, self.items(of_product), **self._about)

    def faults(self, of_product: Products) -> list[Fault]:
        """What of the stored collection is not what the maps call for."""
        faults: list[Fault] = []
        documents = None
        try:
            documents = collection_documents(self.folder, self.items(of_product), **self._about)
        except InputError as error:
            faults += error.faults
        return faults + verify_collection(self.folder / COLLECTION, documents)

    @property
    def _about(self) -> dict[str, Any]:
        return {"id": self.name, "title": self.title, "description": self.title}

    def _description(self, layer: Layer) -> str:
        """The title, and what the dates of a climatology mean."""
        da = layer.da
        note = climatology_note(da["time"]) if "time" in da.dims else ""
        return f"{self.title} ({note})" if note else self.title


def covered_time(stores: Iterable[Path]) -> np.ndarray:
    """First and last second of the first store that has times: a map is of its dates, else of the
    series it was made from.
    """
    found = np.zeros(0, "datetime64[s]")
    for path in stores:
        if (found := times_of(open_cube(path))).size:
            return found
    return found


def _files(of: Sequence[Layer]) -> dict[str, Path]:
    return {
        f"{layer.variable}{key}": layer.path(ending)
        for layer in of
        for key, ending in (("", "tif"), ("_style", "qml"), ("_preview", "png"), ("_zarr", "zarr"))
    }
