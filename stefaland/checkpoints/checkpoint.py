"""Checkpoints: folders with a network's weights, its settings, its training data and a card.

`config.json` holds the settings and the SHA-256 sums of the weights and of `data.json`; it is
written last. No file is a pickle, so that loading a checkpoint runs no code from it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline.core.errors import LIBRARY_ERRORS, Faults, bad_input
from pipeline.core.files import FileSet, make_folder, remove_stale_partials, writing
from pipeline.core.plugins import Registry
from pipeline.core.settings import unfit_settings
from pipeline.core.untrusted.safe_json import parse_json
from stefaland.checkpoints.card import model_card
from stefaland.checkpoints.names import CARD, CONFIG, DATA, WEIGHTS
from stefaland.checkpoints.plugins import plugins_of, require_plugins
from stefaland.config import FinetuneConfig, ModelConfig
from stefaland.data.normalise import Normaliser
from stefaland.model.finetuned import FinetunedModel
from stefaland.model.mae import StefaLand
from stefaland.model.networks.dlinear import DLinear, DLinearConfig
from stefaland.model.networks.hbv import HBVConfig, HBVNetwork
from stefaland.model.networks.lstm import LSTMConfig, LSTMNetwork
from stefaland.model.networks.patchtst import PatchTST, PatchTSTConfig

FORMAT = 2


@dataclass(frozen=True)
class Kind:
    """A kind of network, and which of its settings are stored in `config.json`."""

    title: str
    """Heading of the model card."""
    network: type[nn.Module]
    settings: Mapping[str, tuple[str, Any]]
    """Settings by key in `config.json`, in the order of the network's parameters: the attribute of
    the network that holds the setting, and its type. `model` lists the variables."""


KINDS: Registry[Kind] = Registry("network", "stefaland.networks")
"""Kinds of networks that a checkpoint can hold, by the value of `kind` in `config.json`."""

KINDS.register(
    "pretrained", Kind("StefaLand, pretrained", StefaLand, {"model": ("config", ModelConfig)})
)
KINDS.register(
    "finetuned",
    Kind(
        "StefaLand, finetuned",
        FinetunedModel,
        {
            "model": ("model_config", ModelConfig),
            "finetune": ("finetune_config", FinetuneConfig),
            "n_targets": ("n_targets", int),
        },
    ),
)
KINDS.register("lstm", Kind("LSTM baseline", LSTMNetwork, {"model": ("config", LSTMConfig)}))
KINDS.register("hbv", Kind("HBV baseline", HBVNetwork, {"model": ("config", HBVConfig)}))
KINDS.register(
    "patchtst", Kind("PatchTST-like baseline", PatchTST, {"model": ("config", PatchTSTConfig)})
)
KINDS.register("dlinear", Kind("DLinear baseline", DLinear, {"model": ("config", DLinearConfig)}))


def kind_of(model: nn.Module) -> str:
    """Name of the model's kind; raises `TypeError` for a network that is not in `KINDS`."""
    for name in KINDS.names():
        if type(model) is KINDS.get(name).network:
            return name
    raise TypeError(
        f"{type(model).__name__} is none of the kinds of networks: {', '.join(KINDS.names())}"
    )


def settings_of(model: nn.Module) -> dict[str, Any]:
    """Typed settings of a network by their keys in `config.json`; `model` lists its variables."""
    kind = KINDS.get(kind_of(model))
    return {key: getattr(model, attribute) for key, (attribute, _) in kind.settings.items()}


