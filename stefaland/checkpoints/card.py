"""The model card of a checkpoint in Markdown: its variables, training data and validation figures.

`checkpoint.py` writes it as `card.md` beside the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def model_card(
    title: str, model: Mapping[str, Any], data: Mapping[str, Any], parameters: int
) -> str:
    """Text of `card.md`, made of the settings of a model, its `data.json` and its size."""
    training = data.get("training", {})
    blocks = [
        f"# {title}",
        f"{parameters:,} parameters; weights in `model.safetensors`, settings in `config.json`, "
        "variables and statistics in `data.json`.",
        "## Variables",
        variable_table(model, data),
        "## Training",
        _training(training),
        "## Use",
        "Inputs are in the units of the table and are normalised with its statistics; a missing "
        "value is NaN. Outside the range of the training cells a prediction is an extrapolation "
        "and is flagged.",
    ]
    if data.get("pretraining_cells"):
        blocks[6:6] = [
            "## Cells that pretrained it",
            cells_table(data["pretraining_cells"]),
            "Held out for a test, these cells and those near them leak: the list in "
            "`data.json` is compared with the folds of a run that takes this encoder.",
        ]
    if data.get("targets"):
        blocks.insert(4, f"Target: {', '.join(data['targets'])}.")
    if data.get("spread_factor"):
        factors = ", ".join(f"{f:.3g}" for f in data["spread_factor"])
        blocks.append(f"The spread is calibrated on validation cells: it is times {factors}.")
    if data.get("quantile_shift") and any(map(any, data["quantile_shift"])):
        blocks.append(
            "Quantiles are shifted to hold their share of the values of validation cells."
        )
    if data.get("temperature"):
        blocks.append(
            "Chances and shares are calibrated on validation cells: the logarithms of their odds, "
            f"or of shares, are divided by {data['temperature']:.3g}."
        )
    return "\n\n".join(blocks) + "\n"


def variable_table(model: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """A Markdown table of the inputs and targets with units and statistics."""
    roles = [("forcing", name) for name in model.get("forcings", ())]
    roles += [("static", name) for name in model.get("statics", ())]
    roles += [("target", name) for name in data.get("targets", ())]
    units = data.get("units", {})
    rows = []
    for role, name in roles:
        scaling = data.get("normaliser", {}).get(name, {})
        figures = [_number(scaling.get(key)) for key in ("mean", "std", "minimum", "maximum")]
        rows.append([name, role, str(units.get(name, "")), scaling.get("transform", ""), *figures])
    for name, classes in model.get("categorical", {}).items():
        rows.append([name, f"static, {classes} classes", "", "", "", "", "", ""])
    head = ["variable", "role", "units", "transform", "mean", "std", "smallest", "largest"]
    return table(head, rows)


def _training(training: Mapping[str, Any]) -> str:
    if not training:
        return "Not trained."
    rows = [[key, str(training[key])] for key in ("fold", "cells", "epochs", "best_epoch")
            if key in training]  # fmt: skip
    rows += [[key, _number(value)] for key, value in training.get("best", {}).items()]
    parts = [table(["", ""], rows)]
    if skills := training.get("skills"):
        parts += [
            "Skill on the hidden values of validation cells, 1 - SSE / SSE of the training mean, "
            "of the network and of simple references:", skill_table(skills),
        ]  # fmt: skip
    if verdict := training.get("verdict"):
        parts.append(f"This encoder is {verdict}.")
    return "\n\n".join(parts)


def cells_table(records: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of the cubes that pretrained an encoder: cells and days."""
    rows = []
    for record in records:
        count = len(record.get("sites", ())) + sum(n for _, n in record.get("runs", ()))
        kind = "cells of a grid" if record.get("grid") else "sites"
        rows.append([str(record["cube"]), kind, f"{count:,}", " to ".join(record["period"])])
    return table(["cube", "locations", "number", "days"], rows)


def skill_table(skills: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table of skills by variable (rows) and by network or reference (columns)."""
    who = list(dict.fromkeys(name for found in skills.values() for name in found))
    rows = [
        [variable, *(f"{found[name]:.2f}" if name in found else "" for name in who)]
        for variable, found in skills.items()
    ]
    return table(["variable", *(name.replace("_", " ") for name in who)], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with these column headings and rows."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.5g}"
