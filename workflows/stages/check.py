"""stefaland check workflows/configs/quickstart.yml

All faults of config, catalog, data and folders, reported before any compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline.catalog.catalog import Catalog
from pipeline.climate.derived import LOCATION
from pipeline.climate.evapotranspiration import NAME as PET
from pipeline.climate.evapotranspiration import choices
from pipeline.climate.signatures import PREFIX, signature_names
from pipeline.core.errors import Fault, Faults, InputError, bad_input, nearest_name
from pipeline.core.plugins import Registry
from pipeline.core.system.time_limit import TimeLimitError, in_time, reading
from pipeline.entries.source import Source, Variable
from pipeline.grid.target_grid import TargetGrid
from pipeline.readers.long.sample import every_file
from pipeline.readers.registry import driver_of
from pipeline.sites.regions import polygons_with
from pipeline.sources.check_metadata import SourceInfo
from pipeline.sources.distinct import check_distinct
from pipeline.sources.locations import check_locations_source, read_locations_source
from pipeline.sources.overlap import check_on_grids
from stefaland.baselines.registry import BASELINES
from stefaland.config import model_preset
from stefaland.model.adapters import ADAPTERS
from stefaland.physics.inputs import input_columns
from workflows.config.finetuning import FinetuneSettings
from workflows.config.publish import Basins, Product, PublishSettings
from workflows.config.schema import Inputs
from workflows.console import CONSOLE
from workflows.inputs.checked_sites import check_sites
from workflows.inputs.given_encoder import check_given_encoder
from workflows.inputs.value_table import value_rows
from workflows.run import Run, used_sources
from workflows.stages.finetune import check_names
from workflows.stages.owned import check_folder
from workflows.stages.unpack import encoder_requirements

T = TypeVar("T")
TERRAIN = ("slope", "aspect_sine", "aspect_cosine", "curvature")
"""Variables that are derived from elevation."""


def outputs(run: Run) -> list[Path]:
    """No paths: the check writes nothing."""
    return []


def main(run: Run) -> dict[str, Any]:
    """Check catalog, sources, variables, grids, models and folders.

    Raises one `InputError` with all faults.
    """
    config, publish, faults = run.config, run.config.publish, Faults()
    infos: list[SourceInfo] = []
    notes: list[str] = []
    has_sites = any(spec.locations for spec in config.cubes.values())
    # Values are read inside each check, so that one unreadable input does not stop the others.
    checks: tuple[Callable[[], object], ...] = (
        lambda: run.grids,
        lambda: infos.extend(_sources(run, faults, notes)),
        lambda: within_limit(
            run, "check of inputs.target_sites", lambda: notes.extend(_sites(run, infos))
        ),
        lambda: _names(run, has_sites, faults),
        lambda: _regions(run, faults),
        lambda: _derived(run, has_sites, faults),
        lambda: _models(config.finetune, config.pretrain.window, config.model.preset, faults),
        lambda: _missing_groups(config.finetune, config.inputs, faults),
        lambda: _process_model(config.finetune, config.inputs),
        lambda: within_limit(
            run, "check of pretrain.from_checkpoint", lambda: _encoder(run, faults, notes)
        ),
        lambda: _legends(publish, faults),
        lambda: within_limit(run, "check of basins", lambda: _basins(publish.basins, run.catalog)),
        lambda: _aggregates(publish.products, config.inputs.sources, run.catalog, faults),
        lambda: check_folder(run.folder, CONSOLE.log_file, faults),
    )
    for check in checks:
        try:
            with every_file(run.all_files):
                check()
        except InputError as error:
            faults.faults += [fault for fault in error.faults if fault not in faults.faults]
            if isinstance(error, TimeLimitError):
                break  # Others of the same disk or server would have to be waited for as well.
    for note in notes:
        CONSOLE.print(f"    note   {note}")
    faults.raise_if_any()
    CONSOLE.print(f"    check  {describe_checked({one.name: one.checked for one in infos})}")
    return {"sources": len(used_sources(run)), "notes": notes, "values": value_rows(infos)}


def within_limit(run: Run, what: str, call: Callable[[], T]) -> T:
    """What `call` returns, which may take as long as a tile of the run; else `TimeLimitError`."""
    seconds = run.config.cluster.task_seconds
    return in_time(call, seconds, what, "cluster.task_seconds")


def describe_checked(shares: Mapping[str, float]) -> str:
    """A line on the fraction of each source's values that was checked."""
    large = [f"{name} ({100 * share:.2g} %)" for name, share in shares.items() if share < 1]
    text = f"all values of {len(shares) - len(large)} sources checked"
    return f"{text}, a sample of {', '.join(large)}" if large else text