def save_checkpoint(folder: str | Path, model: nn.Module, data: Mapping[str, Any]) -> Path:
    """Write the model, its settings, its card and `data` (as `data.json`); returns the folder.

    The files of an older checkpoint are replaced together, `config.json` last. Raises `TypeError`
    for a network that is not in `KINDS`, and `InputError` where nothing can be written.
    """
    folder, name = Path(folder), kind_of(model)
    kind = KINDS.get(name)
    stored = {
        key: TypeAdapter(annotation).dump_python(getattr(model, attribute), mode="json")
        for key, (attribute, annotation) in kind.settings.items()
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    parameters = sum(p.numel() for p in model.parameters())
    files = {
        WEIGHTS: save(tensors),
        DATA: json.dumps(data, indent=2).encode(),
        CARD: model_card(kind.title, stored["model"], data, parameters).encode(),
    }
    config: dict[str, Any] = {"format": FORMAT, "kind": name, **stored}
    plugins = {KINDS.origin(name), *plugins_of(*settings_of(model).values())} - {""}
    if plugins:
        config["plugins"] = sorted(plugins)
    config["sha256"] = {name: hashlib.sha256(files[name]).hexdigest() for name in (WEIGHTS, DATA)}
    files[CONFIG] = json.dumps(config, indent=2).encode()
    make_folder(folder)
    remove_stale_partials(folder)
    with writing(folder), FileSet() as written:
        for file, content in files.items():
            written.add(folder / file, [content])
    return folder


def load_checkpoint(folder: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of any kind in evaluation mode, and the content of its `data.json`.

    Raises `InputError` where the folder holds no checkpoint, or one whose files were changed or
    cut off after they were written.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise bad_input(
            str(folder), f"no {CONFIG}", "a checkpoint folder",
            "In a run, `stefaland run CONFIG` trains what is missing; `stefaland import-reference` "
            "imports a published network.",
        )  # fmt: skip
    try:
        files = {name: (folder / name).read_bytes() for name in (CONFIG, DATA, WEIGHTS)}
        config, data = (_object(folder / name, files[name]) for name in (CONFIG, DATA))
        _check_content(folder, config, files)
        require_plugins(config.get("plugins", ()), str(folder / CONFIG))
        model = _network(folder / CONFIG, config)
        weights = load(files[WEIGHTS])
    except (*LIBRARY_ERRORS, SafetensorError) as error:
        found = f"{type(error).__name__}: {error}"
        raise bad_input(str(folder), found, "a StefaLand checkpoint") from None
    _check_weights(folder, model, weights)
    model.load_state_dict(weights)
    return model.eval(), data


def load_encoder(folder: str | Path) -> tuple[StefaLand, dict[str, Any]]:
    """The pretrained StefaLand in evaluation mode, and the content of its `data.json`.

    Raises `InputError` as `load_checkpoint` does, and for a network of another kind.
    """
    model, data = load_checkpoint(folder)
    if not isinstance(model, StefaLand):
        raise bad_input(
            str(folder), f"a network of kind {kind_of(model)}", "a pretrained StefaLand",
            "Name a folder below pretrained/, or an imported checkpoint.",
        )  # fmt: skip
    return model, data


def _object(path: Path, content: bytes) -> dict[str, Any]:
    found = parse_json(content)
    if not isinstance(found, dict):
        raise bad_input(str(path), f"a {type(found).__name__}", "an object of settings by name")
    return found


def _check_content(folder: Path, config: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Raise `InputError` for a format of later versions, and for files that differ from those
    written together with `config.json`.
    """
    # In format 1 the baseline networks had neither a format number nor a checksum.
    version = config.get("format", 1)
    if not isinstance(version, int) or not 1 <= version <= FORMAT:
        raise bad_input(
            str(folder / CONFIG), f"format {version}", f"a format from 1 to {FORMAT}",
            "Read it with the version of stefaland that wrote it, or a later one.",
        )  # fmt: skip
    if version == 1:
        checksum = config.get("weights_crc32")
        same = {WEIGHTS: checksum in (None, zlib.crc32(files[WEIGHTS]))}
    else:
        same = {
            name: config["sha256"][name] == hashlib.sha256(files[name]).hexdigest()
            for name in (WEIGHTS, DATA)
        }
    faults = Faults()
    for name in (name for name, is_same in same.items() if not is_same):
        faults.add(
            str(folder / name), f"other bytes than those whose checksum is in {CONFIG}",
            "the file that was written together with it",
            "The file was changed or damaged, or its writing was cut off. In a run, `stefaland run "
            "CONFIG --verify` makes it again.",
        )  # fmt: skip
    faults.raise_if_any()


def _network(path: Path, config: Mapping[str, Any]) -> nn.Module:
    """A network with the settings in `config.json`; `InputError` lists all that are invalid."""
    kind = KINDS.get(str(config["kind"]), f"{path}: kind")
    faults, settings = Faults(), []
    for key, (_, annotation) in kind.settings.items():
        try:
            settings.append(TypeAdapter(annotation).validate_python(config[key]))
        except ValidationError as error:
            faults.faults += unfit_settings(f"{path}: {key}", error).faults
    faults.raise_if_any()
    return kind.network(*settings)


def stored_normaliser(folder: str | Path, data: Mapping[str, Any]) -> Normaliser:
    """The training statistics in a checkpoint's `data.json`; raises `InputError` without any."""
    where = str(Path(folder) / DATA)
    if "normaliser" not in data:
        raise bad_input(
            where, "no training statistics", "a normaliser: mean and std of every variable",
            "Import the checkpoint again with --statistics. In a run, `stefaland run CONFIG "
            "--verify` makes it again.",
        )  # fmt: skip
    return Normaliser.from_dict(data["normaliser"], f"{where}: normaliser")


def _check_weights(folder: Path, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
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
    folder: str | Path, data: Mapping[str, Any], wanted: Mapping[str, tuple[str, ...]],
    hint: str = "Use a checkpoint with this run's variables, or run `stefaland pretrain CONFIG "
    "--restart`.",
) -> None:  # fmt: skip
    """Raise `InputError` that lists every variable which only the checkpoint or only the run has.

    `wanted` holds the run's variables by role: `forcings`, `statics` and `targets`.
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
                f"trained without {missing or 'none'} and with {extra or 'none'} in addition",
                f"{', '.join(names)}",
                hint,
            )
    faults.raise_if_any()
