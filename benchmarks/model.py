"""python -m benchmarks.model [--threads 2] [--repeat 5] [--dropout 0.1] [--clock wall|cpu]
                             [--device cpu|cuda]

Speed and memory of the network, compared with the same network written plainly (plain_model.py),
with the same weights and batch, in one process, in turns: B = 32, T = 365, 6 forcings, 26 statics,
d = 256, float32. Each time is the best of the repeats, because other work on the machine only adds
to it. Peak memory is that of two training steps in a separate process for each network, minus the
memory before. Dropout is the paper's 0.1 or --dropout. Masks of a batch are compared with NumPy
loops over samples. --clock cpu counts CPU seconds of this process, which other work on the machine
disturbs less (with one thread). On a GPU the last table has samples/s in bf16, with and without
torch.compile, and the fraction of the card's bf16 peak (--peak, TFLOP/s).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.plain_model import (
    PlainStefaLand,
    plain_group_mask,
    plain_loss,
    plain_window_mask,
)
from stefaland.checkpoints.published import Reader, translate
from stefaland.config import ModelConfig
from stefaland.data.batch import Batch
from stefaland.model.losses import masked_loss
from stefaland.model.mae import StefaLand
from stefaland.model.masking import group_mask, window_mask

FORCINGS = tuple(f"forcing{i}" for i in range(6))
STATICS = tuple(f"static{i}" for i in range(26))
GROUPS = {f"group{g}": STATICS[4 * g : 4 * g + 4] for g in range(5)}
STEPS = 365
IN_A_ROW = 20
"""Number of batches of masks that are timed together."""


class Case:
    """Both networks with the same weights, and a batch with its masks."""

    def __init__(self, size: int) -> None:
        torch.manual_seed(0)
        self.plain = PlainStefaLand(FORCINGS, STATICS)
        self.config = ModelConfig(
            forcings=FORCINGS, statics=STATICS, static_groups=GROUPS, reference_static_mask=True
        )
        self.ours = StefaLand(self.config)
        self.ours.load_state_dict(translate(Reader("plain", self.plain.state_dict()), self.config))
        self.batch = Batch(torch.randn(size, STEPS, len(FORCINGS)), torch.randn(size, len(STATICS)))
        self.masks = (
            window_mask((size, STEPS, len(FORCINGS)), 0.5, 30, 90).contiguous(),
            group_mask(self.batch, self.config, 0.5),
        )

    def forward(self, name: str) -> tuple[Tensor, Tensor]:
        """Reconstructions of the network `name`."""
        if name == "plain":
            guesses: tuple[Tensor, Tensor] = self.plain(
                self.batch.forcings, self.batch.statics, *self.masks
            )
            return guesses
        found = self.ours(self.batch, *self.masks)
        return found.forcings, found.statics

    def step(self, name: str) -> None:
        """Run the forward pass, the loss and the backward pass."""
        network: nn.Module = getattr(self, name)
        network.zero_grad()
        if name == "plain":
            values = (self.batch.forcings, self.batch.statics)
            loss = plain_loss(self.forward(name), values, self.masks)
        else:
            loss, _ = masked_loss(self.ours(self.batch, *self.masks), self.batch, *self.masks)
        loss.backward()

    def mode(self, training: bool, dropout: float = 0.0) -> None:
        """Set both networks to training or evaluation, with this probability of dropout."""
        for network in (self.plain, self.ours):
            network.train(training)
            for module in network.modules():
                if isinstance(module, nn.Dropout):
                    module.p = dropout
                elif isinstance(module, nn.MultiheadAttention):
                    module.dropout = dropout


def in_turns(
    works: Sequence[Callable[[], Any]], repeat: int, clock: Callable[[], float]
) -> list[float]:
    """Best time of each function in seconds; they run in turns after one round to warm up."""
    best = [float("inf")] * len(works)
    for turn in range(repeat + 1):
        for i, work in enumerate(works):
            began = clock()
            work()
            if turn:
                best[i] = min(best[i], clock() - began)
    return best


def speed_table(case: Case, dropout: float, repeat: int, clock: Callable[[], float]) -> Table:
    """Table of the seconds of both networks, and the ratio."""
    table = Table(
        "work", "plain s", "ours s", "ratio", "samples/s", title=f"batch of {len(case.batch)}"
    )
    case.mode(False)
    with torch.inference_mode():
        apart = max(
            float((a - b).abs().max())
            for a, b in zip(case.forward("plain"), case.forward("ours"), strict=True)
        )
        assert apart < 1e-4, f"the networks differ by {apart}"
        forward = in_turns(
            [lambda: case.forward("plain"), lambda: case.forward("ours")], repeat, clock
        )
    case.mode(True, dropout)
    step = in_turns([lambda: case.step("plain"), lambda: case.step("ours")], repeat, clock)
    for name, (theirs, ours) in (("forward", forward),
                                 (f"forward + backward, dropout {dropout:g}", step)):  # fmt: skip
        table.add_row(
            name, f"{theirs:.3f}", f"{ours:.3f}", f"{theirs / ours:.2f}x",
            f"{len(case.batch) / ours:.1f}",
        )  # fmt: skip
    return table


def mask_table(clock: Callable[[], float]) -> Table:
    """Table of the milliseconds for the masks of a batch."""
    table = Table("masks of a batch of", "NumPy loops ms", "ours ms", "ratio", title="masks")
    rng = np.random.default_rng(0)
    config = ModelConfig(forcings=FORCINGS, statics=STATICS, static_groups=GROUPS)
    for size in (32, 256):
        batch = Batch(torch.zeros(size, STEPS, len(FORCINGS)), torch.zeros(size, len(STATICS)))
        shape = (size, STEPS, len(FORCINGS))

        def plain(size: int = size) -> None:
            for _ in range(IN_A_ROW):
                plain_window_mask(size, STEPS, len(FORCINGS), 0.5, 30, 90, rng)
                plain_group_mask(size, STATICS, GROUPS, 0.5, rng)

        def ours(shape: tuple[int, ...] = shape, batch: Batch = batch) -> None:
            for _ in range(IN_A_ROW):
                window_mask(shape, 0.5, 30, 90)
                group_mask(batch, config, 0.5)

        theirs, mine = (1e3 * s / IN_A_ROW for s in in_turns([plain, ours], 10, clock))
        table.add_row(str(size), f"{theirs:.2f}", f"{mine:.3f}", f"{theirs / mine:.0f}x")
    return table


def added_memory(name: str, size: int, dropout: float) -> tuple[float, float]:
    """Memory that two training steps add to this process, and its peak, in MiB."""

    def peak() -> float:
        # Not ru_maxrss, which a process inherits from its parent.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

    case = Case(size)
    before = peak()
    case.mode(True, dropout)
    for _ in range(2):
        case.step(name)
    return peak() - before, peak()


def memory_table(size: int, threads: int, dropout: float) -> Table:
    """Table of the memory of both networks in training, each in a separate process, in MiB."""
    table = Table("training", "plain MiB", "ours MiB", "ratio", title="peak memory")
    figures = []
    for name in ("plain", "ours"):
        command = [sys.executable, "-m", "benchmarks.model", "--memory-of", name,
                   "--batch", str(size), "--threads", str(threads),
                   "--dropout", str(dropout)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
        figures.append([float(value) for value in done.stdout.split()])
    for row, (theirs, ours) in zip(
        ("added by two steps", "peak of the process"), zip(*figures, strict=True), strict=True
    ):
        table.add_row(row, f"{theirs:.0f}", f"{ours:.0f}", f"{ours / theirs:.2f}")
    return table


def flops(config: ModelConfig, steps: int) -> float:
    """Floating-point operations of the forward and backward pass of a sample (3 x forward)."""
    d, wide, tokens = config.d_model, config.d_feedforward, steps + 1
    layer = 4 * d * d + 2 * d * wide + 2 * tokens * d
    heads = 2 * len(config.forcings) * d * config.d_embed
    a_token = config.n_encoder_layers * layer + d * d + 8 * d * d + heads
    return 3.0 * 2.0 * tokens * a_token


def device_table(device: str, size: int, peak: float, seconds: float = 5.0) -> Table:
    """Table of samples/s of training in bf16, with and without torch.compile."""
    table = Table("network", "samples/s", "TFLOP/s", "share of peak", "peak GiB", title=device)
    for compiled in (False, True):
        case = Case(size)
        config = case.config.model_copy(update={"reference_static_mask": False})
        model = StefaLand(config).to(device).train()
        runner = torch.compile(model) if compiled else model
        batch, masks = case.batch.to(device), [m.to(device) for m in case.masks]

        def step(
            runner: Any = runner, model: nn.Module = model, batch: Batch = batch,
            masks: list[Tensor] = masks,
        ) -> None:  # fmt: skip
            model.zero_grad(set_to_none=True)
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                loss, _ = masked_loss(runner(batch, *masks), batch, masks[0], masks[1])
            loss.backward()

        for _ in range(3):
            step()
        _wait(device)
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            step()
            count += 1
            _wait(device)
        rate = count * size / (time.perf_counter() - began)
        done = rate * flops(config, STEPS) / 1e12
        held = torch.cuda.max_memory_allocated() / 2**30 if device.startswith("cuda") else 0.0
        table.add_row(
            "compiled" if compiled else "eager", f"{rate:.0f}", f"{done:.1f}",
            f"{done / peak:.1%}", f"{held:.1f}",
        )  # fmt: skip
    return table


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument(
        "--dropout", type=float, default=0.1, help="Probability of dropout in training."
    )
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--peak", type=float, default=989.0, help="Peak of the card in bf16 TFLOP/s."
    )
    parser.add_argument("--memory-of", choices=("plain", "ours"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_of:
        print(*added_memory(args.memory_of, args.batch, args.dropout))
        return
    console = Console(width=120)
    if args.device != "cpu":
        console.print(device_table(args.device, args.batch, args.peak))
        return
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    console.print(speed_table(Case(args.batch), args.dropout, args.repeat, clock))
    console.print(memory_table(args.batch, args.threads, args.dropout))
    console.print(mask_table(clock))


if __name__ == "__main__":
    main()
