"""Shell completion: packaged names, and matching files."""

from __future__ import annotations

from glob import glob
from importlib import resources
from pathlib import Path

from pipeline.core.packaged import packaged_products

STAGES = (
    "check", "regrid", "stats", "pretrain", "finetune", "predict", "mosaic", "publish", "score",
    "report",
)  # fmt: skip
"""Stage names in order, repeated here so that completion imports no stage."""


def _yaml_files(incomplete: str) -> list[str]:
    """Folders and YAML files whose path begins with `incomplete`."""
    paths = [Path(name) for name in sorted(glob(f"{incomplete}*"))]
    return [
        f"{path}/" if path.is_dir() else str(path)
        for path in paths
        if path.is_dir() or path.suffix in (".yml", ".yaml")
    ]


def _packaged(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.yml"))


def complete_config(incomplete: str) -> list[str]:
    """Names of packaged configs, and config files, that begin with `incomplete`."""
    folder = Path(str(resources.files("workflows"))) / "configs"
    names = [path.stem for path in _packaged(folder) if path.stem.startswith(incomplete)]
    return [*names, *_yaml_files(incomplete)]


def complete_table(incomplete: str) -> list[str]:
    """Names of tables of the paper that begin with `incomplete`."""
    from workflows.config.paper_tables import paper_tables

    return [name for name in paper_tables().tables if name.startswith(incomplete)]


def complete_catalog(incomplete: str) -> list[str]:
    """Names of packaged catalogs, and catalog files, that begin with `incomplete`."""
    folder = Path(str(resources.files("catalogs")))
    known = [*(path.name for path in _packaged(folder)), *packaged_products()]
    names = [name for name in known if name.startswith(incomplete)]
    return [*names, *_yaml_files(incomplete)]


def complete_stage(incomplete: str) -> list[str]:
    """Stage names that begin with `incomplete`."""
    return [name for name in STAGES if name.startswith(incomplete)]


def complete_cluster(incomplete: str) -> list[str]:
    """Kinds of cluster that begin with `incomplete`."""
    return [kind for kind in ("none", "local", "slurm") if kind.startswith(incomplete)]
