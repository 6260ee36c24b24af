"""embed_cells(): the encoder's representation of locations, as input of other models."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from numpy.typing import NDArray

from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.data.windows import Windows
from stefaland.model.mae import StefaLand
from stefaland.prediction.distribution import plan_windows


def embedding_names(model: StefaLand) -> list[str]:
    """Names of the 2 d features of an embedding: those of the days, then those of the statics."""
    d = model.config.d_model
    return [f"{part}_{i:03d}" for part in ("days", "statics") for i in range(d)]


def embed_cells(
    model: StefaLand,
    normaliser: Normaliser,
    data: CellData,
    window: int,
    *,
    cyclic: bool = False,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    hidden: Collection[str] = (),
) -> NDArray[np.float32]:
    """Embeddings [N, 2 d], float32: the mean over all days, then that over the static tokens.

    No input is hidden from the encoder but those `hidden` in all cells, which these may lack. Cells
    without any forcing are NaN. Raises `InputError` for absent variables and for a window longer
    than the data.

    >>> from stefaland.config import model_preset
    >>> from stefaland.data.cell_data import fit_normaliser
    >>> from stefaland.data.example import example_cells
    >>> from stefaland.folds.split import make_folds
    >>> cells = example_cells()
    >>> fold = make_folds("groups", cells, k=3)[0]
    >>> normaliser = fit_normaliser(cells, cells.rows(fold.train))
    >>> network = model_preset("stefaland-tiny", forcings=cells.forcing_names,
    ...                        statics=cells.static_names)
    >>> embed_cells(StefaLand(network), normaliser, cells, window=20).shape
    (12, 128)
    """
    inputs = data.selected(
        model.config.forcings, model.config.statics, tuple(model.config.categorical), hidden
    )
    out = np.full((len(data), 2 * model.config.d_model), np.nan, np.float32)
    seen = ~inputs.forcings.isnan().flatten(1).all(1)
    model = model.to(device).eval()
    steps = len(data.time)
    with torch.inference_mode():
        for rows in torch.from_numpy(np.flatnonzero(seen.numpy())).split(batch_size):
            windows = Windows(inputs.take(rows), normaliser, window, cyclic=cyclic, device=device)
            all_rows = torch.arange(len(rows), device=windows.device)
            total = torch.zeros(len(rows), 2, model.config.d_model, device=windows.device)
            for stretch in plan_windows(steps, window, 0, cyclic):
                encoded = model.encode(
                    windows.gather(all_rows, torch.full_like(all_rows, stretch.start))
                ).float()
                days = encoded[:, :window][:, stretch.keep]
                total[:, 0] += days.sum(1)
                total[:, 1] += encoded[:, window:].mean(1) * days.shape[1]
            out[rows.numpy()] = (total / steps).flatten(1).cpu().numpy()
    return out
