"""stefaland mosaic workflows/configs/quickstart.yml

Predicted tiles as one map store for each product, possibly on another grid.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from pipeline.cube.integrity import repeat_lost
from pipeline.cube.open import cube_tiles, open_cube
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import run_stage
from pipeline.maps.holes import holes
from pipeline.maps.mosaic import create_map, fill_map_tile
from workflows.fingerprints import stage_fingerprint
from workflows.inputs.cells import land_mask
from workflows.run import Run


def outputs(run: Run) -> list[Path]:
    """The map stores and their tile markers."""
    names = [product.suffix for product in run.config.publish.products]
    return [*map(run.mosaic, names), *(run.ledger("mosaic", name) for name in names)]


def stores(run: Run) -> dict[Path, Ledger]:
    """The map stores, with the ledgers of their tiles."""
    made_by = stage_fingerprint(run, "mosaic")
    return {
        run.mosaic(product.suffix): Ledger(run.ledger("mosaic", product.suffix), made_by)
        for product in run.config.publish.products
    }


def main(run: Run) -> dict[str, Any]:
    """Fill the map store of every product; returns the counts of land cells without a value."""
    result, ledgers = {}, stores(run)
    target = run.config.inputs.targets[0]
    for product in run.config.publish.products:
        task = create_map(
            run.prediction(product.cube),
            run.product_grid(product),
            run.mosaic(product.suffix),
            aggregate=product.aggregate,
            min_valid_share=product.min_valid_share,
        )
        repeat_lost(task.store, ledgers[task.store])
        run_stage(
            f"mosaic {product.suffix}", cube_tiles(task.store), partial(fill_map_tile, task),
            ledgers[task.store],
            part=run.part,
            task_seconds=run.config.cluster.task_seconds,
        )  # fmt: skip
        mask = land_mask(open_cube(run.cube(product.cube)), run.config.inputs)
        found = holes(run.prediction(product.cube), mask, target)
        result[product.suffix] = found.summary()
    return {"holes": result}
