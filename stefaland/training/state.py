"""The state of an unfinished training run on disk: one safetensors file, replaced whole.

It holds weights, optimiser, moving average, best weights so far and the progress. There is no state
of random numbers: `loop.py` seeds dropout and masks from (seed, epoch, step), so that a resumed run
draws the same numbers as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.core.errors import LIBRARY_ERRORS, bad_input
from pipeline.core.files import replacing
from pipeline.core.provenance import fingerprint
from pipeline.core.untrusted.safe_json import parse_json

STATE_FILE = "state.safetensors"
IDENTITY_SEPARATORS = (", ", ": ")
"""JSON separators of the hashed settings, kept from version 0.2 so that its runs can be resumed."""
Weights = dict[str, Tensor]


def training_identity(settings: Any) -> str:
    """Hash of all settings that decide a training; a state with another hash is refused."""
    return fingerprint(settings, IDENTITY_SEPARATORS)


@dataclass(kw_only=True)
class Progress:
    """Progress of a run; `step` counts the finished batches of the unfinished `epoch`."""

    epoch: int = 0
    step: int = 0
    best_loss: float = float("inf")
    best_epoch: int = -1
    loss_sum: float = 0.0
    samples: float = 0.0
    finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


def save_state(
    path: Path,
    progress: Progress,
    identity: str,
    *,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    averaged: Weights | None,
    best: Weights | None,
) -> None:
    """Replace the state file by this state with its digest, whole or not at all."""
    tensors: Weights = {f"model.{k}": v for k, v in trained_weights(model).items()}
    for prefix, weights in (("averaged", averaged), ("best", best)):
        tensors.update({f"{prefix}.{k}": v for k, v in (weights or {}).items()})
    for index, values in optimiser.state_dict()["state"].items():
        tensors.update({f"optimiser.{index}.{k}": v for k, v in values.items()})
    ready = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    metadata = {"progress": asdict(progress), "fingerprint": identity}
    metadata["sha256"] = _digest(metadata, ready)
    with replacing(path, sum(value.nbytes for value in ready.values())) as partial:
        # One key only: safetensors writes several in an order that differs between runs.
        save_file(ready, str(partial), {"state": json.dumps(metadata)})


def _digest(metadata: Mapping[str, Any], tensors: Weights) -> str:
    """SHA-256 of progress and tensors, independent of their order in a file."""
    digest = hashlib.sha256(json.dumps(metadata).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def trained_weights(model: nn.Module) -> Weights:
    """Trained parameters and all buffers by name; frozen parameters are not part of the state."""
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def load_state(
    path: Path, identity: str, model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[Progress, Weights | None, Weights | None] | None:
    """Restore model and optimiser in place; returns (progress, averaged, best), or None without a
    file.

    Raises `InputError` for a file that is damaged or belongs to other settings.
    """
    if not path.is_file():
        return None
    hint = f"Remove {path.parent} and run the same command, to start again."
    try:
        with safe_open(str(path), framework="pt") as store:
            metadata: dict[str, Any] = parse_json((store.metadata() or {}).get("state", "{}"))
            tensors = {name: store.get_tensor(name) for name in store.keys()}  # noqa: SIM118
        if not isinstance(metadata, dict) or not isinstance(metadata.get("progress"), dict):
            raise ValueError("no progress of a training")
        if {*metadata} - {"sha256"} != {"progress", "fingerprint"}:
            raise ValueError(f"the keys {', '.join(metadata)}")
        progress = Progress(**metadata["progress"])
    except (*LIBRARY_ERRORS, SafetensorError) as error:
        raise bad_input(str(path), str(error), "the state of a training run", hint) from None
    # States of version 0.2.0 have no digest.
    if (sealed := metadata.pop("sha256", None)) is not None and sealed != _digest(
        metadata, tensors
    ):
        raise bad_input(str(path), "other bytes than were written", "an unchanged file", hint)
    if metadata.get("fingerprint") != identity:
        raise bad_input(str(path), "a run under other settings or data", "the same settings", hint)
    parts: dict[str, Weights] = {"model": {}, "averaged": {}, "best": {}, "optimiser": {}}
    for name, value in tensors.items():
        prefix, _, rest = name.partition(".")
        parts[prefix][rest] = value
    model.load_state_dict(parts["model"], strict=False)
    _restore_optimiser(optimiser, parts["optimiser"])
    return progress, parts["averaged"] or None, parts["best"] or None


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Weights) -> None:
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
