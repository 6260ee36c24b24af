"""The encoder's representation of every land cell: `stefaland embed CONFIG`.

Written tile by tile as Zarr, and as a COG with one band for each dimension of the representation:
inputs for other models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.provenance import fingerprint, provenance
from pipeline.core.written.names import checked_name
from pipeline.cube.open import open_cube, read_store
from pipeline.cube.template import cube_template
from pipeline.cube.write import create_cube, write_tile
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import run_stage
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import Tile, cells_within
from pipeline.publish.geotiff import write_cog
from stefaland.checkpoints.checkpoint import load_encoder, stored_normaliser
from stefaland.data.cell_data import CellData
from stefaland.distributed import best_device
from stefaland.model.mae import StefaLand
from stefaland.prediction.embed_cells import embed_cells, embedding_names
from workflows.console import CONSOLE
from workflows.inputs.cells import land_mask, static_names
from workflows.inputs.encoder_inputs import hidden_inputs
from workflows.inputs.folds import FoldFiles
from workflows.inputs.given_encoder import check_variables
from workflows.products.predicted_maps import read_tile
from workflows.run import Run
from workflows.stages.order import require_sound

NAME = "embedding"


def embed(run: Run, fold: str | None = None, checkpoint: Path | None = None) -> list[Path]:
    """Embed the configured cubes with a fold's pretrained encoder, or that of `checkpoint`.

    Returns the paths of the COGs, which lie beside the Zarr stores in `embeddings/FOLD/` of the run
    folder. Finished tiles are skipped.
    """
    folder = checkpoint or run.pretrained(fold or FoldFiles(run.folder).names()[0])
    checked_name("checkpoint", folder.name, "The folder of the embeddings has its name: rename it.")
    if checkpoint is None:
        require_sound(run.folder, ["pretrain"], below=str(folder.relative_to(run.folder)))
    model, data = load_encoder(folder)
    return [_embed_cube(run, cube, model, data, folder) for cube in run.config.predict.cubes]


def _embed_cube(
    run: Run, cube: str, model: StefaLand, data: dict[str, Any], folder: Path
) -> Path:  # fmt: skip
    """Embed one cube of the run; returns the path of its COG."""
    source, inputs, settings = open_cube(run.cube(cube)), run.config.inputs, run.config.pretrain
    statics = static_names(source, inputs)
    check_variables(
        folder, model.config, data, {"forcings": inputs.forcings, "statics": statics},
        hide_absent=settings.hide_absent,
    )  # fmt: skip
    read = partial(read_tile, source, inputs, land_mask(source, inputs), statics)
    represent = partial(
        embed_cells, model, stored_normaliser(folder, data), window=settings.window,
        cyclic=settings.cyclic, device=best_device(),
        hidden=hidden_inputs(model.config, inputs.forcings, statics),
    )  # fmt: skip
    path, names = run.folder / "embeddings" / folder.name / f"{cube}.zarr", embedding_names(model)
    attrs = provenance(
        {"checkpoint": str(folder)},
        {name: run.catalog[name].model_dump(mode="json") for name in inputs.sources},
    )
    ledger = Ledger(run.ledger("embed", f"{folder.name}-{cube}"), fingerprint([data, cube]))
    work = TileEmbedding(path, run.grid(cube), len(names), read, represent)
    tile = read_store(run.cube(cube)).tile
    return embed_tiles(work, names, tile, attrs, ledger, part=run.part)


@dataclass(frozen=True)
class TileEmbedding:
    """Work on one tile: its cells are read, represented and written."""

    store: Path
    grid: TargetGrid
    width: int
    """Length of the representation of one cell."""
    read: Callable[[Tile], CellData]
    """Reader of the land cells of a tile; empty where the tile is all sea."""
    represent: Callable[[CellData], np.ndarray]
    """Function of cells that returns their representations, [cell, width]."""

    def __call__(self, tile: Tile) -> dict[str, Any]:
        """Represent the cells of one tile and write them."""
        window, cells = self.grid.window(tile.rows, tile.cols), self.read(tile)
        values = np.full((self.width, *window.shape), np.nan, np.float32)
        if len(cells):
            rows, cols = cells_within(tile, cells.cell.numpy(), self.grid.shape[1])
            values[:, rows, cols] = self.represent(cells).T
        ds = xr.Dataset({NAME: (("band", "y", "x"), values)}, {"y": window.y, "x": window.x})
        return dict(write_tile(self.store, tile, ds))


def embed_tiles(
    work: TileEmbedding, names: Sequence[str], tile: tuple[int, int], attrs: Mapping[str, Any],
    ledger: Ledger, *, part: tuple[int, int] = (1, 1),
) -> Path:  # fmt: skip
    """Fill the cube of `work`, whose bands have these `names`, tile by tile.

    Returns the path of its COG, or of the cube while other parts still have tiles to compute.
    """
    band_attrs = {"long_name": "encoder's representation of the location", "units": "1"}
    variables = {NAME: {"dims": ("band", "y", "x"), "attrs": band_attrs}}
    template = cube_template(work.grid, None, variables, tile, bands=names)
    create_cube(work.store, template, attrs)
    run_stage(f"embed {work.store.stem}", template.tiles, work, ledger, part=part)
    if len(ledger.names_done()) < len(template.tiles):
        CONSOLE.print(
            f"{work.store}: the COG is written after the other parts have computed their tiles"
        )
        return work.store
    cog = work.store.with_suffix(".tif")
    da = open_cube(work.store)[NAME]
    write_cog(cog, da, work.grid, band_names=names, units="1", metadata=attrs)
    return cog
