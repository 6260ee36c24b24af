"""The field's standard baseline: one LSTM over forcings and statics (Kratzert et al. 2019).

Trained by finetune.py's loop on the same fold, windows and loss; loaded by predict.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stefaland.batch import Batch
from stefaland.config import Frozen
from stefaland.errors import bad_input
from stefaland.heads import Prediction, make_head
from stefaland.state import write_atomically

FORGET_BIAS = 3.0
"""Initial bias of the forget gate, so that memories last from the first step on."""


class LSTMConfig(Frozen):
    """Variables and size of the LSTM baseline."""

    forcings: tuple[str, ...]
    statics: tuple[str, ...]
    n_targets: int = Field(1, gt=0)
    hidden: int = Field(64, gt=0)
    dropout: float = Field(0.4, ge=0, lt=1)
    head: Literal["point", "gaussian"] = "gaussian"
    cyclic: bool = False
    """The window wraps: the LSTM goes round twice, so that its first step has a past too."""


class LSTMNetwork(nn.Module):
    """`Batch` → `Prediction` [B, T, O]; a missing input counts as the training mean."""

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.config = config
        n_inputs = len(config.forcings) + len(config.statics)
        self.lstm = nn.LSTM(n_inputs, config.hidden, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.head = make_head(config.head, config.hidden, config.n_targets)
        bias = cast(Tensor, self.lstm.bias_hh_l0)
        with torch.no_grad():
            # PyTorch has two biases a gate; their sum is what counts. Gates: in, forget, cell, out.
            bias[config.hidden : 2 * config.hidden] = FORGET_BIAS

    def forward(self, batch: Batch) -> Prediction:
        """Predictions of every time step from the steps before it."""
        steps = batch.forcings.shape[1]
        statics = batch.statics[:, None].expand(-1, steps, -1)
        inputs = torch.cat([batch.forcings, statics], -1).nan_to_num(0.0)
        if self.config.cyclic:
            inputs = torch.cat([inputs, inputs], 1)
        hidden: Tensor = self.lstm(inputs)[0][:, -steps:]
        prediction: Prediction = self.head(self.dropout(hidden))
        return prediction


def save_lstm(folder: Path, model: LSTMNetwork, data: Mapping[str, Any]) -> None:
    """Write weights, settings and data; the settings come last and mark the folder whole."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".model.{os.getpid()}"
    save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, temporary)
    os.replace(temporary, folder / "model.safetensors")
    write_atomically(folder / "data.json", json.dumps(data))
    settings = {"kind": "lstm", "model": model.config.model_dump(mode="json")}
    write_atomically(folder / "config.json", json.dumps(settings))


def is_lstm(folder: str | Path) -> bool:
    """Whether the folder says that it holds an LSTM baseline."""
    try:
        return json.loads((Path(folder) / "config.json").read_text()).get("kind") == "lstm"
    except (OSError, ValueError, AttributeError):
        return False


def load_lstm(folder: str | Path) -> tuple[LSTMNetwork, dict[str, Any]]:
    """The network and its `data.json`; `InputError` where the folder holds no such baseline."""
    folder = Path(folder)
    try:
        settings = json.loads((folder / "config.json").read_text())
        model = LSTMNetwork(LSTMConfig.model_validate(settings["model"]))
        model.load_state_dict(load_file(folder / "model.safetensors"))
        data = json.loads((folder / "data.json").read_text())
    except (OSError, ValueError, KeyError, ValidationError, SafetensorError, RuntimeError) as error:
        raise bad_input(
            str(folder), f"{type(error).__name__}: {error}", "an LSTM baseline"
        ) from None
    return model.eval(), data
