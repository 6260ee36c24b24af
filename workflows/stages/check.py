"""stefaland check workflows/configs/quickstart.yml

Everything that can be known to be wrong before hours of compute, reported together.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.core.errors import Faults, InputError, nearest_name
from pipeline.core.plugins import Registry
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.window import source_window
from pipeline.maps.legend import read_legend
from pipeline.readers.registry import driver_of
from pipeline.sites.regions import polygons_with
from pipeline.sources.locations import check_locations_source
from pipeline.sources.open import SourceInfo, Window, check_source
from stefaland.baselines.registry import BASELINES
from stefaland.config import model_preset
from stefaland.model.adapters import ADAPTERS
from workflows.console import CONSOLE
from workflows.inputs.given_encoder import check_given
from workflows.run import Run, catalog_path, used_sources

LEAST_DISK = 2 * 2**30


def outputs(run: Run) -> list[Path]:
    """A check writes nothing."""
    return []


def main(run: Run) -> dict[str, Any]:
    """Check catalog, sources, variables, grids, models and folders; one `InputError` for all."""
    faults = Faults()
    shares: dict[str, float] = {}
    sources = partial(_sources, shares=shares)
    for check in (
        _grids, sources, _names, _models, check_given, _legends, _basins, _aggregates, _folder
    ):  # fmt: skip
        _collected(check, run, faults)
    faults.raise_if_any()
    CONSOLE.print(f"    check  {looked_at(shares)}")
    return {"sources": len(used_sources(run))}


def looked_at(shares: Mapping[str, float]) -> str:
    """What was read of the values of each source, given as shares, in one line."""
    large = [f"{name} ({100 * share:.2g} %)" for name, share in shares.items() if share < 1]
    text = f"all values of {len(shares) - len(large)} sources looked at"
    return f"{text}, a sample of {', '.join(large)}" if large else text


def _collected(check: Callable[[Run, Faults], None], run: Run, faults: Faults) -> None:
    try:
        check(run, faults)
    except InputError as error:
        faults.faults += [fault for fault in error.faults if fault not in faults.faults]


def _grids(run: Run, faults: Faults) -> None:
    assert run.grids


def _sources(run: Run, faults: Faults, shares: dict[str, float]) -> None:
    grids = {
        cube: run.grid(cube)
        for cube, spec in run.config.cubes.items()
        if spec.grid and not spec.points_from
    }
    names = dict.fromkeys(run.config.inputs.sources)
    names |= dict.fromkeys(s.locations for s in run.config.cubes.values() if s.locations)
    if run.config.inputs.target_sites:
        names[run.config.inputs.target_sites] = None
    if run.config.folds.regions.source:
        names[run.config.folds.regions.source] = None
    catalog = run.catalog  # its own faults once, not for every source
    for name in names:
        try:
            source = catalog[str(name)]
        except InputError as error:
            faults.faults += error.faults
            continue
        if driver_of(source).gives == "network":
            check_locations_source(source, run.variables, faults)
            continue
        info = check_source(source, faults, windows=partial(_windows, grids))
        if info is not None:
            shares[source.name] = info.checked
        for cube, grid in grids.items():
            if info is not None and not _overlaps(grid, info):
                faults.add(
                    f'cube "{cube}", source "{name}"',
                    f"a grid of {_degrees(grid.bounds)} outside the source's"
                    f" {_degrees(info.bounds)}",
                    "a grid that the source covers at least in part",
                    "Choose another grid or another source.",
                )


def _windows(grids: Mapping[str, TargetGrid], crs: str) -> list[Window]:
    """What of a source in `crs` the grids need."""
    return [source_window(grid, crs) for grid in grids.values()]


def _overlaps(grid: TargetGrid, info: SourceInfo) -> bool:
    west, south, east, north = source_window(grid, info.crs)
    if north <= info.bounds[1] or south >= info.bounds[3]:
        return False
    turns = (-360.0, 0.0, 360.0) if info.bounds[2] - info.bounds[0] <= 360.0 else (0.0,)
    return any(west + t < info.bounds[2] and east + t > info.bounds[0] for t in turns)


def _degrees(bounds: tuple[float, float, float, float]) -> str:
    return "({:g}, {:g}, {:g}, {:g})".format(*bounds)


def _names(run: Run, faults: Faults) -> None:
    inputs = run.config.inputs
    used: dict[str, str | None] = {"inputs.land_fraction": inputs.land_fraction}
    if inputs.target_parts:
        used |= {f"inputs.target_parts.{i}": name for i, name in enumerate(inputs.target_parts)}
    else:
        used["inputs.target"] = inputs.target
    used |= {f"inputs.forcings.{i}": name for i, name in enumerate(inputs.forcings)}
    used |= {
        f"inputs.statics.{i}": name for i, name in enumerate(inputs.statics) if "*" not in name
    }
    known = run.catalog.sources
    used_names = [*inputs.sources, *([inputs.target_sites] if inputs.target_sites else [])]
    given = {name for s in used_names if s in known for name in known[s].variables}
    tables = any(spec.locations for spec in run.config.cubes.values())
    for key, name in used.items():
        if name is None:
            continue
        base = name.split("_fraction_")[0] if "_fraction_" in name else name
        if base not in run.variables and name not in run.variables:
            faults.add(key, f'"{name}"', "a variable of variables.yml",
                       nearest_name(name, run.variables))  # fmt: skip
        elif not tables and name not in given and base not in given and not _derived(run, name):
            faults.add(
                key, f'"{name}", which no source of the run has',
                f"one of {', '.join(sorted(given))}", nearest_name(name, given),
            )  # fmt: skip
    if inputs.terrain_from and inputs.terrain_from not in inputs.sources:
        faults.add("inputs.terrain_from", f'"{inputs.terrain_from}"', "one of inputs.sources",
                   nearest_name(inputs.terrain_from, inputs.sources))  # fmt: skip


def _derived(run: Run, name: str) -> bool:
    derived = ("slope", "aspect_sine", "aspect_cosine", "curvature")
    return run.config.inputs.terrain_from is not None and name in derived


def _models(run: Run, faults: Faults) -> None:
    settings = run.config.finetune
    named: list[tuple[Registry[Any], str, str]] = [
        *((BASELINES, name, "finetune.baselines") for name in settings.baselines),
        (ADAPTERS, settings.adapter, "finetune.adapter"),
    ]
    for registry, name, where in named:
        try:
            registry.get(name, where)
        except InputError as error:
            faults.faults += error.faults
    if run.config.pretrain.window != run.config.finetune.window:
        faults.add(
            "finetune.window", str(run.config.finetune.window),
            f"{run.config.pretrain.window}, the window of pretraining",
        )  # fmt: skip
    model_preset(run.config.model.preset, forcings=("forcing",), statics=("static",))


def _legends(run: Run, faults: Faults) -> None:
    settings = run.config.publish
    of_products = map(settings.legend_of, settings.products)
    for name in dict.fromkeys((settings.legend, settings.spread_legend, *of_products)):
        if name is None:
            continue
        try:
            read_legend(catalog_path(f"legends/{name}.yml"))
        except InputError as error:
            faults.faults += error.faults
            if name == f"{settings.legend}_anomaly":
                faults.add(
                    "publish.products", f"an anomaly, and no legend {name}", "a diverging legend",
                    "Name one as `legend` of the product, such as soil_moisture_anomaly.",
                )  # fmt: skip


def _basins(run: Run, faults: Faults) -> None:
    basins = run.config.publish.basins
    if basins is not None:
        polygons_with(run.catalog[basins.source], basins.column)


def _aggregates(run: Run, faults: Faults) -> None:
    """A climatology of twelve months has no anomaly of its own, and is one already."""
    known = run.catalog.sources
    series = [known[name] for name in run.config.inputs.sources if name in known]
    if not any(source.time.kind == "months" for source in series):
        return
    for i, product in enumerate(run.config.publish.products):
        if product.aggregate in ("climatology", "anomaly"):
            faults.add(
                f"publish.products.{i}.aggregate",
                f"{product.aggregate} of a climatology of months",
                "a series of years",
                "Leave it out, or use seasonal or mean.",
            )


def _folder(run: Run, faults: Faults) -> None:
    probe = run.folder / f".write-test-{os.getpid()}"
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        faults.add(
            str(run.folder), f"a folder that cannot be written ({error.strerror})",
            "a writable run folder",
            "Set roots.runs, or the environment variable STEFALAND_RUNS, to another place.",
        )  # fmt: skip
        return
    free = shutil.disk_usage(run.folder).free
    if free < LEAST_DISK:
        faults.add(
            str(run.folder), f"{free / 2**30:.1f} GiB of free disk",
            f"at least {LEAST_DISK / 2**30:.0f} GiB",
        )  # fmt: skip
