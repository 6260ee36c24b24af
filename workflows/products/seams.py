"""Faults of maps whose series jump where one window of the model follows another."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipeline.core.errors import Fault
from pipeline.cube.open import open_cube
from pipeline.maps.mosaic import is_spread_or_quantile
from pipeline.maps.seams import BOUNDARIES, LARGEST_RATIO, stands_out
from workflows.products.map_layers import Layer

SHOWN = 3
"""Number of boundaries that a fault names."""


def seam_faults(layers: Iterable[Layer]) -> list[Fault]:
    """Faults of the predicted series that change much more at window boundaries than elsewhere.

    Aggregates over time, and maps of models without windows, have no boundaries.
    """
    faults = []
    for layer in layers:
        times = open_cube(layer.product_store.store).attrs.get(BOUNDARIES, [])
        if layer.product.aggregate != "none" or not times or "time" not in layer.da.dims:
            continue
        if layer.da.dtype.kind != "f" or is_spread_or_quantile(layer.variable):
            continue
        boundaries = np.array(times, "datetime64[ns]")
        ratio = stands_out(layer.da, boundaries)
        if ratio is not None:
            shown = ", ".join(str(day)[:10] for day in times[:SHOWN])
            more = ", …" if len(times) > SHOWN else ""
            faults.append(
                Fault(
                    f"{layer.name}: seams in time",
                    f"changes at the boundaries of prediction windows ({shown}{more}) are "
                    f"{ratio:.1f} times those of other steps",
                    f"at most {LARGEST_RATIO:g} times",
                    "Train again with a longer finetune.window or finetune.warmup_steps.",
                )
            )
    return faults
