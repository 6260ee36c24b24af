"""The published checkpoint's tensors by their published names, and the same under ours.

Upstream: a `.pt` file. Downstream: import_reference.py, which makes a model and a folder of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from pipeline.core.errors import Faults, bad_input, listed
from pipeline.core.settings import unfit_settings
from stefaland.config import ModelConfig
from stefaland.model.embedding import REFERENCE_ROWS
from stefaland.model.mae import StefaLand

Shapes = Mapping[str, tuple[int, ...]]
"""Of our tensors by name."""

SERIES = "time_series_embedding"
STATIC = "static_embedding"
SERIES_HEAD = "time_series_projection"
STATIC_HEAD = "static_projection"
LAYER_NAMES = {
    "self_attn.in_proj_weight": "qkv.weight",
    "self_attn.in_proj_bias": "qkv.bias",
    "self_attn.out_proj.weight": "out.weight",
    "self_attn.out_proj.bias": "out.bias",
    "linear1.weight": "up.weight",
    "linear1.bias": "up.bias",
    "linear2.weight": "down.weight",
    "linear2.bias": "down.bias",
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
}
"""Of a transformer layer: the published name and ours."""


class Reader:
    """Takes tensors out of a published state dict by name; remembers all that is wrong with them.

    What is missing or misshapen is given as zeros of the shape that was expected, so that the rest
    can be looked at too: `raise_if_any` tells all of it.
    """

    def __init__(self, where: str, tensors: Mapping[str, Tensor]) -> None:
        self.where, self.tensors = where, tensors
        self.used: set[str] = set()
        self.faults = Faults()

    def take(self, name: str, shape: Sequence[int | None]) -> Tensor:
        """The tensor; a fault where there is none or one of another shape (None: any length)."""
        found = self.tensors.get(name)
        if found is not None and _fits(found.shape, shape):
            self.used.add(name)
            return found
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        if found is None:
            self.faults.add(f"{self.where}: {name}", "no such tensor", "one of the paper's model")
        else:
            self.faults.add(f"{self.where}: {name}", f"shape {tuple(found.shape)}", f"({wanted})")
        return torch.zeros([1 if size is None else size for size in shape])

    def stacked(
        self, part: str, names: Sequence[str], kind: str, shape: Sequence[int | None]
    ) -> Tensor:
        """[V, *shape] the tensors `part.<variable>.kind` in the order of `names`."""
        each = [self.take(f"{part}.{name}.{kind}", shape) for name in names]
        return torch.stack(each) if each else torch.empty(0)

    def commonest(self, part: str, names: Sequence[str], kind: str) -> tuple[int, ...] | None:
        """The shape that most of the tensors `part.<variable>.kind` have; None where none is."""
        keys = [f"{part}.{name}.{kind}" for name in names]
        shapes = Counter(tuple(self.tensors[key].shape) for key in keys if key in self.tensors)
        return shapes.most_common(1)[0][0] if shapes else None

    def raise_if_any(self) -> None:
        """Raise `InputError` with all that was missing, misshapen or not finite so far."""
        wild = [name for name in self.used if not self.tensors[name].isfinite().all()]
        if wild and not self.faults.faults:
            found = f"values that are not finite in tensors, {listed(sorted(wild))}"
            self.faults.add(self.where, found,
                            "finite weights", "Its training went wrong: take an earlier one.",
                            )  # fmt: skip
        self.faults.raise_if_any()

    def variables(self, part: str) -> tuple[str, ...]:
        """Variables with a `part.<variable>.weight` or bias, in the order of the file."""
        pattern = re.compile(re.escape(part) + r"\.(.+)\.(?:weight|bias)")
        found = (m[1] for name in self.tensors if (m := pattern.fullmatch(name)))
        return tuple(dict.fromkeys(found))

    def layers(self, part: str) -> int:
        """How many transformer layers the part has."""
        pattern = re.compile(re.escape(part) + r"\.transformer_encoder\.layers\.(\d+)\.")
        return 1 + max((int(m[1]) for n in self.tensors if (m := pattern.match(n))), default=-1)


def _fits(found: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(found) == len(wanted) and all(
        want in (None, size) for size, want in zip(found, wanted, strict=True)
    )


def read_reference(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a published checkpoint, without `module.`; nothing in it is executed.

    Raises `InputError` for a file that is none or that holds more than tensors and plain values.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise bad_input(str(path), "no such file", "a PyTorch checkpoint") from None
    except Exception as error:  # what a file that is no checkpoint raises depends on its bytes
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "unreadable"
        raise bad_input(
            str(path), f"a file that cannot be read ({reason})",
            "a PyTorch checkpoint of tensors and plain values",
            'Save it anew where it was made, with torch.save({"model_state_dict": ...}).',
        ) from None  # fmt: skip
    for key in ("model_state_dict", "state_dict", "model"):
        if isinstance(stored, dict) and isinstance(stored.get(key), dict):
            stored = stored[key]
            break
    if not isinstance(stored, dict):
        raise bad_input(str(path), type(stored).__name__, "a dict of tensors by name")
    tensors = {k: v for k, v in stored.items() if isinstance(v, Tensor)}
    if not tensors:
        raise bad_input(str(path), "no tensor", "the paper's model under model_state_dict")
    return {str(name).removeprefix("module."): value.float() for name, value in tensors.items()}


def reference_config(reader: Reader, settings: Mapping[str, Any]) -> ModelConfig:
    """Sizes and variables as the tensors tell them; `settings` adds what they do not."""
    series = reader.take(f"{SERIES}.masked_values", (None, None))
    positions = _positions(reader)
    up = reader.take("encoder.transformer_encoder.layers.0.linear1.weight", (None, None))
    reader.faults.raise_if_any()
    forcings = reader.variables(f"{SERIES}.embeddings1")
    n_decoder_layers = reader.layers("decoder")
    if not forcings:
        raise bad_input(reader.where, f"no {SERIES}.embeddings1", "an embedding per variable")
    out = reader.commonest(f"{SERIES_HEAD}.embeddings2", forcings, "bias")
    inner = reader.commonest(f"{SERIES}.embeddings1", forcings, "bias")
    read: dict[str, Any] = {
        "forcings": forcings,
        "statics": reader.variables(f"{STATIC}.numerical_embeddings1"),
        "d_model": series.shape[1],
        "d_embed": inner[0] if inner else 0,
        "d_feedforward": len(up),
        "n_encoder_layers": reader.layers("encoder"),
        "n_decoder_layers": n_decoder_layers or 2,
        "max_tokens": len(positions),
        "decoder": "transformer" if n_decoder_layers else "lstm",
        "noise_head": out == (2,),
    }
    faults = Faults()
    for name in ("forcings", "statics"):
        given = settings.get(name)
        if given is not None and sorted(given) != sorted(read[name]):
            faults.add(
                name, f"given {', '.join(given)}", f"the checkpoint's {', '.join(read[name])}"
            )
    faults.raise_if_any()
    try:
        return ModelConfig(**{**read, **settings})
    except ValidationError as error:
        raise unfit_settings(reader.where, error) from None


def _positions(reader: Reader) -> Tensor:
    """[N, d] the table of positions, which was stored with or without leading dims of length 1."""
    name = "positional_encoding.position_embedding"
    found = reader.tensors.get(name)
    leading = [1] * max(0, found.ndim - 2) if found is not None else []
    return reader.take(name, (*leading, None, None)).flatten(0, -2)


def _linears(reader: Reader, theirs: str, ours: str, shapes: Shapes) -> dict[str, Tensor]:
    return {
        f"{ours}.{kind}": reader.take(f"{theirs}.{kind}", shapes[f"{ours}.{kind}"])
        for kind in ("weight", "bias")
    }


def _layers(
    reader: Reader, theirs: str, ours: str, count: int, shapes: Shapes
) -> dict[str, Tensor]:
    return {
        f"{ours}.layers.{i}.{name}": reader.take(
            f"{theirs}.transformer_encoder.layers.{i}.{published}",
            shapes[f"{ours}.layers.{i}.{name}"],
        )
        for i in range(count)
        for published, name in LAYER_NAMES.items()
    }


def _embedding(
    reader: Reader, first: str, second: str, names: Sequence[str], ours: str, shapes: Shapes
) -> dict[str, Tensor]:
    e, d = shapes[f"{ours}.weight_out"][1:]
    return {
        f"{ours}.weight_in": reader.stacked(first, names, "weight", (e, 1)).squeeze(-1),
        f"{ours}.bias_in": reader.stacked(first, names, "bias", (e,)),
        f"{ours}.weight_out": reader.stacked(second, names, "weight", (d, e)).transpose(1, 2),
        f"{ours}.bias_out": reader.stacked(second, names, "bias", (d,)),
    }


def _heads(
    reader: Reader, first: str, second: str, names: Sequence[str], ours: str, shapes: Shapes
) -> dict[str, Tensor]:
    d, _, e = shapes[f"{ours}.weight_in"]
    o = shapes[f"{ours}.weight_out"][-1]
    return {
        f"{ours}.weight_in": reader.stacked(first, names, "weight", (e, d)).permute(2, 0, 1),
        f"{ours}.bias_in": reader.stacked(first, names, "bias", (e,)),
        f"{ours}.weight_out": reader.stacked(second, names, "weight", (o, e)).transpose(1, 2),
        f"{ours}.bias_out": reader.stacked(second, names, "bias", (o,)),
    }


def mask_vectors(table: Tensor, embedding: Mapping[str, Tensor]) -> Tensor:
    """[S, d] vectors that stand for the published table of hidden scalars [rows, S].

    The table's mean over rows, which is all that does not depend on a sample's place in its batch,
    through each attribute's embedding.
    """
    scalar = table.mean(0)[:, None]
    inner = F.gelu(scalar * embedding["weight_in"] + embedding["bias_in"])
    return torch.einsum("se,sed->sd", inner, embedding["weight_out"]) + embedding["bias_out"]


def tensor_shapes(config: ModelConfig) -> Shapes:
    """Shapes of our tensors by name."""
    with torch.device("meta"):
        return {name: tuple(v.shape) for name, v in StefaLand(config).state_dict().items()}


def translate(reader: Reader, config: ModelConfig) -> dict[str, Tensor]:
    """The published tensors under our names.

    Raises `InputError` with all that are missing, of another shape, or not finite.
    """
    shapes = tensor_shapes(config)
    ours = {
        **_embedding(reader, f"{SERIES}.embeddings1", f"{SERIES}.embeddings2",
                     config.forcings, "tokens.forcings", shapes),
        **_embedding(reader, f"{STATIC}.numerical_embeddings1", f"{STATIC}.numerical_embeddings2",
                     config.statics, "tokens.statics", shapes),
        **_heads(reader, f"{SERIES_HEAD}.embeddings1", f"{SERIES_HEAD}.embeddings2",
                 config.forcings, "forcing_heads", shapes),
        **_heads(reader, f"{STATIC_HEAD}.numerical_embeddings1",
                 f"{STATIC_HEAD}.numerical_embeddings2", config.statics, "static_heads", shapes),
        **_layers(reader, "encoder", "encoder.stack", config.n_encoder_layers, shapes),
        **_linears(reader, "encoder_norm", "encoder.stack.norm", shapes),
        **_linears(reader, "enc_2_dec_embedding", "encoder.out", shapes),
        **_linears(reader, "decoder_norm", "decoder.norm", shapes),
    }  # fmt: skip
    if config.decoder == "lstm":
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            own = f"decoder.lstm.{name}"
            ours[own] = reader.take(f"decoder.{name}", shapes[own])
    else:
        ours.update(_layers(reader, "decoder", "decoder", config.n_decoder_layers, shapes))
    ours["tokens.positions"] = _positions(reader)
    order = [reader.variables(f"{SERIES}.embeddings1").index(name) for name in config.forcings]
    hidden = reader.take(f"{SERIES}.masked_values", (len(order), config.d_model))
    ours["tokens.forcings.mask_vector"] = hidden[order]
    ours.update(_static_masks(reader, config, ours))
    reader.raise_if_any()
    return ours


def _static_masks(
    reader: Reader, config: ModelConfig, ours: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    published = reader.variables(f"{STATIC}.numerical_embeddings1")
    table = reader.take(f"{STATIC}.masked_values", (None, len(published)))
    table = table[:, [published.index(name) for name in config.statics]]
    prefix = "tokens.statics."
    embedding = {n.removeprefix(prefix): v for n, v in ours.items() if n.startswith(prefix)}
    masks = {f"{prefix}mask_vector": mask_vectors(table, embedding)}
    if config.reference_static_mask:
        masks[f"{prefix}mask_table"] = table[:REFERENCE_ROWS]
    return masks
