"""Checkpoints: a folder with weights (safetensors), config.json, data.json and card.md.

Upstream: train.py, finetune.py. Downstream: everything that loads a model. Never pickle.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.core.errors import Faults, bad_input
from pipeline.core.files import write_atomically
from stefaland.checkpoints.card import model_card
from stefaland.checkpoints.plugins import plugins_of, require_plugins
from stefaland.config import FinetuneConfig, ModelConfig, unfit_settings
from stefaland.data.normalise import Normaliser
from stefaland.model.finetuned import FinetunedModel
from stefaland.model.mae import StefaLand

FORMAT = 1
WEIGHTS, CONFIG, DATA, CARD = "model.safetensors", "config.json", "data.json", "card.md"


def _settings(model: nn.Module) -> dict[str, Any]:
    if isinstance(model, FinetunedModel):
        return {
            "format": FORMAT,
            "kind": "finetuned",
            "model": model.model_config.model_dump(mode="json"),
            "finetune": model.finetune_config.model_dump(mode="json"),
            "n_targets": model.n_targets,
        }
    if isinstance(model, StefaLand):
        return {"format": FORMAT, "kind": "pretrained", "model": model.config.model_dump()}
    raise TypeError(f"{type(model).__name__} is no StefaLand model")


def save_checkpoint(folder: str | Path, model: nn.Module, data: Mapping[str, Any]) -> Path:
    """Write the folder; config.json comes last, so that a folder with one is whole."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = _settings(model)
    if plugins := plugins_of(getattr(model, "finetune_config", None)):
        settings["plugins"] = plugins
    temporary = folder / f".{WEIGHTS}.{os.getpid()}"
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()},
        temporary,
    )
    # A kill between two files leaves weights that config.json does not belong to: loading tells.
    settings["weights_crc32"] = zlib.crc32(temporary.read_bytes())
    os.replace(temporary, folder / WEIGHTS)
    write_atomically(folder / DATA, json.dumps(data, indent=2))
    parameters = sum(p.numel() for p in model.parameters())
    title = f"StefaLand, {settings['kind']}"
    write_atomically(folder / CARD, model_card(title, settings["model"], data, parameters))
    write_atomically(folder / CONFIG, json.dumps(settings, indent=2))
    return folder


def load_checkpoint(folder: str | Path) -> tuple[StefaLand | FinetunedModel, dict[str, Any]]:
    """The model in evaluation mode and its data.json; `InputError` where the folder is none."""
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise bad_input(
            str(folder), f"no {CONFIG}", "a checkpoint folder",
            "Run the stage that trains it; other formats come in by `stefaland import-reference`.",
        )  # fmt: skip
    try:
        settings, data = _read_object(folder / CONFIG), _read_object(folder / DATA)
        _check_format(folder, settings)
        require_plugins(settings.get("plugins", ()), str(folder / CONFIG))
        model_config = ModelConfig.model_validate(settings["model"])
        model: StefaLand | FinetunedModel
        if settings["kind"] == "finetuned":
            finetune_config = FinetuneConfig.model_validate(settings["finetune"])
            model = FinetunedModel(model_config, finetune_config, settings["n_targets"])
        else:
            model = StefaLand(model_config)
        weights = load_file(folder / WEIGHTS)
    except ValidationError as error:
        raise unfit_settings(str(folder / CONFIG), error) from None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        found = f"{type(error).__name__}: {error}"
        raise bad_input(str(folder), found, "a StefaLand checkpoint") from None
    _check_weights(folder, model, weights)
    model.load_state_dict(weights)
    return model.eval(), data


def _read_object(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())
    if not isinstance(found, dict):
        raise bad_input(str(path), f"a {type(found).__name__}", "an object of settings by name")
    return found


def stored_normaliser(folder: str | Path, data: Mapping[str, Any]) -> Normaliser:
    """The statistics that a checkpoint's `data.json` holds; `InputError` where it has none."""
    where = str(Path(folder) / DATA)
    if "normaliser" not in data:
        raise bad_input(
            where, "no training statistics", "a normaliser: mean and std of every variable",
            "Import the checkpoint again with --statistics, or run the stage that trains it.",
        )  # fmt: skip
    return Normaliser.from_dict(data["normaliser"], f"{where}: normaliser")


def _check_format(folder: Path, settings: Mapping[str, Any]) -> None:
    found = settings.get("format")
    if not isinstance(found, int) or not 1 <= found <= FORMAT:
        raise bad_input(
            str(folder / CONFIG), f"format {found}", f"a format from 1 to {FORMAT}",
            "Read it with the version of stefaland that wrote it, or a later one.",
        )  # fmt: skip
    checksum = settings.get("weights_crc32")
    if checksum is not None and checksum != zlib.crc32((folder / WEIGHTS).read_bytes()):
        raise bad_input(
            str(folder / WEIGHTS), "other bytes than config.json tells of", "the weights it knows",
            "The file is damaged or its writing was cut off: run the stage again.",
        )  # fmt: skip


def _check_weights(folder: Path, model: nn.Module, weights: Mapping[str, Any]) -> None:
    faults = Faults()
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            faults.add(
                f"{folder / WEIGHTS}: {name}", str(found.get(name, "no such tensor")),
                str(wanted.get(name, "no such tensor")),
            )  # fmt: skip
    faults.raise_if_any()


def check_compatible(
    folder: str | Path, data: Mapping[str, Any], wanted: Mapping[str, tuple[str, ...]]
) -> None:
    """Raise `InputError` with every variable that the checkpoint and the run do not share.

    `wanted` gives the run's `forcings`, `statics` and `targets` by role.
    """
    known = {
        "forcings": tuple(data.get("forcings", ())),
        "statics": tuple(data.get("statics", ())),
        "targets": tuple(data.get("targets", ())),
    }
    faults = Faults()
    for role, names in wanted.items():
        missing = [name for name in names if name not in known[role]]
        extra = [name for name in known[role] if name not in names]
        if missing or extra:
            faults.add(
                f"{folder}: {role}",
                f"trained without {missing or 'none'} and with {extra or 'none'} besides",
                f"{', '.join(names)}",
                "Use the checkpoint of this run's variables, or pretrain again.",
            )
    faults.raise_if_any()
