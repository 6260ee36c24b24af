"""stefaland embed workflows/configs/quickstart.yml

The encoder's representation of every land cell, tile by tile, as Zarr and as a COG with a band for
each of its numbers: inputs for models that are not ours.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.provenance import fingerprint, provenance
from pipeline.cube.open import open_cube
from pipeline.cube.template import cube_template
from pipeline.cube.write import create_cube, write_tile
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import run_stage
from pipeline.grid.tiles import Tile, land_cells
from pipeline.publish.geotiff import write_cog
from stefaland.checkpoints.checkpoint import check_compatible, load_encoder, stored_normaliser
from stefaland.data.normalise import Normaliser
from stefaland.distributed import best_device
from stefaland.model.mae import StefaLand
from stefaland.prediction.embed_cells import embed_cells, embedding_names
from workflows.console import CONSOLE
from workflows.inputs.cells import cell_data, land_mask, read_inputs, static_names
from workflows.inputs.folds import FoldFiles
from workflows.run import Run

NAME = "embedding"


def embed(run: Run, fold: str | None = None, checkpoint: Path | None = None) -> list[Path]:
    """Embed the configured cubes with a fold's pretrained encoder, or that of `checkpoint`.

    Gives the COGs, which lie beside the Zarr stores in `embeddings/FOLD/` of the run folder.
    Finished tiles are skipped.
    """
    folder = checkpoint or run.pretrained(fold or FoldFiles(run.folder).names()[0])
    model, data = load_encoder(folder)
    stored_normaliser(folder, data)
    return [_embed_cube(run, cube, model, data, folder) for cube in run.config.predict.cubes]


def _embed_cube(
    run: Run, cube: str, model: StefaLand, data: dict[str, Any], folder: Path
) -> Path:  # fmt: skip
    source = open_cube(run.cube(cube))
    check_compatible(folder, data, {
        "forcings": run.config.inputs.forcings, "statics": static_names(source, run.config.inputs),
    })  # fmt: skip
    names = embedding_names(model)
    attrs = {"long_name": "encoder's representation of the location", "units": "1"}
    template = cube_template(
        run.grid(cube), None, {NAME: {"dims": ("band", "y", "x"), "attrs": attrs}},
        run.config.cubes[cube].tile, bands=names,
    )  # fmt: skip
    path = run.folder / "embeddings" / folder.name / f"{cube}.zarr"
    about = provenance(
        {"checkpoint": str(folder)},
        {name: run.catalog[name].model_dump(mode="json") for name in run.config.inputs.sources},
    )
    create_cube(path, template, about)
    ledger = Ledger(run.ledger("embed", f"{folder.name}-{cube}"), fingerprint([data, cube]))
    step = partial(_embed_tile, run, cube, model, stored_normaliser(folder, data),
                   land_mask(source, run.config.inputs), path)  # fmt: skip
    run_stage(f"embed {cube}", template.tiles, step, ledger, part=run.part)
    if len(ledger.names_done()) < len(template.tiles):
        CONSOLE.print(f"{path}: the other parts have tiles to do before the COG can be written")
        return path
    da = open_cube(path)[NAME]
    cog = path.with_suffix(".tif")
    write_cog(cog, da, run.grid(cube), band_names=names, units="1", metadata=about)
    return cog


def _embed_tile(
    run: Run,
    cube: str,
    model: StefaLand,
    normaliser: Normaliser,
    mask: np.ndarray,
    path: Path,
    tile: Tile,
) -> dict[str, Any]:
    """Embed one tile's land cells and write them."""
    window = run.grid(cube).window(tile.rows, tile.cols)
    values = np.full((2 * model.config.d_model, *window.shape), np.nan, np.float32)
    cells = land_cells(mask, tile)
    if cells.size:
        inputs = run.config.inputs
        table = read_inputs(open_cube(run.cube(cube)), inputs, cells)
        data = cell_data(table, inputs, model.config.statics)
        settings = run.config.pretrain
        embedded = embed_cells(
            model, normaliser, data, settings.window, cyclic=settings.cyclic, device=best_device()
        )
        rows, cols = np.divmod(cells, mask.shape[1])
        values[:, rows - tile.rows.start, cols - tile.cols.start] = embedded.T
    ds = xr.Dataset({NAME: (("band", "y", "x"), values)}, {"y": window.y, "x": window.x})
    return dict(write_tile(path, tile, ds))
