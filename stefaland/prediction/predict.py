"""Predictions of trained networks for cells: mean, spread and quality flag in physical units.

Several networks are combined as one ensemble. The predict stage writes maps of the results, the
score stage scores them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.errors import Faults, bad_input
from stefaland.data.cell_data import CellData
from stefaland.data.passes import in_order, passes
from stefaland.model.quantiles import LEVELS
from stefaland.prediction.distribution import Distribution, combine, member_distribution
from stefaland.prediction.member import Member
from stefaland.prediction.predictions import (
    MASKED,
    Predictions,
)
from stefaland.prediction.quality_flag import quality_flag
from stefaland.tasks import possible_values, values_of

CPU_STEPS = 6_000
"""Approximate number of cells times window of a pass on the CPU; see `pass_size`."""
MIN_CELLS = 32
GPU_PASSES = 3
"""Number of concurrent passes on a GPU: while one computes, others are normalised and copied."""

K = TypeVar("K")


def predict_cells(
    members: Sequence[Member],
    data: CellData,
    *,
    batch_size: int = 1024,
    device: torch.device | str = "cpu",
    masked: Tensor | None = None,
) -> Predictions:
    """Predictions of cells: `mean` and `spread` [N, T, O], float32, in physical units; `flag` [N],
    uint8; and `quantiles` [N, T, O, Q] where all members have them.

    Members are combined as an equal mixture: mean of means; the variance is the mean of variances
    plus the variance of means; quantiles are averaged level by level (Lichtendahl et al. 2013). The
    spread is NaN where a single network has none. Cells without any forcing, or `masked` [N], are
    NaN with flag 3. Raises `InputError` for absent variables, and for members with different
    targets. On the CPU a cell's bits do not depend on the other cells; `batch_size` is for other
    devices.

    >>> from tempfile import mkdtemp
    >>> from stefaland.config import FinetuneConfig, PretrainConfig, model_preset
    >>> from stefaland.data.cell_data import fit_normaliser
    >>> from stefaland.data.example import example_cells
    >>> from stefaland.folds.split import make_folds
    >>> cells = example_cells()
    >>> fold = make_folds("groups", cells, k=3)[0]
    >>> normaliser = fit_normaliser(cells, cells.rows(fold.train))
    >>> network = model_preset("stefaland-tiny", forcings=cells.forcing_names,
    ...                        statics=cells.static_names)
    >>> from stefaland.training.finetune import finetune
    >>> folder = finetune(None, cells, fold, FinetuneConfig(window=20, epochs=1), mkdtemp(),
    ...                   model_config=network, normaliser=normaliser)
    >>> from stefaland.prediction.member import load_member
    >>> found = predict_cells([load_member(folder)], cells)
    >>> found["mean"].shape, found["flag"].max().item() <= 3
    ((12, 60, 1), True)
    """
    table = [(0, data, masked)]
    ((_, found),) = predict_tables(members, table, batch_size=batch_size, device=device)
    return Predictions(
        **found,
        cell=data.cell.numpy(),
        lonlat=data.lonlat.numpy(),
        time=data.time,
        target_names=members[0].target_names,
    )


def predict_tables(
    members: Sequence[Member],
    tables: Iterable[tuple[K, CellData, Tensor | None]],
    *,
    task: str = "regression",
    batch_size: int = 1024,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Iterator[tuple[K, dict[str, NDArray[Any]]]]:
    """Each table's key and the arrays of `predict_cells` for its cells, in the order of the tables.

    `tables` yields (key, cells, masked [N] or None). A pass holds cells of as many tables as are
    needed to fill it, so that a table is returned after the next ones have been read. Targets of
    other tasks than regression have no time: `mean` and `spread` are [N, O] of each member's mean
    over time, and the spread is that between members. With `dtype` bfloat16 networks run under
    autocast. Raises `InputError` as `predict_cells` does.
    """
    _check_members(members)
    target_device = torch.device(device)
    for member in members:
        member.model.to(target_device).eval()
    size = pass_size(members) if target_device.type == "cpu" else batch_size
    flagged = (_flagged(members, *table) for table in tables)
    results: dict[int, dict[str, NDArray[Any]]] = {}
    on_cpu = target_device.type == "cpu"
    workers = torch.get_num_threads() if on_cpu else GPU_PASSES
    run = partial(_predict_pass if on_cpu else _on_own_stream, members, task, target_device, dtype)
    for batch, values in in_order(passes(flagged, size, padded=on_cpu), run, workers):
        for part in batch.parts:
            number, n_cells = part.table.number, part.table.key[1]
            if number not in results:
                n_steps = len(part.table.data.time)
                results[number] = _empty(members, n_steps, n_cells, task)
            for name, whole in results[number].items():
                whole[part.rows] = values[name][part.inside]
        for table in batch.finished:
            key, n_cells, flag = table.key
            found = results.pop(table.number, None)
            found = found or _empty(members, len(table.data.time), n_cells, task)
            yield key, {**found, "flag": flag}


def pass_size(members: Sequence[Member]) -> int:
    """Number of cells of every pass on the CPU: a power of two, larger for shorter windows.

    It depends on the members alone: arrays of other shapes are rounded differently, and a map must
    not depend on the tiles it was made in. For the same reason a pass runs in one thread; several
    threads run different passes.
    """
    longest = max(member.window for member in members)
    return max(MIN_CELLS, int(2 ** math.floor(math.log2(max(CPU_STEPS / longest, 1)))))


def _flagged(
    members: Sequence[Member], key: K, data: CellData, masked: Tensor | None
) -> tuple[tuple[K, int, NDArray[np.uint8]], CellData, Tensor]:
    """The key, number of cells and flags of a table; the table; and its rows to predict."""
    for member in members:
        member.inputs(data.take(torch.arange(0)))
    flag = quality_flag(members, data, masked)
    return (key, len(data), flag), data, torch.from_numpy(np.flatnonzero(flag != MASKED))


def _empty(
    members: Sequence[Member], n_steps: int, n_cells: int, task: str
) -> dict[str, NDArray[Any]]:
    """Arrays of missing values for n cells."""
    steps = (n_steps,) if values_of(task) == "quantity" else ()
    shape = (n_cells, *steps, len(members[0].target_names))
    shapes = {"mean": shape, "spread": shape}
    if all(member.calibration.quantile_shift is not None for member in members):
        shapes["quantiles"] = (*shape, len(LEVELS))
    return {name: np.full(size, np.nan, np.float32) for name, size in shapes.items()}


def _predict_pass(
    members: Sequence[Member], task: str, device: torch.device, dtype: torch.dtype, data: CellData
) -> dict[str, NDArray[np.float32]]:
    """Arrays of the ensemble's predictions for the cells of a pass."""
    distributions = [member_distribution(member, data, device, dtype) for member in members]
    if values_of(task) != "quantity":
        warmups = [0 if member.cyclic else member.warmup_steps for member in members]
        # A cell without any prediction stays NaN.
        distributions = [
            Distribution(part.mean[:, warmup:].double().nanmean(1))
            for part, warmup in zip(distributions, warmups, strict=True)
        ]
    combined = combine(distributions)
    return combined | {"mean": possible_values(task, combined["mean"])}


def _on_own_stream(
    members: Sequence[Member], task: str, device: torch.device, dtype: torch.dtype, data: CellData
) -> dict[str, NDArray[np.float32]]:
    """The result of `_predict_pass` on a CUDA stream of its own, concurrent with other threads."""
    with torch.cuda.stream(torch.cuda.Stream(device)):
        return _predict_pass(members, task, device, dtype, data)


def _check_members(members: Sequence[Member]) -> None:
    if not members:
        raise bad_input("ensemble", "no member", "at least one")
    faults = Faults()
    for i, member in enumerate(members[1:], 1):
        if member.target_names != members[0].target_names:
            found = ", ".join(member.target_names)
            faults.add(f"ensemble member {i}", found, ", ".join(members[0].target_names))
    faults.raise_if_any()
