"""Inputs that may be missing in use: removed from training windows, or from a whole table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.core.errors import Faults, listed, nearest_name
from stefaland.data.batch import Batch
from stefaland.data.cell_data import CellData

Groups = Mapping[str, Sequence[str]]
"""Names of forcings and static attributes by group."""


def without(data: CellData, names: Sequence[str]) -> CellData:
    """The table with these inputs missing (NaN) in every cell.

    >>> from stefaland.data.example import example_cells
    >>> cells = without(example_cells(), ["precipitation"])
    >>> bool(cells.forcings[..., 0].isnan().all()), bool(cells.forcings[..., 1].isnan().all())
    (True, False)
    """
    return _removed(data, torch.ones(len(data), 1, dtype=torch.bool), {"": names})


def partly_without(data: CellData, groups: Groups, share: float, seed: int) -> CellData:
    """The table with each group missing in a random fraction `share` of the cells."""
    draws = np.random.default_rng((seed, 0x3155)).random((len(data), len(groups)))
    return _removed(data, torch.from_numpy(draws < share), groups)


def _removed(data: CellData, chosen: Tensor, groups: Groups) -> CellData:
    dropping = Dropping.of(groups, 1.0, data.forcing_names, data.static_names)
    forcings, statics = dropping.applied(data.forcings, data.statics, chosen)
    return replace(data, forcings=forcings, statics=statics)


@dataclass(frozen=True)
class Dropping:
    """Groups of columns that are missing in random windows."""

    forcings: tuple[tuple[int, ...], ...]
    """Columns of the forcings of each group."""
    statics: tuple[tuple[int, ...], ...]
    share: float
    """Fraction of the windows from which each group is removed."""

    @classmethod
    def of(
        cls, groups: Groups, share: float, forcings: Sequence[str], statics: Sequence[str]
    ) -> Dropping:
        """The columns of the groups; `InputError` lists all names that are no input."""
        faults, known = Faults(), (*forcings, *statics)
        for group, names in groups.items():
            for name in names:
                if name not in known:
                    faults.add(
                        f"finetune.missing_groups.{group}", f'"{name}"',
                        f"inputs among {listed(known)}", nearest_name(name, known),
                    )  # fmt: skip
        faults.raise_if_any()
        columns = [
            tuple(tuple(known.index(n) for n in names if n in known) for names in groups.values())
            for known in (tuple(forcings), tuple(statics))
        ]
        return cls(columns[0], columns[1], share)

    def __call__(self, batch: Batch, size: int, part: slice, generator: torch.Generator) -> Batch:
        """The batch, `part` of a draw of `size` windows, without the groups drawn for each."""
        if not self.share or not self.forcings:
            return batch
        # Drawn for the whole batch, so that it does not depend on the number of ranks.
        device = batch.forcings.device
        drawn = torch.rand((size, len(self.forcings)), generator=generator, device=device)[part]
        forcings, statics = self.applied(batch.forcings, batch.statics, drawn < self.share)
        return replace(batch, forcings=forcings, statics=statics)

    def applied(self, forcings: Tensor, statics: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Forcings [B, T, F] and statics [B, S] without the groups `chosen` [B, G] of each row."""
        forcings, statics = forcings.clone(), statics.clone()
        for group, (of_forcings, of_statics) in enumerate(
            zip(self.forcings, self.statics, strict=True)
        ):
            rows = chosen[:, group].to(forcings.device).nonzero()
            forcings[rows, :, list(of_forcings)] = torch.nan
            statics[rows, list(of_statics)] = torch.nan
        return forcings, statics
