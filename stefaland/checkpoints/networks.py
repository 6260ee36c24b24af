"""The baselines that are networks, as folders: weights, settings, and what they were trained on.

Upstream: lstm.py, patchtst.py. Downstream: finetune.py writes and reads them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pipeline.core.errors import bad_input
from pipeline.core.files import write_atomically
from stefaland.model.lstm import LSTMConfig, LSTMNetwork
from stefaland.model.patchtst import PatchTST, PatchTSTConfig

Settings = LSTMConfig | PatchTSTConfig
Network = LSTMNetwork | PatchTST
KINDS: dict[str, type[LSTMConfig] | type[PatchTSTConfig]] = {
    "lstm": LSTMConfig,
    "patchtst": PatchTSTConfig,
}


def make_network(settings: Settings) -> Network:
    """The network of these settings, with new weights."""
    return LSTMNetwork(settings) if isinstance(settings, LSTMConfig) else PatchTST(settings)


def save_network(folder: Path, model: Network, data: Mapping[str, Any]) -> None:
    """Write weights, settings and data; the settings come last and mark the folder whole."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".model.{os.getpid()}"
    save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, temporary)
    os.replace(temporary, folder / "model.safetensors")
    write_atomically(folder / "data.json", json.dumps(data))
    kind = next(name for name, config in KINDS.items() if isinstance(model.config, config))
    settings = {"kind": kind, "model": model.config.model_dump(mode="json")}
    write_atomically(folder / "config.json", json.dumps(settings))


def holds_network(folder: str | Path) -> bool:
    """Whether the folder says that it holds a baseline."""
    try:
        return json.loads((Path(folder) / "config.json").read_text()).get("kind") in KINDS
    except (OSError, ValueError, AttributeError):
        return False


def load_network(folder: str | Path) -> tuple[Network, dict[str, Any]]:
    """The network and its `data.json`; `InputError` where the folder holds no such baseline."""
    folder = Path(folder)
    try:
        settings = json.loads((folder / "config.json").read_text())
        model = make_network(KINDS[settings["kind"]].model_validate(settings["model"]))
        model.load_state_dict(load_file(folder / "model.safetensors"))
        data = json.loads((folder / "data.json").read_text())
    except (OSError, ValueError, KeyError, ValidationError, SafetensorError, RuntimeError) as error:
        raise bad_input(str(folder), f"{type(error).__name__}: {error}", "a baseline") from None
    return model.eval(), data
