"""Commands on scores: held-out sites, the comparison of two runs, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.core.errors import bad_input
from pipeline.core.files import read_json
from workflows.cli.completion import complete_config
from workflows.cli.options import (
    Cluster,
    DryRun,
    Json,
    Part,
    Resume,
    Settings,
    Upgrade,
    add_stage,
    examples,
    open_run,
    run_one_stage,
    separated,
    show_plan,
)
from workflows.console import print_json

PANEL = "Scores"
app = typer.Typer()


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "stefaland score quickstart",
        "stefaland score --compare runs/quickstart runs/quickstart:lstm --scores NSE,KGE",
    ),
)
def score(
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG",
            help="Config file, or name of a packaged config.",
            autocompletion=complete_config,
        ),
    ] = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    resume: Resume = True,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="RUN RUN",
            help="Two finished runs to compare instead of CONFIG: folders, or FOLDER:MODEL.",
        ),
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B,C", help="Scores to compare.", show_default="NSE,KGE,RMSE"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the comparison; by default a new one in the folder of the first run."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap draws.")] = 0,
    part: Part = "1/1",
    cluster: Cluster = None,
    upgrade: Upgrade = False,
    as_json: Json = False,
) -> None:
    """Score all models on held-out sites, or compare two finished runs."""
    if (config is None) == (compare is None):
        raise bad_input("score", "both or neither", "either a CONFIG or --compare RUN_A RUN_B")
    if compare is not None:
        from workflows.commands.compare import compare_runs

        names = separated(scores or ["NSE,KGE,RMSE"])
        compare_runs(compare, names, out, seed, as_json)
    elif config is not None:
        run = open_run(config, settings, cluster, resume, part)
        if dry_run:
            show_plan(run, "score", "score", as_json)
            return
        run_one_stage(run, "score", dry_run, upgrade)
        if as_json:
            file = run.folder / "scorecard.json"
            print_json({"file": str(file), "scorecard": read_json(file)})


add_stage(
    app, "report", PANEL, "Write report.html: maps, scores, checks and provenance in one file.",
    "stefaland report quickstart",
)  # fmt: skip
