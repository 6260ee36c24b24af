"""What the shell offers on Tab: packaged names, and files beside them."""

from __future__ import annotations

from glob import glob
from importlib import resources
from pathlib import Path

STAGES = (
    "check", "regrid", "stats", "pretrain", "finetune", "predict", "mosaic", "publish", "score",
    "report",
)  # fmt: skip
"""The stages in order, known here without the imports that they need."""


def _yaml_files(incomplete: str) -> list[str]:
    """Folders and YAML files whose path begins so."""
    paths = [Path(name) for name in sorted(glob(f"{incomplete}*"))]
    return [
        f"{path}/" if path.is_dir() else str(path)
        for path in paths
        if path.is_dir() or path.suffix in (".yml", ".yaml")
    ]


def _packaged(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.yml"))


def complete_config(incomplete: str) -> list[str]:
    """Names of packaged configs, and config files."""
    folder = Path(str(resources.files("workflows"))) / "configs"
    names = [path.stem for path in _packaged(folder) if path.stem.startswith(incomplete)]
    return [*names, *_yaml_files(incomplete)]


def complete_catalog(incomplete: str) -> list[str]:
    """Names of packaged catalogs, and catalog files."""
    folder = Path(str(resources.files("catalogs")))
    names = [path.name for path in _packaged(folder) if path.name.startswith(incomplete)]
    return [*names, *_yaml_files(incomplete)]


def complete_stage(incomplete: str) -> list[str]:
    """Names of stages."""
    return [name for name in STAGES if name.startswith(incomplete)]


def complete_cluster(incomplete: str) -> list[str]:
    """Kinds of cluster."""
    return [kind for kind in ("none", "local", "slurm") if kind.startswith(incomplete)]
