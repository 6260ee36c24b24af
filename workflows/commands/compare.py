"""Comparison of two models on the same held-out sites: `stefaland score --compare A B:lstm`.

Paired bootstrap intervals of the difference of scores, over all sites and by region, fold and
season, as JSON, Parquet and HTML. It reads the `heldout.zarr` of finished score stages. A model is
a run folder, or FOLDER:MODEL for a baseline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from rich.table import Table

from pipeline.core.errors import Faults, bad_input, nearest_name
from pipeline.core.files import new_folder, write_json
from stefaland.metrics import (
    SCORES,
    Array,
    gaussian_crps,
    paired_difference,
    score_series,
)
from stefaland.model.quantiles import quantile_crps
from workflows.console import REPORT, print_json
from workflows.products.page import render_page
from workflows.products.series_scores import finite, quantiles_of
from workflows.products.target_scores import TARGET
from workflows.stages.order import require_sound

CRPS = "CRPS"
"""Name of the continuous ranked probability score, which needs a predictive distribution."""
DEFAULT = ("NSE", "KGE", "RMSE")
MIN_SITES = 6
"""Minimum number of sites: fewer cannot be significant at 5 % (sign test: 2 / 2**n)."""
SHOWN = 3
"""Number of labels listed in a message."""


@dataclass(frozen=True)
class Side:
    """One of the two models that are compared."""

    name: str
    """Run folder and model, as shown in the tables."""
    folder: Path
    table: xr.Dataset
    """`observed`, `predicted`, `spread` (site, time), sites sorted; `fold`, `region` (site)."""


def open_side(text: str, target: str | None = None) -> Side:
    """The held-out series of FOLDER or FOLDER:MODEL; `InputError` where there are none.

    Of a run with several targets they are those of `target`, by default the first.
    """
    folder, model = text, "stefaland"
    if not Path(text).is_dir() and ":" in text:
        folder, _, model = text.rpartition(":")
    path = Path(folder) / "heldout.zarr"
    if not path.is_dir():
        raise bad_input(
            f"--compare {text}", f"no {path}", "a run folder, or FOLDER:MODEL",
            "Finish the run's score stage: `stefaland run CONFIG --until score`.",
        )  # fmt: skip
    require_sound(Path(folder), ["score"], below=path.name)
    table = xr.open_zarr(path, consolidated=False).load()
    targets = table[TARGET].values.astype(str).tolist() if TARGET in table.dims else []
    if target is not None and target not in (targets or [target]):
        raise bad_input(
            f"--target {target}", f"no such target of {folder}", f"one of {', '.join(targets)}",
            nearest_name(target, targets),
        )  # fmt: skip
    if targets:
        table = table.sel({TARGET: target or targets[0]}, drop=True)
    known = table["model"].values.astype(str).tolist()
    if model not in known:
        raise bad_input(
            f"--compare {text}", f'no model "{model}"', f"one of {', '.join(known)}",
            nearest_name(model, known),
        )  # fmt: skip
    return Side(f"{Path(folder).name}:{model}", Path(folder), table.sel(model=model).sortby("site"))


def _names(values: Any) -> str:
    shown = ", ".join(str(value) for value in values[:SHOWN])
    return shown + (", ..." if len(values) > SHOWN else "")


def check_same(a: Side, b: Side) -> None:
    """Raise `InputError` with all differences in sites, times, folds, regions and observations."""
    faults = Faults()
    where = f"--compare: {a.name} and {b.name}"
    for dim in ("site", "time"):
        for one, other in ((a, b), (b, a)):
            extra = np.setdiff1d(one.table[dim].values, other.table[dim].values)
            if len(extra):
                found = f"{len(extra)} {dim}s only in {one.name} ({_names(extra)})"
                faults.add(where, found, f"the same held-out {dim}s")
    faults.raise_if_any()
    for label in ("fold", "region"):
        differ = a.table[label].values.astype(str) != b.table[label].values.astype(str)
        if differ.any():
            sites = a.table["site"].values[differ]
            found = f"{len(sites)} sites in another {label} ({_names(sites)})"
            faults.add(
                where, found, f"the same {label}s", "Use the same folds section in both runs."
            )
    one_obs, other_obs = a.table["observed"].values, b.table["observed"].values
    differ = ~np.isclose(one_obs, other_obs, rtol=1e-5, atol=0, equal_nan=True).all(-1)
    if differ.any():
        sites = a.table["site"].values[differ]
        found = f"other observations at {len(sites)} sites ({_names(sites)})"
        faults.add(where, found, "the same target")
    faults.raise_if_any()


def check_scores(names: Sequence[str]) -> None:
    """Raise `InputError` with every unknown score."""
    faults = Faults()
    for name in names:
        with faults.collecting():
            better(name)
    faults.raise_if_any()


def better(name: str) -> str:
    """The better direction of a score, as `Score.better`; `InputError` for unknown scores."""
    return "lower" if name == CRPS else SCORES.get(name, "--scores").better


def site_scores(observed: Array, table: xr.Dataset, names: Sequence[str]) -> dict[str, Array]:
    """Scores of each site by name, dims (site,); NaN where a score is not defined."""
    predicted = table["predicted"].values
    scores = {name: score_series(name, observed, predicted) for name in names if name != CRPS}
    if CRPS in names:
        quantiles = quantiles_of(table)
        if quantiles is None:
            crps = gaussian_crps(observed, predicted, table["spread"].values)
        else:
            crps = quantile_crps(observed, quantiles)
        count = np.isfinite(crps).sum(-1)
        total = np.nansum(crps, -1)
        scores[CRPS] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    # Signed errors (bias) have no better direction: their absolute values are compared.
    return {
        name: np.abs(scores[name]) if better(name) == "near_zero" else scores[name]
        for name in names
    }


def _groups(a: Side) -> Iterator[tuple[str, str, Any, Any]]:
    """Parts that are compared, as (kind, label, mask of sites, mask of times)."""
    every_site = np.ones(a.table.sizes["site"], bool)
    every_time = np.ones(a.table.sizes["time"], bool)
    yield "all", "all", every_site, every_time
    for kind in ("region", "fold"):
        labels = a.table[kind].values.astype(str)
        for label in np.unique(labels):
            yield kind, label, labels == label, every_time
    seasons = a.table["time"].dt.season.values
    for label in ("DJF", "MAM", "JJA", "SON"):
        yield "season", label, every_site, seasons == label


def compare(a: Side, b: Side, names: Sequence[str] = DEFAULT, seed: int = 0) -> pd.DataFrame:
    """Comparison of two models, one row for each score and part of the sites and times.

    Columns: medians over sites, the median difference a − b with its 95 % interval, the fraction of
    sites where `a` is better, and the model that is better beyond that interval. Only values that
    both models predict count.
    """
    check_scores(names)
    check_same(a, b)
    both = np.isfinite(a.table["predicted"].values) & np.isfinite(b.table["predicted"].values)
    observed = np.where(both, a.table["observed"].values, np.nan)
    rows = []
    for kind, label, sites, times in _groups(a):
        truth = observed[sites][:, times]
        scores_a, scores_b = (
            site_scores(truth, side.table.isel(site=sites, time=times), names) for side in (a, b)
        )
        for name in names:
            row = {"score": name, "by": kind, "label": label}
            rows.append(row | _row(scores_a[name], scores_b[name], better(name) == "higher", seed))
    return pd.DataFrame(rows)


def _row(a: Array, b: Array, higher: bool, seed: int) -> dict[str, Any]:
    valid = np.isfinite(a) & np.isfinite(b)
    a, b = a[valid], b[valid]
    result = paired_difference(a, b, seed=seed)
    better = "undecided" if len(a) >= MIN_SITES else "too few sites"
    if len(a) >= MIN_SITES and (result["low"] > 0 or result["high"] < 0):
        better = "a" if (result["low"] > 0) == higher else "b"
    wins = (a > b) if higher else (a < b)
    return {
        "a": float(np.median(a)) if len(a) else np.nan,
        "b": float(np.median(b)) if len(b) else np.nan,
        **result,
        "share": float(wins.mean()) if len(a) else np.nan,
        "better": better,
    }


def comparison_document(a: Side, b: Side, rows: pd.DataFrame) -> dict[str, Any]:
    """A comparison as plain values, null where a number is not defined.

    docs/json.md describes every key.
    """
    return dict(finite({"a": a.name, "b": b.name, "rows": rows.to_dict("records")}))


def write_comparison(folder: Path, a: Side, b: Side, rows: pd.DataFrame) -> list[Path]:
    """Write comparison.json, comparison.parquet and comparison.html in `folder`, all or none."""
    with new_folder(folder) as partial:
        write_json(partial / "comparison.json", comparison_document(a, b, rows))
        rows.to_parquet(partial / "comparison.parquet", index=False)
        (partial / "comparison.html").write_text(page(a, b, rows), encoding="utf-8")
    return [folder / f"comparison.{kind}" for kind in ("json", "parquet", "html")]


def _cells(row: Any) -> list[str]:
    numbers = (row.a, row.b, row.difference)
    shown = [f"{x:.3f}" if np.isfinite(x) else "—" for x in numbers]
    interval = f"{row.low:.3f} to {row.high:.3f}" if np.isfinite(row.low) else "—"
    share = f"{row.share:.0%}" if np.isfinite(row.share) else "—"
    return [row.score, row.by, row.label, *shown, interval, share, str(row.sites), row.better]


HEADERS = (
    "score", "by", "label", "a", "b", "a − b", "95 % interval", "a better at", "sites", "better"
)  # fmt: skip


def page(a: Side, b: Side, rows: pd.DataFrame) -> str:
    """The comparison as one HTML page that needs no network."""
    return render_page(
        "comparison.html.j2", "comparison.css", a=a.name, b=b.name, headers=HEADERS,
        version=metadata.version("stefaland"),
        rows=[_cells(row) for row in rows.itertuples()],
    )  # fmt: skip


def compare_runs(
    texts: tuple[str, str], names: Sequence[str], out: Path | None, seed: int,
    as_json: bool = False, target: str | None = None,
) -> None:  # fmt: skip
    """Compare two runs, write the comparison to `out` and print it, as a table or as JSON.

    `out` is by default a new folder in that of the first run; `target` is one of several.
    """
    a, b = (open_side(text, target) for text in texts)
    rows = compare(a, b, names, seed)
    default = f"compare_{a.name}_{b.name}".replace(":", "_")
    paths = write_comparison(out or a.folder / default, a, b, rows)
    if as_json:
        print_json({**comparison_document(a, b, rows), "files": [str(path) for path in paths]})
        return
    print_comparison(a, b, rows)
    for path in paths:
        REPORT.print(str(path), soft_wrap=True)


def print_comparison(a: Side, b: Side, rows: pd.DataFrame) -> None:
    """Print a comparison as a table, without groups of fewer than `MIN_SITES` sites."""
    shown = Table(title=f"a = {a.name}, b = {b.name}")
    for header in HEADERS:
        shown.add_column(header, no_wrap=header in ("95 % interval", "better"))
    for row in rows[rows["better"] != "too few sites"].itertuples():
        shown.add_row(*_cells(row))
    REPORT.print(shown)
