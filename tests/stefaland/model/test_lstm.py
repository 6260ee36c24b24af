"""The LSTM baseline: its settings, and outputs and loss equal to neuralhydrology's CudaLSTM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stefaland.baselines.registry import fit_baseline
from stefaland.data.batch import Batch
from stefaland.model.losses import finetune_loss
from stefaland.model.networks.lstm import LSTMConfig, LSTMNetwork
from tests.stefaland.training.test_finetune import DAILY_CONFIG, daily_inputs

WINDOW, LATE, HIDDEN = 12, slice(5, None), 8
CONFIG = LSTMConfig(
    forcings=("rain", "heat"), statics=("clay", "slope"), hidden=HIDDEN, head="point"
)


def batch() -> Batch:
    draw = torch.Generator().manual_seed(0)
    target = torch.randn(3, WINDOW, 1, generator=draw)
    target[0, 8] = torch.nan
    return Batch(torch.randn(3, WINDOW, 2, generator=draw), torch.randn(3, 2, generator=draw),
                 target=target)  # fmt: skip


def gradients(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def test_outputs_loss_and_gradients_are_those_of_neuralhydrology() -> None:
    pytest.importorskip("neuralhydrology", reason="pip install 'stefaland[peers]'")
    from neuralhydrology.modelzoo.cudalstm import CudaLSTM
    from neuralhydrology.training.loss import MaskedNSELoss
    from neuralhydrology.utils.config import Config

    settings = Config({
        "model": "cudalstm", "head": "regression", "output_activation": "linear",
        "hidden_size": HIDDEN, "output_dropout": 0.4, "initial_forget_bias": 3.0, "loss": "NSE",
        "dynamic_inputs": list(CONFIG.forcings), "static_attributes": list(CONFIG.statics),
        "target_variables": ["flow"], "predict_last_n": WINDOW - 5, "seq_length": WINDOW,
    })  # fmt: skip
    ours, theirs, inputs = LSTMNetwork(CONFIG).eval(), CudaLSTM(settings).eval(), batch()
    gate = slice(HIDDEN, 2 * HIDDEN)
    assert torch.equal(ours.lstm.bias_hh_l0[gate], theirs.lstm.bias_hh_l0[gate])
    theirs.lstm.load_state_dict(ours.lstm.state_dict())
    theirs.head.net[0].load_state_dict(ours.head.out.state_dict())
    assert inputs.target is not None
    std = torch.tensor([0.2, 1.0, 3.0]).reshape(3, 1, 1)
    mean = ours(inputs)
    loss = finetune_loss("nse")(mean.cut(LATE), inputs.target[:, LATE], std)
    series = {name: inputs.forcings[..., i : i + 1] for i, name in enumerate(CONFIG.forcings)}
    data = {"x_d": series, "x_s": inputs.statics, "y": inputs.target, "per_basin_target_stds": std}
    found = theirs(data)
    their_loss, _ = MaskedNSELoss(settings)(found, data)
    torch.testing.assert_close(mean.mean, found["y_hat"])
    torch.testing.assert_close(loss, their_loss)
    loss.backward()
    their_loss.backward()
    one = {name.replace("head.out", "head.net.0"): g for name, g in gradients(ours).items()}
    torch.testing.assert_close(one, gradients(theirs))


def test_the_baseline_has_the_settings_of_the_config(tmp_path: Path) -> None:
    config = DAILY_CONFIG.model_copy(update={"epochs": 1, "steps_per_epoch": 2})
    own = type(config).model_validate(
        {**config.model_dump(), "lstm": {"hidden": 5, "forget_bias": -2.5}}
    )
    inputs = replace(daily_inputs(tmp_path), config=own)
    (member,) = fit_baseline("lstm", inputs).members  # type: ignore[attr-defined]
    made = member.model.config
    assert (made.hidden, made.forget_bias) == (5, -2.5)
    bias = member.model.lstm.bias_hh_l0.detach()[5:10]
    assert float(bias.max()) < -2.0, "the forget gate is not theirs"
    assert "lstm" not in config.model_dump(), "fingerprints of runs without the setting are kept"