def _sources(run: Run, faults: Faults, notes: list[str]) -> list[SourceInfo]:
    """Check all sources that the run reads, add the `notes` on them, and return their contents."""
    config = run.config
    grids = {
        f'cube "{cube}", ': run.grid(cube)
        for cube, spec in config.cubes.items()
        if spec.grid and not spec.points_from
    }
    tables = (spec.locations for spec in config.cubes.values())
    names = (*config.inputs.sources, *tables, config.inputs.target_sites,
             config.folds.regions.source)  # fmt: skip
    used = dict.fromkeys(name for name in names if name)
    known = run.catalog.sources
    gridded = [known[name] for name in config.inputs.sources if name in known]
    check_distinct(gridded, faults, config.inputs.terrain_from, config.inputs.of_sites)
    infos = []
    for name in used:
        try:
            source = run.catalog[name]
        except InputError as error:
            faults.faults += error.faults
            continue
        check = partial(_checked, source, grids, run.variables)
        info, found = within_limit(run, f'check of source "{name}"', check)
        faults.faults += found
        if info is not None:
            infos.append(info)
            notes += [f"{name}: {note}" for note in info.notes]
    return infos


def _sites(run: Run, infos: Sequence[SourceInfo]) -> list[str]:
    """Return notes on the sites of the target, which are matched with the finetuning grid."""
    inputs, cube = run.config.inputs, run.config.finetune.cube
    name = inputs.target_sites
    if not name:
        return []
    sites = read_locations_source(run.catalog[name], run.variables)
    known = [str(one) for one in sites.data_vars]
    if missing := [target for target in inputs.targets if target not in known]:
        raise bad_input(
            "inputs.target_sites", f'"{name}" with {", ".join(known)}',
            f"the target {', '.join(missing)}", nearest_name(missing[0], known),
        )  # fmt: skip
    where = f'source "{name}" on cube {cube}'
    return [f"{name}: {check_sites(sites, run.grid(cube), inputs, infos, where)}"]


def _checked(
    source: Source, grids: Mapping[str, TargetGrid], variables: Mapping[str, Variable]
) -> tuple[SourceInfo | None, list[Fault]]:
    """What was found in the files of a source, None for networks of sites, and all its faults."""
    info, faults = None, Faults()
    with reading(source.address):
        if driver_of(source).returns == "network":
            check_locations_source(source, variables, faults)
        else:
            info = check_on_grids(source, grids, variables, faults)
    return info, faults.faults


def _names(run: Run, has_sites: bool, faults: Faults) -> None:
    """Check that inputs are canonical variables of a source; tables of sites may have others."""
    inputs, known, variables = run.config.inputs, run.catalog.sources, run.variables
    used: dict[str, str | None] = {"inputs.land_fraction": inputs.land_fraction}
    if inputs.target_parts:
        used |= {f"inputs.target_parts.{i}": name for i, name in enumerate(inputs.target_parts)}
    else:
        used["inputs.target"] = inputs.target
        used |= {f"inputs.target.{i}": name for i, name in enumerate(inputs.further_targets, 1)}
    used |= {f"inputs.forcings.{i}": name for i, name in enumerate(inputs.forcings)}
    used |= {
        f"inputs.statics.{i}": name for i, name in enumerate(inputs.statics) if "*" not in name
    }
    further = {key: getattr(run.config.pretrain, key) for key in ("also_forcings", "also_statics")}
    used |= {
        f"pretrain.{key}.{i}": name
        for key, names in further.items()
        for i, name in enumerate(names)
        if "*" not in name
    }
    used_names = [*inputs.sources, *([inputs.target_sites] if inputs.target_sites else [])]
    provided = {name for s in used_names if s in known for name in known[s].variables}
    for key, name in used.items():
        if name is None:
            continue
        base = name.split("_fraction_")[0] if "_fraction_" in name else name
        derived = (
            (inputs.terrain_from is not None and name in TERRAIN)
            or (bool(inputs.climate_statics) and name.startswith(PREFIX))
            or (bool(inputs.potential_evapotranspiration) and name == PET)
            or (inputs.location and name in LOCATION)
        )
        if base not in variables and name not in variables:
            faults.add(key, f'"{name}"', "a variable of variables.yml",
                       nearest_name(name, variables))  # fmt: skip
        elif not has_sites and name not in provided and base not in provided and not derived:
            faults.add(
                key, f'"{name}", which no source of the run has',
                f"one of {', '.join(sorted(provided))}", nearest_name(name, provided),
            )  # fmt: skip
    if inputs.terrain_from and inputs.terrain_from not in inputs.sources:
        faults.add("inputs.terrain_from", f'"{inputs.terrain_from}"', "one of inputs.sources",
                   nearest_name(inputs.terrain_from, inputs.sources))  # fmt: skip


