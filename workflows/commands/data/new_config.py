"""The text of a new config: every section with a comment, for a map of one target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pipeline.core.packaged import packaged_catalogs
from pipeline.drafts.text import flow
from pipeline.entries.variable import Variable
from pipeline.grid.target_grid import TargetGrid
from workflows.commands.data.found_sources import TERRAIN, Found, Offer
from workflows.commands.data.grids import grid_text

CUBE = "map"
"""Name of the one cube."""
MOST_DAYS = 365
LEAST_DAYS = 10
COMPOSITION = ("sand", "silt", "clay")
SAND_TO_BLUE = ("#ead29c", "#bcc78a", "#6fae98", "#3187a0", "#1d2f5f")
PALE_TO_PURPLE = ("#f7f0f7", "#bd9fd0", "#4f1f6b")


@dataclass(frozen=True)
class Plan:
    """What a new config says: its name, data, target, grid (of its own or by name) and period."""

    name: str
    data: str
    catalog: str
    target: tuple[str, ...]
    grid: TargetGrid | str
    period: tuple[str, str]
    offer: Offer
    variable: Variable

    @property
    def site(self) -> Found | None:
        """The source of the sites that have the target."""
        return self.offer.site(self.target)

    @property
    def is_composition(self) -> bool:
        """Whether the targets are parts of a whole."""
        return len(self.target) > 1 and {*self.target} <= {*COMPOSITION}


def config_text(plan: Plan) -> str:
    """The config as YAML with comments, about thirty lines of settings."""
    offer, site = plan.offer, plan.site
    source = site.source.name if site else None
    statics = offer.variables(series=False, besides=plan.target)
    terrain = offer.elevation()
    statics += [name for name in TERRAIN if terrain and name not in statics]
    window = _window(plan.period)
    aggregate = {} if plan.is_composition else {"aggregate": "monthly"}
    title = f"{plan.variable.long_name.capitalize()}, {plan.period[0]} to {plan.period[1]}"
    lines = [
        "# Written by `stefaland init`; change what you like, then:",
        f"# stefaland check {plan.name}.yml && stefaland run {plan.name}.yml",
        f"name: {flow(plan.name)}",
        f"title: {flow(title)}",
        f"roots: {flow(_roots(plan))}",
        f"catalogs: {flow([plan.catalog])}",
        "",
        "# The cells of model and map: any CRS, bounds and resolution in its units.",
        f"cubes: {{{CUBE}: {{grid: {_grid(plan)}}}}}",
        "",
        "inputs:",
        f"  sources: {flow(offer.sources(plan.target, source))}",
        *_terrain(terrain),
        f"  forcings: {flow(offer.variables(series=True, besides=plan.target))}",
        f"  statics: {flow(statics)}",
        *_target(plan, source),
        "",
        f"# Held out in turn, to score the models: {'stations' if site else 'blocks of cells'}.",
        f"folds: {flow(_folds(plan))}",
        "model: {preset: stefaland-tiny, settings: {time_of_year: true, attention_dropout: 0}}",
        "",
        "# Short trainings for a first map: raise the steps where the losses still fall.",
        f"pretrain: {{cube: {CUBE}, window: {window}, steps: 150, batch_size: 32, "
        f"mask: {{window_min: {max(1, window // 12)}, window_max: {max(2, window // 4)}}}, "
        "optimiser: {lr: 0.002}}",
        "finetune:",
        f"  cube: {CUBE}",
        f"  window: {window}",
        *(["  task: composition"] if plan.is_composition else []),
        f"  warmup_steps: {0 if plan.is_composition else window // 6}",
        "  steps: 150",
        "  batch_size: 32",
        "  optimiser: {lr: 0.002}",
        "  baselines: [climatology, ridge, lstm]  # what the model is compared with",
        "",
        f"predict: {{cubes: [{CUBE}]}}",
        "publish:",
        *_legends(plan),
        f"  products: {flow([{'cube': CUBE, 'suffix': 'map', **aggregate}])}",
        "score: {metric: RMSE}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _roots(plan: Plan) -> dict[str, str]:
    # The folder itself: an environment variable of other data must not replace what was drafted.
    return {"data": plan.data, "runs": "${STEFALAND_RUNS:-runs}"}


def _grid(plan: Plan) -> str:
    """Return the name of a grid, or one of the config's own on one line."""
    if isinstance(plan.grid, str):
        return flow(plan.grid)
    return grid_text(plan.grid).partition(": ")[2].strip()


