"""Commands on scores: held-out sites, the comparison of two runs, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.core.errors import bad_input
from pipeline.core.files import read_json
from workflows.cli.completion import complete_config, complete_table
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
    target: Annotated[
        str | None,
        typer.Option(help="Target that is compared; by default the first of the runs."),
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
        compare_runs(compare, names, out, seed, as_json, target)
    elif config is not None:
        run = open_run(config, settings, cluster, resume, part)
        if dry_run:
            show_plan(run, "score", "score", as_json)
            return
        run_one_stage(run, "score", dry_run, upgrade)
        if as_json:
            file = run.folder / "scorecard.json"
            print_json({"file": str(file), "scorecard": read_json(file)})


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "stefaland reproduce --list", "stefaland reproduce camels_pub --data data/registry"
    ),
)
def reproduce(
    table: Annotated[
        str | None,
        typer.Argument(
            help="Table of arXiv 2509.17942, such as camels_pub.", autocompletion=complete_table
        ),
    ] = None,
    data: Annotated[
        Path, typer.Option(help="Folder with the table's data.", envvar="STEFALAND_DATA")
    ] = Path("data"),
    list_tables: Annotated[bool, typer.Option("--list", help="List the tables.")] = False,
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Repeat a table of the paper, and print our scores beside the paper's.

    What is missing in the data folder is one error, with where each file can be had.
    """
    from workflows.commands.reproduce import (
        listed_tables,
        print_reproduced,
        print_tables,
        reproduce,
    )

    if (table is None) != list_tables:
        raise bad_input("reproduce", "both or neither", "either a TABLE or --list")
    if table is None:
        tables = listed_tables()
        print_json({"tables": tables}) if as_json else print_tables(tables)
        return
    found = reproduce(table, data, settings or ())
    print_json(found) if as_json else print_reproduced(found)


add_stage(
    app, "report", PANEL, "Write report.html: maps, scores, checks and provenance in one file.",
    "stefaland report quickstart",
)  # fmt: skip
