"""Ranks of a run under torchrun; everything works, and does nothing, in a single process.

Downstream: loop.py. Each rank takes its part of every batch (sampler.py); gradients are averaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed as dist

# DistributedDataParallel imports this module late, and its functions then hold the group that has
# been joined as their default argument: it would never be freed, and its threads, still at work
# when the interpreter ends, would abort the process.
import torch.distributed.nn
from torch import Tensor

_parts = ContextVar("_parts", default=False)


def rank() -> int:
    """This process's number, 0 without distribution."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes, 1 without distribution."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """True in the one process that writes."""
    return rank() == 0


@contextmanager
def process_group(device: torch.device | str) -> Iterator[torch.device]:
    """Join the group that torchrun's environment names, if any; gives this rank's device."""
    chosen = torch.device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield chosen
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield chosen
    finally:
        dist.destroy_process_group()


def sum_over_ranks(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Every value summed over ranks; the values themselves in a single process."""
    if world_size() == 1:
        return dict(values)
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return dict(zip(values, total.tolist(), strict=True))


@contextmanager
def parts_of_one_batch() -> Iterator[None]:
    """Ranks compute losses of their parts of the same batch within: means are over all parts."""
    token = _parts.set(world_size() > 1)
    try:
        yield
    finally:
        _parts.reset(token)


def mean_over_parts(value: Tensor) -> Tensor:
    """`value` averaged over ranks within `parts_of_one_batch`; `value` itself elsewhere."""
    if not _parts.get():
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def barrier() -> None:
    """Wait for all ranks."""
    if world_size() > 1:
        dist.barrier()


def agreed(value: bool) -> bool:
    """The main rank's `value`, on all ranks: files may look different from another node."""
    if world_size() == 1:
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    said = torch.tensor(int(value), device=device)
    dist.broadcast(said, 0)
    return bool(said.item())


def best_device() -> torch.device:
    """`cuda:LOCAL_RANK` where there is a card, else `cpu`."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")
