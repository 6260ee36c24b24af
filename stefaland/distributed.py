"""Ranks of a run under torchrun; in a single process all functions have no effect.

Each rank trains on its part of every batch (`data/sampler.py`), and gradients are averaged.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import psutil
import torch
import torch.distributed as dist

# DistributedDataParallel imports this module late. Its functions would then hold the process group
# as a default argument, so that it is never freed, and its threads, which still run when the
# interpreter ends, would abort the process.
import torch.distributed.nn
from torch import Tensor

LOOPBACK = "127.0.0.1"
_parts = ContextVar("_parts", default=False)
_next: dict[int, tuple[int, socket.socket | None]] = {}
"""Port of the next group of ranks, and its listener in the main process, by MASTER_PORT."""


def rank() -> int:
    """Rank of this process; 0 in a single process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes; 1 in a single process."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this process is the one that writes files."""
    return rank() == 0


@contextmanager
def process_group(device: torch.device | str) -> Iterator[torch.device]:
    """Join the process group of torchrun's environment, if any, and yield this rank's device."""
    chosen = torch.device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield chosen
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    if _is_one_node():
        _join_on_loopback(backend)
    else:
        dist.init_process_group(backend)
    try:
        yield chosen
    finally:
        dist.destroy_process_group()


def _is_one_node() -> bool:
    """Whether all ranks are processes of this machine."""
    local = os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE")
    return local or os.environ.get("MASTER_ADDR") in ("localhost", LOOPBACK)


def _join_on_loopback(backend: str) -> None:
    """Join the group by sockets that no other machine reaches: ranks trust all who connect.

    The store of the ranks is that of torchrun where it keeps one.
    """
    interface = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, interface)
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        dist.init_process_group(backend)
        return
    number, size, first = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    port, listener = _next.pop(first, (first, None))
    if number == 0 and listener is None:
        listener = socket.create_server((LOOPBACK, port))
    descriptor = listener.detach() if listener else None
    store = dist.TCPStore(LOOPBACK, port, size, number == 0, master_listen_fd=descriptor)
    # The next group has a port of its own: ranks may join it while others leave this one.
    following = socket.create_server((LOOPBACK, 0)) if number == 0 else None
    if following:
        store.set("next", str(following.getsockname()[1]))
    _next[first] = int(store.get("next")), following
    dist.init_process_group(backend, store=store, rank=number, world_size=size)


def sum_over_ranks(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Values by name, each summed over ranks; unchanged in a single process."""
    if world_size() == 1:
        return dict(values)
    total = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return dict(zip(values, total.tolist(), strict=True))


@contextmanager
def parts_of_one_batch() -> Iterator[None]:
    """Take means over the parts of all ranks (`mean_over_parts`) within the block."""
    token = _parts.set(world_size() > 1)
    try:
        yield
    finally:
        _parts.reset(token)


def mean_over_parts(value: Tensor) -> Tensor:
    """Average of `value` over ranks within `parts_of_one_batch`; `value` unchanged elsewhere."""
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
    """The main rank's `value` on all ranks; nodes may see different states of the same files."""
    if world_size() == 1:
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    main_value = torch.tensor(int(value), device=device)
    dist.broadcast(main_value, 0)
    return bool(main_value.item())


def best_device() -> torch.device:
    """The device `cuda:LOCAL_RANK` where there is a GPU, else `cpu`."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def free_memory(device: torch.device) -> int:
    """Number of free bytes in the memory of a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)
