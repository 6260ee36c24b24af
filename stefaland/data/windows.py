"""Windows of a cell table as batches, gathered on the device that holds the normalised table.

Training and prediction both use them; `stream.py` serves tables that do not fit on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.errors import Faults, bad_input
from stefaland.data.batch import Batch
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import TRANSFORMS, Normaliser
from stefaland.data.sampler import Draw


def check_ranges(data: CellData, normaliser: Normaliser) -> None:
    """Raise `InputError` for values that are infinite or that a transform is not defined for."""
    faults = Faults()
    tables = [
        (data.forcing_names, data.forcings),
        (data.static_names, data.statics),
        (data.target_names, data.target),
    ]
    for names, values in tables:
        # First the whole table at once, by NumPy, which is nine times as fast as torch here.
        suspect = values is not None and bool(np.isinf(values.cpu().numpy()).any())
        for i, name in enumerate(names):
            if values is None or name not in normaliser.scalings:
                continue
            column = values[..., i]
            lowest = TRANSFORMS[normaliser.scalings[name].transform].lowest
            if suspect and bool(torch.isinf(column).any()):
                faults.add(name, "infinite values", "numbers or NaN")
            if lowest is not None and bool((column < lowest).any()):
                count = int((column < lowest).sum())
                faults.add(name, f"{count} values below {lowest:g}", f"at least {lowest:g}")
    faults.raise_if_any()


def year_fraction(time: NDArray[np.datetime64]) -> NDArray[np.float32]:
    """Elapsed fraction [T] of the year, 0 to 1."""
    year = time.astype("datetime64[Y]")
    elapsed = (time - year.astype("datetime64[s]")).astype("timedelta64[s]").astype(np.float64)
    length = ((year + 1).astype("datetime64[s]") - year.astype("datetime64[s]")).astype(np.float64)
    return (elapsed / length).astype(np.float32)


class Windows:
    """A normalised cell table on `device`, and batches of its windows of `window` steps.

    `cyclic` time axes (climatologies) wrap around. Raises `InputError` for a window longer than the
    table, and for values that a transform is not defined for.
    """

    def __init__(
        self,
        data: CellData,
        normaliser: Normaliser,
        window: int,
        *,
        cyclic: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.n_steps, self.window, self.cyclic = len(data.time), window, cyclic
        if window > self.n_steps:
            raise bad_input(
                "window", f"{window} time steps", f"at most the {self.n_steps} of the data"
            )
        check_ranges(data, normaliser)
        self.device = torch.device(device)
        self.normaliser, self.data = normaliser, data
        forcings = normaliser.forward(data.forcings, data.forcing_names)
        self.forcings = forcings.flatten(0, 1).to(self.device)
        self.statics = normaliser.forward(data.statics, data.static_names).to(self.device)
        self.target: Tensor | None = None
        if data.target is not None and all(n in normaliser.scalings for n in data.target_names):
            target = normaliser.forward(data.target, data.target_names)
            self.target = target.flatten(0, 1).to(self.device)
        self.lonlat = data.lonlat.float().to(self.device)
        self.cell = data.cell.to(self.device)
        self.categorical = None if data.categorical is None else data.categorical.to(self.device)
        self.day_of_year = torch.from_numpy(year_fraction(data.time)).to(self.device)
        self._offsets = torch.arange(window, device=self.device)

    def __len__(self) -> int:
        return len(self.cell)

    def starts(self, period: tuple[str, str] | None = None) -> tuple[int, int]:
        """First start and number of starts of windows within `period`; `InputError` without any."""
        if self.cyclic:
            return 0, self.n_steps
        when = self.data.steps(period)
        count = when.stop - when.start - self.window + 1
        if count < 1:
            raise bad_input(
                "period", f"{when.stop - when.start} time steps", f"at least {self.window}"
            )
        return when.start, count

    def gather(self, rows: Tensor, starts: Tensor) -> Batch:
        """The windows that begin at `starts` [B] of the locations `rows` [B], both int64."""
        rows, starts = rows.to(self.device), starts.to(self.device)
        if self.cyclic:
            steps = (starts[:, None] + self._offsets) % self.n_steps
            flat = (rows[:, None] * self.n_steps + steps).flatten()
            day_of_year = self.day_of_year[steps]
        else:
            day_of_year = self.day_of_year.unfold(0, self.window, 1).index_select(0, starts)

        def series(values: Tensor) -> Tensor:
            if self.cyclic:
                return values.index_select(0, flat).unflatten(0, steps.shape)
            # A window is contiguous in memory: it is copied whole, not step by step.
            size, count = values.shape[1], max(0, len(values) - self.window + 1)
            whole = values.as_strided((count, self.window * size), (size, 1))
            return whole.index_select(0, rows * self.n_steps + starts).unflatten(1, (-1, size))

        return Batch(
            forcings=series(self.forcings),
            statics=self.statics[rows],
            categorical=None if self.categorical is None else self.categorical[rows],
            day_of_year=day_of_year,
            lonlat=self.lonlat[rows],
            target=None if self.target is None else series(self.target),
            cell=self.cell[rows],
        )

    def batches(self, draws: Sequence[Draw]) -> Iterator[Batch]:
        """This rank's part of each draw; indices of all draws are copied to the device at once."""
        if not draws:
            return
        rows = torch.cat([draw.rows[draw.part] for draw in draws]).to(self.device)
        starts = torch.cat([draw.starts[draw.part] for draw in draws]).to(self.device)
        sizes = [draw.part.stop - draw.part.start for draw in draws]
        for pair in zip(rows.split(sizes), starts.split(sizes), strict=True):
            yield self.gather(*pair)

    def nbytes(self) -> int:
        """Bytes of the resident tensors."""
        held = (self.forcings, self.statics, self.target, self.lonlat, self.categorical)
        return sum(v.numel() * v.element_size() for v in held if v is not None)
