"""Reading of a published checkpoint, and the translation of its tensors to our names.

`import_published.py` makes a model and a checkpoint folder of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.core.errors import Faults, bad_input, listed
from pipeline.core.settings import validated
from stefaland.config import ModelConfig
from stefaland.model.embedding import REFERENCE_ROWS
from stefaland.model.mae import StefaLand

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of our tensors by name."""

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
"""Our names of the tensors of a transformer layer, by their published names."""


class Reader:
    """Takes tensors out of a published state dict by name, and collects all faults.

    A tensor that is missing or has another shape is replaced by zeros of the expected shape, so
    that the others are checked too: `raise_if_any` reports all faults together.
    """

    def __init__(self, where: str, tensors: Mapping[str, Tensor]) -> None:
        self.where, self.tensors = where, tensors
        self.used: set[str] = set()
        self.faults = Faults()

    def take(self, name: str, shape: Sequence[int | None]) -> Tensor:
        """The named tensor; a fault is added where it is missing or of another shape.

        A length of None in `shape` stands for any length.
        """
        found = self.tensors.get(name)
        if found is not None and _fits(found.shape, shape):
            self.used.add(name)
            return found
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        if found is None:
            self.faults.add(
                f"{self.where}: {name}", "no such tensor", "a tensor of the paper's model"
            )
        else:
            self.faults.add(f"{self.where}: {name}", f"shape {tuple(found.shape)}", f"({wanted})")
        return torch.zeros([1 if size is None else size for size in shape])

    def stacked(
        self, part: str, names: Sequence[str], kind: str, shape: Sequence[int | None]
    ) -> Tensor:
        """Tensors `part.<variable>.kind` as one [V, *shape], in the order of `names`."""
        each = [self.take(f"{part}.{name}.{kind}", shape) for name in names]
        return torch.stack(each) if each else torch.empty(0)

    def most_common_shape(
        self, part: str, names: Sequence[str], kind: str
    ) -> tuple[int, ...] | None:
        """The most common shape of the tensors `part.<variable>.kind`; None without any."""
        keys = [f"{part}.{name}.{kind}" for name in names]
        shapes = Counter(tuple(self.tensors[key].shape) for key in keys if key in self.tensors)
        return shapes.most_common(1)[0][0] if shapes else None

    def raise_if_any(self) -> None:
        """Raise `InputError` that lists all tensors missing, of another shape or not finite."""
        not_finite = [name for name in self.used if not self.tensors[name].isfinite().all()]
        if not_finite and not self.faults.faults:
            found = f"values that are not finite in tensors, {listed(sorted(not_finite))}"
            self.faults.add(self.where, found,
                            "finite weights", "The training diverged: use an earlier checkpoint.",
                            )  # fmt: skip
        self.faults.raise_if_any()

    def variables(self, part: str) -> tuple[str, ...]:
        """Variables with a tensor `part.<variable>.weight` or bias, in the order of the file."""
        pattern = re.compile(re.escape(part) + r"\.(.+)\.(?:weight|bias)")
        found = (m[1] for name in self.tensors if (m := pattern.fullmatch(name)))
        return tuple(dict.fromkeys(found))

    def layers(self, part: str) -> int:
        """Number of transformer layers of the part."""
        pattern = re.compile(re.escape(part) + r"\.transformer_encoder\.layers\.(\d+)\.")
        return 1 + max((int(m[1]) for n in self.tensors if (m := pattern.match(n))), default=-1)


def _fits(found: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(found) == len(wanted) and all(
        want in (None, size) for size, want in zip(found, wanted, strict=True)
    )


def read_reference(path: str | Path) -> dict[str, Tensor]:
    """The state dict of a published checkpoint, without the prefix `module.`.

    No code in the file is executed. Raises `InputError` for a file that is no checkpoint, or that
    holds more than tensors and plain values.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise bad_input(str(path), "no such file", "a PyTorch checkpoint") from None
    except Exception as error:  # the type of the error depends on the bytes of the file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "unreadable"
        raise bad_input(
            str(path), f"a file that cannot be read ({reason})",
            "a PyTorch checkpoint of tensors and plain values",
            'Save it again where it was made, with torch.save({"model_state_dict": ...}).',
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
    """Settings of the model: sizes and variables read from the tensors, the others from `settings`.

    Raises `InputError` where tensors are missing or settings do not fit.
    """
    series = reader.take(f"{SERIES}.masked_values", (None, None))
    positions = _positions(reader)
    up = reader.take("encoder.transformer_encoder.layers.0.linear1.weight", (None, None))
    reader.faults.raise_if_any()
    forcings = reader.variables(f"{SERIES}.embeddings1")
    n_decoder_layers = reader.layers("decoder")
    if not forcings:
        raise bad_input(reader.where, f"no {SERIES}.embeddings1", "an embedding per variable")
    out = reader.most_common_shape(f"{SERIES_HEAD}.embeddings2", forcings, "bias")
    inner = reader.most_common_shape(f"{SERIES}.embeddings1", forcings, "bias")
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
        names = settings.get(name)
        if names is not None and sorted(names) != sorted(read[name]):
            faults.add(name, ", ".join(names), f"the checkpoint's {', '.join(read[name])}")
    faults.raise_if_any()
    return validated(ModelConfig, {**read, **settings}, reader.where)


def _positions(reader: Reader) -> Tensor:
    """Table [N, d] of positions, which is stored with or without leading dims of length 1."""
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
    """Mask vectors [S, d] in place of the published table [rows, S] of values of hidden statics.

    The published value depends on a sample's row in its batch. The mean over rows does not; it is
    passed through each attribute's embedding.
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

    Raises `InputError` that lists all tensors missing, of another shape, or not finite.
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
            our_name = f"decoder.lstm.{name}"
            ours[our_name] = reader.take(f"decoder.{name}", shapes[our_name])
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
