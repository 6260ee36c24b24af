"""Commands on maps: predict every cell, mosaic the tiles, publish the maps."""

from __future__ import annotations

from typing import Annotated

import typer

from workflows.cli.options import (
    Cluster,
    Config,
    DryRun,
    Part,
    Resume,
    Settings,
    Upgrade,
    add_stage,
    examples,
    open_run,
    run_one_stage,
)
from workflows.console import OUTPUT

PANEL = "Maps"
app = typer.Typer()

add_stage(
    app, "predict", PANEL, "Predict every land cell of the grids of the maps.",
    "stefaland predict quickstart --part 1/4",
)  # fmt: skip
add_stage(
    app, "mosaic", PANEL, "Put predicted tiles together as maps on the grid of each product.",
    "stefaland mosaic quickstart",
)  # fmt: skip


@app.command(
    rich_help_panel=PANEL,
    epilog=examples("stefaland publish quickstart", "stefaland publish quickstart --verify"),
)
def publish(
    config: Config,
    settings: Settings = None,
    dry_run: DryRun = False,
    resume: Resume = True,
    verify: Annotated[
        bool, typer.Option("--verify", help="Reopen and compare what is published; write nothing.")
    ] = False,
    part: Part = "1/1",
    cluster: Cluster = None,
    upgrade: Upgrade = False,
) -> None:
    """Write GeoTIFFs, styles, previews, Zarr, STAC and a QGIS project, or verify them."""
    from workflows.stages.publish import verify_published

    run = open_run(config, settings, cluster, resume, part)
    if verify:
        count = verify_published(run)
        OUTPUT.plain(
            f"{count} maps, their styles, the STAC collection and the QGIS project are sound"
        )
    else:
        run_one_stage(run, "publish", dry_run, upgrade)
