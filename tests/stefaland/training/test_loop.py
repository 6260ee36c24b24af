from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.core.errors import InputError
from stefaland.config import OptimiserConfig, TrainConfig
from stefaland.data.batch import Batch
from stefaland.data.cell_data import fit_normaliser
from stefaland.data.sampler import Draw, Sampler
from stefaland.data.windows import Windows
from stefaland.training.log import RunLog
from stefaland.training.loop import FitResult, fit
from stefaland.training.optimiser import learning_rate
from stefaland.training.signals import Interrupted
from tests.synthetic import daily_cells

DATA = daily_cells(24, 40)
ROWS = torch.arange(24)
SETTINGS = TrainConfig(
    window=10, epochs=4, batch_size=8, seed=5, optimiser=OptimiserConfig(lr=1e-2, ema_decay=0.9)
)


class Toy(nn.Module):
    """Dropout and batch norm: randomness and a buffer that a resumed run must restore."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1)
        )

    def forward(self, batch: Batch) -> Tensor:
        statics = batch.statics[:, None].expand(-1, batch.forcings.shape[1], -1)
        inputs = torch.cat([batch.forcings, statics], -1)
        return self.layers(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])


def objective(model: nn.Module, batch: Batch, draw: Draw, generator: torch.Generator) -> Tensor:
    noise = torch.rand((len(draw.rows), 10, 1), generator=generator)[draw.part]
    valid = ~batch.target.isnan() & (noise > 0.2)
    return (model(batch) - batch.target)[valid].square().mean()


def toy(seed: int = 0) -> Toy:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Toy()


def windows() -> Windows:
    return Windows(DATA, fit_normaliser(DATA, ROWS), 10)


def validator(source: Windows):
    fixed = source.gather(ROWS, ROWS % 30)

    def validate(model: nn.Module) -> dict[str, float]:
        with torch.inference_mode():
            valid = ~fixed.target.isnan()
            return {"loss": float((model(fixed) - fixed.target)[valid].square().mean())}

    return validate


def train(
    folder: Path, config: TrainConfig = SETTINGS, source: Windows | None = None,
    loss: object = objective, **kwargs: object,
) -> tuple[Toy, FitResult]:  # fmt: skip
    model = toy()
    source = source or windows()
    sampler = Sampler(
        rows=np.arange(24), starts=source.starts(), batch_size=config.batch_size, seed=config.seed
    )
    result = fit(
        model,
        source,
        sampler,
        loss,
        validate=validator(windows()),
        config=config,
        folder=folder,
        **kwargs,
    )
    return model, result


class Killing(Windows):
    """Windows that send this process a signal when batch number `at` is requested."""

    def __init__(self, at: int, number: int) -> None:
        super().__init__(DATA, fit_normaliser(DATA, ROWS), 10)
        self.at, self.number, self.count = at, number, 0

    def batches(self, draws: list[Draw]) -> Iterator[Batch]:
        for batch in super().batches(draws):
            if self.count == self.at:
                os.kill(os.getpid(), self.number)
            self.count += 1
            yield batch


def test_training_lowers_the_loss_and_ends_with_its_best_weights(tmp_path: Path) -> None:
    untrained = validator(windows())(toy().eval())["loss"]
    model, result = train(tmp_path, SETTINGS.model_copy(update={"epochs": 20}))
    assert result.best_loss < 0.8 * untrained
    losses = [r["validation_loss"] for r in result.history]
    assert result.best_loss == min(losses)
    assert validator(windows())(model)["loss"] == pytest.approx(result.best_loss, rel=1e-6)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("at", [0, 4, 5, 10])
def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(
    tmp_path: Path, number: int, at: int
) -> None:
    model, result = train(tmp_path / "whole")
    with pytest.raises(Interrupted) as stopped:
        train(tmp_path / "cut", source=Killing(at, number))
    assert stopped.value.code == 128 + number
    again, resumed = train(tmp_path / "cut")
    assert resumed.history == result.history
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    state = [(tmp_path / f / "state.safetensors").read_bytes() for f in ("whole", "cut")]
    assert state[0] == state[1]


def test_kill_inside_accumulation_waits_for_the_whole_step(tmp_path: Path) -> None:
    config = SETTINGS.model_copy(update={"batch_size": 4, "accumulate": 4})
    model, _ = train(tmp_path / "whole", config)
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", config, source=Killing(1, signal.SIGTERM))
    again, _ = train(tmp_path / "cut", config)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    train(tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


def test_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    model, result = train(tmp_path)
    stamp = (tmp_path / "state.safetensors").stat().st_mtime_ns
    again, resumed = train(tmp_path)
    assert resumed.history == result.history
    assert (tmp_path / "state.safetensors").stat().st_mtime_ns == stamp
    assert torch.equal(model.layers[0].weight, again.layers[0].weight)


def test_state_of_other_settings_or_data_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(InputError, match="other settings"):
        train(tmp_path, SETTINGS.model_copy(update={"seed": 6}))
    with pytest.raises(InputError, match="other settings"):
        train(tmp_path, identity="another fold")
    (tmp_path / "state.safetensors").write_bytes(b"half a fi")
    with pytest.raises(InputError, match="start again"):
        train(tmp_path)


def test_a_state_that_was_changed_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    path = tmp_path / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other bytes than were written.*start again"):
        train(tmp_path)


def test_progress_that_was_changed_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    path = tmp_path / "state.safetensors"
    content = path.read_bytes()
    changed = content.replace(b'step\\": 0', b'step\\": 1')
    assert changed != content
    path.write_bytes(changed)
    with pytest.raises(InputError, match="other bytes than were written"):
        train(tmp_path)


def test_nan_loss_stops_and_saves_the_cells(tmp_path: Path) -> None:
    def bad(model: nn.Module, batch: Batch, draw: Draw, generator: torch.Generator) -> Tensor:
        loss = objective(model, batch, draw, generator)
        return loss * (torch.nan if 130 in batch.cell.tolist() else 1.0)

    with pytest.raises(InputError, match="loss of nan"):
        train(tmp_path, loss=bad)
    saved = json.loads((tmp_path / "nan_cells.json").read_text())
    assert 130 in saved["cells"]
    assert len(saved["cells"]) == 8
    assert not (tmp_path / "state.safetensors").exists()


def test_accumulated_batches_equal_one_large_batch(tmp_path: Path) -> None:
    def plain(model: nn.Module, batch: Batch, draw: Draw, generator: torch.Generator) -> Tensor:
        return (model(batch) - torch.nan_to_num(batch.target)).square().mean()

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(2, 1)

        def forward(self, batch: Batch) -> Tensor:
            return self.map(batch.forcings)

    weights = []
    for size, accumulate in ((24, 1), (4, 6)):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = Linear()
        config = TrainConfig(window=10, epochs=3, batch_size=size, accumulate=accumulate)
        sampler = Sampler(rows=np.arange(24), starts=(0, 30), batch_size=size, seed=0)
        fit(
            model,
            windows(),
            sampler,
            plain,
            validate=None,
            config=config,
            folder=tmp_path / str(size),
        )
        weights.append(model.map.weight.detach())
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("keep, best, epochs", [("best", 1, 4), ("last", 5, 6)])
def test_patience_stops_early_and_keeps_the_best(
    tmp_path: Path, keep: str, best: int, epochs: int
) -> None:
    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    config = SETTINGS.model_copy(update={"epochs": 6, "patience": 2, "keep": keep})
    model = toy()
    seen: list[Tensor] = []

    def validate(model: nn.Module) -> dict[str, float]:
        seen.append(model.layers[0].weight.detach().clone())
        return {"loss": next(losses)}

    source = windows()
    sampler = Sampler(rows=np.arange(24), starts=source.starts(), batch_size=8, seed=5)
    result = fit(
        model, source, sampler, objective, validate=validate, config=config, folder=tmp_path
    )
    assert (result.best_epoch, len(result.history)) == (best, epochs)
    assert torch.equal(model.layers[0].weight, seen[best])


def test_moving_average_is_smoother_than_the_weights(tmp_path: Path) -> None:
    seen: dict[float | None, list[Tensor]] = {}
    for decay in (None, 0.9):
        seen[decay] = []

        def validate(model: nn.Module, kept: list[Tensor] = seen[decay]) -> dict[str, float]:
            kept.append(model.layers[0].weight.detach().clone())
            return {"loss": 1.0}

        config = SETTINGS.model_copy(
            update={
                "epochs": 20,
                "optimiser": OptimiserConfig(lr=3e-2, ema_decay=decay, schedule="constant"),
            }
        )
        model, source = toy(), windows()
        sampler = Sampler(rows=np.arange(24), starts=source.starts(), batch_size=8, seed=5)
        fit(
            model,
            source,
            sampler,
            objective,
            validate=validate,
            config=config,
            folder=tmp_path / str(decay),
        )
    steps = {k: sum(float((b - a).norm()) for a, b in pairwise(v[10:]))
             for k, v in seen.items()}  # fmt: skip
    assert steps[0.9] < steps[None]


def test_learning_rate_warms_up_and_decays() -> None:
    config = OptimiserConfig(lr=1.0, warmup_share=0.1)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[-1] < 0.01
    constant = OptimiserConfig(lr=1.0, warmup_share=0, schedule="constant")
    assert learning_rate(99, 100, constant) == 1.0


def test_a_budget_of_steps_is_rounded_up_to_whole_epochs(tmp_path: Path) -> None:
    budget = SETTINGS.model_copy(update={"steps": 7})
    model, result = train(tmp_path / "steps", budget)
    epochs = SETTINGS.model_copy(update={"epochs": 3})
    other, same = train(tmp_path / "epochs", epochs)
    assert len(result.history) == 3
    assert result.history == same.history
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_adadelta_and_autocast_train(tmp_path: Path, precision: str) -> None:
    optimiser = OptimiserConfig(name="adadelta", lr=1.0)
    config = SETTINGS.model_copy(
        update={"epochs": 20, "optimiser": optimiser, "precision": precision}
    )
    _, result = train(tmp_path, config)
    assert result.best_loss < 0.8 * validator(windows())(toy().eval())["loss"]


def test_log_is_json_lines(tmp_path: Path) -> None:
    with RunLog(tmp_path, title="toy") as log:
        train(tmp_path, log=log)
    lines = [json.loads(x) for x in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [x["epoch"] for x in lines] == [0, 1, 2, 3]
    assert all(x["samples_per_second"] > 0 and x["title"] == "toy" for x in lines)