def _regions(run: Run, faults: Faults) -> None:
    """Check that a source of the finetuning cube has the variable with the numbers of regions."""
    config = run.config
    variable = config.folds.regions.variable
    tables = config.cubes[config.finetune.cube].locations
    sources = run.catalog.select(*([tables] if tables else config.inputs.sources))
    provided = {name for source in sources for name in source.variables}
    if variable is not None and variable not in provided:
        faults.add(
            "folds.regions.variable", f'"{variable}", which no source of cube '
            f"{config.finetune.cube} has", f"one of {', '.join(sorted(provided))}",
            nearest_name(variable, provided),
        )  # fmt: skip


def _derived(run: Run, has_sites: bool, faults: Faults) -> None:
    """Check that the sources have the forcings from which others and statics are derived."""
    method, climate = run.derived.evapotranspiration, run.climate
    sources = [run.catalog[name] for name in run.config.inputs.sources]
    provided = {name for source in sources for name in source.variables}
    if method and PET in (*provided, *run.derived.never):
        faults.add(
            f"inputs.{PET}", f"{method}, but a source of the run has it, or it is a target",
            "one of the two", "Remove this setting, or the variable from the source's entry.",
        )  # fmt: skip
    if run.derived.location and (there := sorted({*LOCATION} & {*provided, *run.derived.never})):
        faults.add(
            "inputs.location", f"true, but a source of the run has {' and '.join(there)}",
            "one of the two", "Remove this setting, and name them in inputs.statics.",
        )  # fmt: skip
    # Tables of sites may have forcings that only their values list.
    if method and not has_sites:
        with faults.collecting():
            choices(method, provided - {*run.derived.never}, "sources")
    if climate is not None:
        at_hand = {*climate.forcings} if has_sites else provided | ({PET} if method else set())
        signature_names(climate, at_hand, "days", "sources")


def _models(settings: FinetuneSettings, window: int, preset: str, faults: Faults) -> None:
    """Check the names of models, and the `window` and `preset` of pretraining."""
    named: list[tuple[Registry[Any], str, str]] = [
        *((BASELINES, name, "finetune.baselines") for name in settings.baselines),
        (ADAPTERS, settings.adapter, "finetune.adapter"),
        *((ADAPTERS, changes["adapter"], f"finetune.{where}.adapter")
          for where, _, changes in settings.all_changes() if "adapter" in changes),
    ]  # fmt: skip
    for registry, name, where in named:
        with faults.collecting():
            registry.get(name, where)
    with faults.collecting():
        check_names(settings)
    if window != settings.window:
        faults.add("finetune.window", str(settings.window), f"{window}, the window of pretraining")
    model_preset(preset, forcings=("forcing",), statics=("static",))


def _missing_groups(settings: FinetuneSettings, inputs: Inputs, faults: Faults) -> None:
    """Check that the inputs which may be missing are inputs."""
    known = [*inputs.forcings, *inputs.static_patterns]
    for group, names in settings.missing_groups.items():
        for name in names:
            if not any(fnmatchcase(name, pattern) for pattern in known):
                faults.add(
                    f"finetune.missing_groups.{group}", f'"{name}"', f"one of {', '.join(known)}",
                    nearest_name(name, known),
                )  # fmt: skip


def _process_model(settings: FinetuneSettings, inputs: Inputs) -> None:
    """Check that a process model, as head or baseline, has its forcings and predicts the target."""
    if settings.head == "hbv":
        input_columns(inputs.forcings, inputs.targets, "finetune.head: hbv")
    elif "hbv" in settings.baselines:
        input_columns(inputs.forcings, inputs.targets, "finetune.baselines: hbv")


def _encoder(run: Run, faults: Faults, notes: list[str]) -> None:
    checkpoint, inputs = run.given_encoder, run.config.inputs
    if checkpoint is not None:
        notes += check_given_encoder(
            checkpoint, run.encoders, encoder_requirements(run, inputs.static_patterns), faults
        )


def _legends(settings: PublishSettings, faults: Faults) -> None:
    for name in settings.legend_names:
        try:
            settings.legend_named(name)
        except InputError as error:
            faults.faults += error.faults
            if name.endswith("_anomaly"):
                faults.add(
                    "publish.products", f"an anomaly without a legend {name}", "a diverging legend",
                    "Set `legend` of the product, such as soil_moisture_anomaly.",
                )  # fmt: skip


def _basins(basins: Basins | None, catalog: Catalog) -> None:
    if basins is not None:
        polygons_with(catalog[basins.source], basins.column)


def _aggregates(
    products: Sequence[Product], sources: Sequence[str], catalog: Catalog, faults: Faults
) -> None:
    """Check that no climatology or anomaly of a monthly climatology is asked for."""
    known = catalog.sources
    series = [known[name] for name in sources if name in known]
    if not any(source.time.kind == "months" for source in series):
        return
    for i, product in enumerate(products):
        if product.aggregate in ("climatology", "anomaly"):
            faults.add(
                f"publish.products.{i}.aggregate",
                f"{product.aggregate} of a climatology of months",
                "a series of years",
                "Leave it out, or use seasonal or mean.",
            )
