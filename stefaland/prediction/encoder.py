"""A pretrained encoder that was loaded: its network, its scaler, and embeddings of cells."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from stefaland.checkpoints.checkpoint import load_checkpoint, load_encoder, stored_normaliser
from stefaland.checkpoints.released import encoder_folder
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.model.mae import StefaLand
from stefaland.prediction.embed_cells import embed_cells
from stefaland.prediction.ensemble import Ensemble
from stefaland.prediction.ensemble import load as load_ensemble


@dataclass(frozen=True, eq=False)
class Encoder:
    """A pretrained encoder with its own scaler; `folder` is what `finetune` takes."""

    model: StefaLand
    normaliser: Normaliser
    data: Mapping[str, Any]
    """Content of its `data.json`: units, the cells that pretrained it, skills."""
    folder: Path

    def absent_in(self, cells: CellData) -> tuple[str, ...]:
        """Its inputs that a table of cells lacks."""
        config = self.model.config
        inputs = (*config.forcings, *config.statics, *config.categorical)
        known = {*cells.forcing_names, *cells.static_names, *cells.categorical_names}
        return tuple(name for name in inputs if name not in known)

    def embed(
        self, cells: CellData, window: int, *, cyclic: bool = False, hidden: Collection[str] = (),
        device: torch.device | str = "cpu",
    ) -> NDArray[Any]:  # fmt: skip
        """Embeddings [N, 2 d] of cells (`embed_cells`), with some inputs `hidden` in all of them.

        Raises `InputError` for other inputs that the cells lack.
        """
        return embed_cells(
            self.model, self.normaliser, cells, window, cyclic=cyclic, device=device, hidden=hidden
        )


def load(source: str | Path, device: torch.device | str = "cpu") -> Ensemble | Encoder:
    """The pretrained encoder, or the trained network or ensemble, of a folder, name or address.

    Names of releases and addresses (https://…, hf://OWNER/NAME@REVISION) are those of encoders, as
    `stefaland release` writes them; they are fetched once, verified and kept. Raises `InputError`
    for what cannot be had or read.

    >>> from tempfile import mkdtemp
    >>> from stefaland.checkpoints.checkpoint import save_checkpoint
    >>> from stefaland.config import ModelConfig
    >>> from stefaland.data.cell_data import fit_normaliser
    >>> from stefaland.data.example import example_cells
    >>> cells = example_cells()
    >>> network = StefaLand(ModelConfig(forcings=cells.forcing_names, statics=("soil_depth",)))
    >>> scaling = fit_normaliser(cells, cells.rows(cells.cell)).to_dict()
    >>> scaling["soil_depth"] = {"mean": 1.0, "std": 0.5}
    >>> encoder = load(save_checkpoint(mkdtemp(), network, {"normaliser": scaling}))
    >>> encoder.absent_in(cells)
    ('soil_depth',)
    >>> encoder.embed(cells, window=20, hidden=encoder.absent_in(cells)).shape
    (12, 512)
    """
    folder = encoder_folder(source)
    if any(folder.glob("member*")) or not isinstance(load_checkpoint(folder)[0], StefaLand):
        return load_ensemble(folder, device)
    model, data = load_encoder(folder)
    return Encoder(model.to(device), stored_normaliser(folder, data), data, folder)
