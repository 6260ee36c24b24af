"""A table of the paper, computed from data at hand: `stefaland reproduce camels_pub --data DIR`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline.core.errors import Faults
from pipeline.core.files import read_json
from pipeline.sources.open import check_files
from workflows.config.load import load_config
from workflows.config.paper_tables import FOLDER, PaperTable, paper_table, paper_tables
from workflows.console import OUTPUT
from workflows.run import Run, used_sources
from workflows.stages.order import run_stages


def listed_tables() -> list[dict[str, Any]]:
    """Name, number in the paper, title and config of each table."""
    return [
        {"name": name, "table": entry.table, "title": entry.title,
         "config": str(FOLDER / entry.config)}
        for name, entry in paper_tables().tables.items()
    ]  # fmt: skip


def reproduce(name: str, data: Path, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Run the config of a table on the data below `data`, and compare its scores with the paper's.

    Returns plain values, whose keys docs/json.md describes. Raises one `InputError` with all data
    that are missing and where each can be had.
    """
    table = paper_table(name)
    run = Run(load_config(FOLDER / table.config, [f"roots.data={data}", *settings]))
    _check_data(table, run, data)
    run_stages(run, "check", table.until)
    card = read_json(run.scorecard) if table.scores else {"models": {}}
    return {
        "name": name, "table": table.table, "title": table.title,
        "reference": paper_tables().reference, "run": str(run.folder),
        "sites": card.get("sites"), "rows": compared(table, card["models"]),
    }  # fmt: skip


def _check_data(table: PaperTable, run: Run, data: Path) -> None:
    """Raise `InputError` with each file and source that is missing, and how to get it."""
    faults = Faults()
    used = {source.name for source in used_sources(run)}
    for need in table.needs:
        hint = f"Get it: {need.get.replace('DIR', str(data))}"
        if need.source not in used:
            continue
        if need.file is None:
            found = Faults()
            check_files(run.catalog[need.source], found)
            for fault in found.faults[:1]:
                faults.add(fault.where, fault.found, fault.expected, hint)
        elif not (data / need.file).is_file():
            faults.add(str(data / need.file), "no such file", f"data of Table {table.table}", hint)
    faults.raise_if_any()


def compared(table: PaperTable, models: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The paper's scores beside those of `models` in a scorecard: one row a model and score.

    Scores of models that we have not, or that were not trained, are null.
    """
    rows = []
    for row in table.rows:
        for score, (paper, *error) in row.scores.items():
            ours = _score(models.get(row.model or ""), table.scores[score])
            rows.append(
                {"paper_model": row.paper, "model": row.model, "score": score, "paper": paper,
                 "standard_error": error[0] if error else None, "ours": ours,
                 "difference": None if ours is None else ours - paper}
            )  # fmt: skip
    return rows


def _score(model: Any, keys: str) -> float | None:
    """The value under dotted keys of a model in a scorecard; None where there is none."""
    for key in keys.split("."):
        model = model.get(key) if isinstance(model, Mapping) else None
    return None if model is None else float(model)


def print_tables(tables: Sequence[Mapping[str, Any]]) -> None:
    """Print the names and titles of tables."""
    shown = Table("name", "table", "title", title=paper_tables().reference)
    for entry in tables:
        shown.add_row(entry["name"], entry["table"], entry["title"])
    OUTPUT.print(shown)


def print_reproduced(found: Mapping[str, Any]) -> None:
    """Print the paper's scores beside ours."""
    shown = Table("model of the paper", "ours", "score", "paper", "this run", "difference",
                  title=f"Table {found['table']}: {found['title']}")  # fmt: skip
    for row in found["rows"]:
        error = row["standard_error"]
        paper = f"{row['paper']:g}" + (f" ± {error:g}" if error is not None else "")
        ours = [f"{row[key]:.3f}" if row[key] is not None else "-" for key in
                ("ours", "difference")]  # fmt: skip
        shown.add_row(row["paper_model"], row["model"] or "-", row["score"], paper, *ours)
    if found["rows"]:
        OUTPUT.print(shown)
    else:
        OUTPUT.plain(f"{found['title']}; the run is in {found['run']}")
