"""The settings that determine each stage's result, and their fingerprint.

A stage runs again where its settings, those of a stage that it needs, or the version changed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.climate.signatures import ClimateSettings
from pipeline.core.files import digest_of
from pipeline.core.packaged import catalog_path
from pipeline.core.plugins import plugin_digests
from pipeline.core.provenance import fingerprint, path_stamp
from pipeline.readers.registry import files_of
from pipeline.sources.versions.contents import record_contents, replaced_since
from stefaland.checkpoints.names import CONFIG, DATA
from workflows.config.cubes import CubeSpec
from workflows.config.ranking import BEST
from workflows.run import Run, used_sources

NEEDS: dict[str, tuple[str, ...]] = {
    "check": (),
    "regrid": (),
    "stats": ("regrid",),
    "pretrain": ("stats",),
    "finetune": ("pretrain",),
    "predict": ("finetune",),
    "mosaic": ("predict",),
    "publish": ("mosaic",),
    "score": ("finetune", "publish"),
    "report": ("publish", "score"),
}


READS: dict[str, tuple[str, ...]] = {
    "check": (),
    "regrid": (),
    "stats": ("regrid",),
    "pretrain": ("regrid", "stats"),
    "finetune": ("regrid", "stats", "pretrain"),
    "predict": ("regrid", "stats", "finetune"),
    "mosaic": ("regrid", "predict"),
    "publish": ("regrid", "predict", "mosaic"),
    "score": ("regrid", "stats", "finetune", "mosaic", "publish"),
    "report": ("mosaic", "publish", "score"),
}
"""Stages of which each stage reads files."""


def stages_after(name: str) -> list[str]:
    """The stages that depend on a stage, directly or indirectly, in order."""
    after: list[str] = []
    for later, needs in NEEDS.items():
        if {name, *after} & set(needs):
            after.append(later)
    return after


def version() -> str:
    """The version of this package, which is part of every fingerprint."""
    return metadata.version("stefaland")


LATER: dict[str, tuple[str, ...]] = {
    "finetune": ("overlap_steps",),
    "predict": ("model", "best_by"),
}
"""What decides results since version 0.2.0 was released, by stage; it has no setting of its own."""


def stage_fingerprint(run: Run, name: str, *, as_released: bool = False) -> str:
    """Hash of a stage's settings, those of all it needs, this package's version and plugins.

    With `as_released` it is that of the release 0.2.0, without what `LATER` lists.
    """
    plugins = {"plugins": plugin_digests()} if run.config.plugins else {}
    settings = DEPENDS[name](run)
    if as_released and name in LATER:
        settings = {key: value for key, value in settings.items() if key not in LATER[name]}
    return fingerprint(
        {
            **plugins,
            "stage": name,
            "version": version(),
            "settings": settings,
            "needs": [
                stage_fingerprint(run, need, as_released=as_released) for need in NEEDS[name]
            ],
        }
    )


def _cube_settings(spec: CubeSpec) -> dict[str, Any]:
    """Settings of a cube. Tiles that are not set count as those of 0.2.0, whose runs go on."""
    settings = spec.model_dump(mode="json")
    return {**settings, "tile": settings["tile"] or [64, 64]}


def _regrid(run: Run) -> Any:
    """Cubes, sources, grids and the stamps (size, modification time) of the source files.

    Files that hold something else than when their stamp was first recorded count with digests.
    """
    sources = used_sources(run)
    changed = replaced_since(run.source_contents, sources, run.config.roots.data)
    return {
        "cubes": {name: _cube_settings(spec) for name, spec in run.config.cubes.items()},
        "grids": {name: grid.fingerprint for name, grid in run.grids.items()},
        "terrain_from": run.config.inputs.terrain_from,
        "fill": _fill_settings(run),
        "sources": [source.model_dump(mode="json") for source in sources],
        "files": {source.name: [path_stamp(f) for f in files_of(source)] for source in sources},
        "variables": {
            name: variable.model_dump(mode="json")
            for name, variable in run.variables.items()
            if any(name in source.variables for source in sources)
        },
        **({"contents": changed} if changed else {}),
        **({"climate": _climate_settings(run.climate)} if run.climate else {}),
        **({"location": True} if run.derived.location else {}),
        **({"evapotranspiration": method} if (method := run.derived.evapotranspiration) else {}),
    }


def _climate_settings(climate: ClimateSettings) -> dict[str, Any]:
    """Settings of the climate statics: their names, forcings, days and definitions."""
    return {
        "names": climate.names,
        "forcings": climate.forcings,
        "period": climate.period,
        "variables": {name: one.model_dump(mode="json") for name, one in climate.variables.items()},
    }


def record_sources(run: Run) -> list[str]:
    """Record what the source files hold; returns those that changed at equal size and time."""
    return record_contents(run.source_contents, used_sources(run), run.config.roots.data)


def _fill_settings(run: Run) -> list[Any]:
    """Settings of gap filling; empty where no gaps are filled."""
    inputs = run.config.inputs
    if not inputs.fill_distance:
        return []
    filling = [inputs.fill_distance, inputs.land_fraction, inputs.min_land_fraction]
    return [*filling, inputs.target, *inputs.further_targets]


def _stats(run: Run) -> Any:
    """Inputs, folds, cubes, and variables with their transforms, later ones only if used."""
    inputs, folds = run.config.inputs, run.config.folds
    used = {name for source in used_sources(run) for name in source.variables}
    used |= {*run.derived.names}
    settings = folds.model_dump(mode="json")
    settings = {name: value for name, value in settings.items() if value is not None}
    pretraining = run.config.pretrain
    further = {"forcings": pretraining.also_forcings, "statics": pretraining.also_statics}
    if folds.periods:
        settings["warmup_steps"] = run.config.finetune.warmup_steps
    return {
        "inputs": inputs.model_dump(mode="json"),
        "folds": settings,
        "cubes": [run.config.pretrain.cube, run.config.finetune.cube, *run.config.pretrain.also],
        "variables": {
            name: variable.model_dump(mode="json")
            for name, variable in run.variables.items()
            if variable.since is None or name in used
        },
        **({"further": further} if any(further.values()) else {}),
    }


def _pretrain(run: Run) -> Any:
    """Settings of network and pretraining, without those that do not affect the result."""
    settings = {
        "model": run.config.model.model_dump(mode="json"),
        "pretrain": run.config.pretrain.model_dump(
            mode="json", exclude={"tensorboard", "from_checkpoint"}
        ),
        "seed": run.config.seed,
    }
    checkpoint = run.given_encoder
    if checkpoint is not None:
        settings["from_checkpoint"] = checkpoint_digests(checkpoint)
    return settings


def _finetune(run: Run) -> Any:
    """Finetuning settings and baselines, and how far windows of a prediction overlap."""
    settings = run.config.finetune
    overlap = {"overlap_steps": settings.overlap_steps} if settings.overlap_steps else {}
    return {"finetune": settings.model_dump(mode="json"), "seed": run.config.seed, **overlap}


def _predict(run: Run) -> Any:
    """Cubes, precision and the model, or how it is chosen; the batch size affects no result."""
    settings = run.config.predict
    chosen = {"best_by": settings.best_by} if settings.model == BEST else {}
    return {
        "cubes": settings.cubes, "precision": settings.precision, "model": settings.model, **chosen
    }  # fmt: skip


def _mosaic(run: Run) -> Any:
    """The products and their grids."""
    return {
        "products": [product.model_dump(mode="json") for product in run.config.publish.products],
        "grids": [run.product_grid(product).fingerprint for product in run.config.publish.products],
    }


def _publish(run: Run) -> Any:
    """Products, legends, and the locations at which maps are checked."""
    settings = run.config.publish
    product_legends = [
        None if (name := settings.legend_of(product)) == settings.legend else name
        for product in settings.products
    ]
    legends = (settings.legend, settings.spread_legend, "quality_flag", "usda_texture",
               *product_legends)  # fmt: skip
    legends += tuple(name for name in settings.legend_names if name not in legends)
    return {
        "publish": settings.model_dump(mode="json"),
        "places": [location.model_dump(mode="json") for location in run.config.places],
        "legends": [
            catalog_path(f"legends/{name}.yml").read_text()
            for name in legends
            if name and name not in settings.legends
        ],
        "title": run.config.title,
    }


def _score(run: Run) -> Any:
    """Settings of the ranking of models."""
    return run.config.score.model_dump(mode="json")


def _report(run: Run) -> Any:
    """Title and examples of the report."""
    return {"title": run.config.title, "examples": run.config.score.examples}


def checkpoint_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that identify the checkpoint, or that of each fold, in a folder."""
    found = [path for name in (CONFIG, DATA) for path in folder.glob(f"*/{name}")]
    found += [folder / name for name in (CONFIG, DATA) if (folder / name).is_file()]
    return {str(path.relative_to(folder)): digest_of(path) for path in sorted(found)}


DEPENDS: dict[str, Callable[[Run], Any]] = {
    "check": lambda run: None,
    "regrid": _regrid,
    "stats": _stats,
    "pretrain": _pretrain,
    "finetune": _finetune,
    "predict": _predict,
    "mosaic": _mosaic,
    "publish": _publish,
    "score": _score,
    "report": _report,
}
"""Functions that return the settings of each stage as plain values."""
