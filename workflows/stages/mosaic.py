"""stefaland mosaic workflows/configs/quickstart.yml

Predicted tiles as one map store for each product, possibly on another grid.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

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
    products = run.config.publish.products
    return [run.folder / "mosaics", *(run.ledger("mosaic", p.suffix) for p in products)]


def main(run: Run) -> dict[str, Any]:
    """Fill the map store of every product; returns the counts of land cells without a value."""
    result = {}
    target = run.config.inputs.targets[0]
    for product in run.config.publish.products:
        task = create_map(
            run.prediction(product.cube),
            run.product_grid(product),
            run.mosaic(product.suffix),
            aggregate=product.aggregate,
            min_valid_share=product.min_valid_share,
        )
        ledger = Ledger(run.ledger("mosaic", product.suffix), stage_fingerprint(run, "mosaic"))
        run_stage(
            f"mosaic {product.suffix}", cube_tiles(task.store), partial(fill_map_tile, task),
            ledger,
            part=run.part,
        )  # fmt: skip
        mask = land_mask(open_cube(run.cube(product.cube)), run.config.inputs)
        found = holes(run.prediction(product.cube), mask, target)
        result[product.suffix] = found.summary()
    return {"holes": result}
