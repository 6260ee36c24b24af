from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stefaland.config import OptimiserConfig, TrainConfig
from stefaland.data.batch import Batch
from stefaland.data.cell_data import fit_normaliser
from stefaland.data.sampler import Draw, Sampler
from stefaland.data.windows import Windows
from stefaland.distributed import barrier, is_main, process_group, rank, sum_over_ranks, world_size
from stefaland.model.losses import masked_mean
from stefaland.training.loop import fit
from tests.synthetic import daily_cells

CONFIG = TrainConfig(window=10, epochs=3, batch_size=9, seed=5, optimiser=OptimiserConfig(lr=1e-2))


def run_ranks(work: Callable[..., None], folder: Path, ranks: int = 2) -> None:
    """`work(folder)` in `ranks` processes under torchrun's environment (gloo)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = torch.multiprocessing.spawn(
        _rank, args=(work, folder, ranks, port), nprocs=ranks, join=False
    )
    while not context.join(timeout=60):
        pass


def _rank(number: int, work: Callable[[Path], None], folder: Path, ranks: int, port: int) -> None:
    os.environ.update(
        RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(ranks),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    torch.set_num_threads(1)
    work(folder)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, batch: Batch) -> Tensor:
        return self.layers(batch.forcings)


def objective(model: nn.Module, batch: Batch, draw: Draw, generator: torch.Generator) -> Tensor:
    noise = torch.randn((len(draw.rows), 10, 1), generator=generator)[draw.part]
    error = (model(batch) - torch.nan_to_num(batch.target) + noise).square()
    return masked_mean(error, ~batch.target.isnan())


def train_toy(folder: Path) -> None:
    data = daily_cells(25, 40)
    with process_group("cpu"):
        windows = Windows(data, fit_normaliser(data, torch.arange(25)), 10)
        torch.manual_seed(3)
        model = Small()
        sampler = Sampler(
            rows=np.arange(25),
            starts=windows.starts(),
            batch_size=9,
            seed=5,
            rank=rank(),
            world_size=world_size(),
        )

        def validate(model: nn.Module) -> dict[str, float]:
            rows = torch.arange(25)[rank() :: world_size()]
            mine = windows.gather(rows, torch.full_like(rows, 3))
            error = (model(mine) - torch.nan_to_num(mine.target)).square().sum()
            total = sum_over_ranks({"loss": float(error.detach())}, torch.device("cpu"))
            return {"loss": total["loss"] / 250}

        result = fit(
            model,
            windows,
            sampler,
            objective,
            validate=validate,
            config=CONFIG,
            folder=folder / "training",
        )
        if is_main():
            weights: dict[str, Any] = {k: v.tolist() for k, v in model.state_dict().items()}
            (folder / "result.json").write_text(json.dumps([weights, result.history]))


@pytest.mark.slow
def test_two_ranks_equal_one_process_with_parts_of_unequal_size(tmp_path: Path) -> None:
    for name, ranks in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        if ranks == 1:
            train_toy(tmp_path / name)
        else:
            run_ranks(train_toy, tmp_path / name)
    (one, history), (two, other) = (
        json.loads((tmp_path / n / "result.json").read_text()) for n in ("one", "two")
    )
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-6)
    for a, b in zip(history, other, strict=True):
        assert a["validation_loss"] == pytest.approx(b["validation_loss"], rel=1e-4)


def train_and_list_threads(folder: Path) -> None:
    train_toy(folder)
    threads = sorted((p / "comm").read_text().strip() for p in Path("/proc/self/task").iterdir())
    (folder / f"threads_{os.environ['RANK']}.json").write_text(json.dumps(threads))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are listed in /proc")
def test_no_thread_outlives_the_group(tmp_path: Path) -> None:
    run_ranks(train_and_list_threads, tmp_path)
    for number in range(2):
        threads = json.loads((tmp_path / f"threads_{number}.json").read_text())
        assert not [t for t in threads if "gloo" in t or "store" in t], threads


def note_listeners(folder: Path) -> None:
    import psutil

    found: list[str] = []
    for _ in range(2):
        with process_group("cpu"):
            sum_over_ranks({"a": 1.0}, torch.device("cpu"))
            sockets = psutil.Process().net_connections("inet")
            found += [one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN]
            barrier()
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(found))


@pytest.mark.slow
def test_the_ranks_of_one_node_listen_on_loopback_alone_also_when_they_join_again(
    tmp_path: Path,
) -> None:
    run_ranks(note_listeners, tmp_path)
    for number in range(2):
        found = json.loads((tmp_path / f"{number}.json").read_text())
        assert len(found) >= 2
        assert set(found) == {"127.0.0.1"}