def _terrain(elevation: str | None) -> list[str]:
    text = f"  terrain_from: {flow(elevation)}  # slope and aspect are derived from it"
    return [] if elevation is None else [text]


def _target(plan: Plan, source: str | None) -> list[str]:
    if plan.is_composition:
        lines = ["  target: soil_texture", f"  target_parts: {flow(list(plan.target))}"]
    else:
        target = plan.target[0] if len(plan.target) == 1 else list(plan.target)
        lines = [f"  target: {flow(target)}"]
    if source is not None:
        lines += [f"  target_sites: {flow(source)}  # values of the cells in which they lie"]
    return lines


def _folds(plan: Plan) -> dict[str, object]:
    site = plan.site
    if site is not None and site.info is not None:
        count = int(site.info.shape[-1])
        return {"split": "pub", "k": 3 if count >= 15 else 2, "min_cells": max(1, count // 20)}
    if site is not None:
        return {"split": "pub"}
    region = plan.offer.region() or (0.0, 0.0, 20.0, 20.0)
    side = max(0.1, round(min(region[2] - region[0], region[3] - region[1]) / 4, 1))
    return {"split": "blocks", "k": 3, "block_deg": side, "buffer_km": 0, "min_cells": 5}


def _window(period: tuple[str, str]) -> int:
    """Return the days of a sample: a year, or two thirds of a shorter period."""
    days = (date.fromisoformat(period[1]) - date.fromisoformat(period[0])).days + 1
    return min(MOST_DAYS, max(min(days, LEAST_DAYS), days * 2 // 3))


def _legends(plan: Plan) -> list[str]:
    """Return the lines of legends: packaged ones of the target, or of the range of its values."""
    target = plan.target[0]
    if plan.is_composition:
        return ["  legend: soil_fraction", "  spread_legend: soil_fraction_spread"]
    there = packaged_catalogs() / "legends"
    if all((there / f"{name}.yml").is_file() for name in (target, f"{target}_spread")):
        return [f"  legend: {target}", f"  spread_legend: {target}_spread"]
    low, high = _range(plan)
    units, title = plan.variable.units, plan.variable.long_name
    own = {
        target: _legend(title, units, low, high, SAND_TO_BLUE),
        f"{target}_spread": _legend(
            f"{title}, standard deviation", units, 0.0, (high - low) / 4, PALE_TO_PURPLE
        ),
    }
    return [f"  legend: {target}", f"  spread_legend: {target}_spread",
            f"  legends: {flow(own)}"]  # fmt: skip


def _range(plan: Plan) -> tuple[float, float]:
    """Return the least and greatest value of the target in its source."""
    found = [plan.site] if plan.site else list(plan.offer.grids)
    for one in found:
        for values in one.info.values if one and one.info else ():
            if values.variable == plan.target[0] and values.least < values.greatest:
                return values.least, values.greatest
    return plan.variable.valid_range or (0.0, 1.0)


def _legend(
    title: str, units: str, low: float, high: float, colours: Sequence[str]
) -> dict[str, object]:
    step = (high - low) / (len(colours) - 1)
    return {
        "title": title, "kind": "continuous", "units": units,
        "stops": [{"value": float(f"{low + i * step:.3g}"), "colour": colour}
                  for i, colour in enumerate(colours)],
    }  # fmt: skip
