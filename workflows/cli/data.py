"""Commands on data: catalogs, the check of all input, cubes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from workflows.cli.completion import complete_catalog
from workflows.cli.options import (
    Cluster,
    Config,
    DryRun,
    Json,
    Part,
    Resume,
    Settings,
    add_stage,
    examples,
    open_run,
    run_one_stage,
    separated,
)
from workflows.console import CONSOLE, OUTPUT, REPORT, print_json

PANEL = "Data"
app = typer.Typer()
catalog_app = typer.Typer(no_args_is_help=True)

CATALOG_HELP = "Catalog file, or name of a packaged one such as quickstart.yml or era5_land."
Catalog = Annotated[str, typer.Argument(help=CATALOG_HELP, autocompletion=complete_catalog)]
Catalogs = Annotated[list[str], typer.Argument(help=CATALOG_HELP, autocompletion=complete_catalog)]
Data = Annotated[Path, typer.Option(help="Data folder.", envvar="STEFALAND_DATA")]
DATA = Path("data/registry")
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="Module beside the catalog that adds readers. May be repeated."),
]


@catalog_app.command("list", epilog=examples("stefaland catalog list quickstart.yml"))
def catalog_list(
    catalogs: Catalogs, data: Data = DATA, plugins: Plugins = None, as_json: Json = False
) -> None:
    """List the sources of catalogs with driver, variables, method and licence."""
    from workflows.commands.data.catalog import listed_sources, print_sources

    sources = listed_sources(catalogs, data, plugins or ())
    if as_json:
        print_json({"sources": sources})
    else:
        print_sources(sources)


@catalog_app.command(
    "search", epilog=examples("stefaland catalog search precipitation United States")
)
def catalog_search(
    text: Annotated[
        list[str] | None,
        typer.Argument(help="Words that describe the data; without any, all products are listed."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Search the packaged products by title, variables, keywords and notes, the best first."""
    from workflows.commands.data.products import found_products, print_products

    words = " ".join(text or ())
    products = found_products(words)
    if as_json:
        print_json({"products": products})
    else:
        print_products(products, words)


@catalog_app.command(
    "show",
    epilog=examples(
        "stefaland catalog show era5_land", "stefaland catalog show quickstart.yml koppen"
    ),
)
def catalog_show(
    catalog: Catalog,
    source: Annotated[
        str | None,
        typer.Argument(help="Name of a source in the catalog; by default its product is shown."),
    ] = None,
    data: Data = DATA,
    plugins: Plugins = None,
    picture: Annotated[
        Path | None,
        typer.Option("--map", help="PNG file for a map of the source at its middle time."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the entry of one source and what its files hold, or the description of a product."""
    from workflows.commands.data.catalog import (
        find_source,
        inspect_files,
        print_contents,
        print_entry,
        source_document,
    )
    from workflows.commands.data.products import print_product, product_document

    if source is None:
        document = product_document(catalog, data)
        print_json(document) if as_json else print_product(document)
        return
    entry = find_source(catalog, source, data, plugins or ())
    if as_json:
        print_json(source_document(entry, inspect_files(entry)))
    else:
        print_entry(entry)
        print_contents(inspect_files(entry))
    if picture is not None:
        from workflows.commands.data.source_map import draw_source

        CONSOLE.print(f"{draw_source(entry, picture)}: {picture}")


@catalog_app.command("check", epilog=examples("stefaland catalog check quickstart.yml"))
def catalog_check(
    catalogs: Catalogs, data: Data = DATA, plugins: Plugins = None, as_json: Json = False
) -> None:
    """Compare the files of every source with its entry and report all faults together."""
    from workflows.commands.data.catalog import check_sources
    from workflows.inputs.value_table import value_rows, value_table

    found = check_sources(catalogs, data, plugins or ())
    infos = [info for info in found.values() if info is not None]
    texts = [f"{info.name}: {note}" for info in infos for note in info.notes]
    values = value_rows(infos)
    if as_json:
        print_json({"sources": len(found), "faults": [], "notes": texts, "values": values})
    else:
        OUTPUT.print(value_table(values))
        for text in texts:
            OUTPUT.plain(text)
        OUTPUT.plain(f"{len(found)} sources agree with their files")


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "stefaland fetch era5_land --period 2015-01 2015-03 --bounds -90 30 -70 45 --dry-run",
        "stefaland fetch chirps --period 2010 2012 --into /data",
    ),
)
def fetch(
    source: Annotated[
        str,
        typer.Argument(help="Source of a product, such as era5_land (stefaland catalog search)."),
    ],
    period: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="FIRST LAST", help="First and last day, month or year."),
    ] = None,
    bounds: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="W S E N", help="West, south, east and north, degrees."),
    ] = None,
    variables: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B,C", help="Canonical variables; by default all of the source."),
    ] = None,
    into: Annotated[
        Path,
        typer.Option(
            help="Data folder: files of a product get a folder in it.", envvar="STEFALAND_DATA"
        ),
    ] = DATA,
    catalog: Annotated[
        str | None,
        typer.Option(help="Catalog file of a product of your own that has the source."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List files, bytes, licence and credentials only.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Fetch files again that the provider has changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fetch the files of a product from its provider; the same command goes on after a stop.

    Data that a person must request are an error that lists the steps to take.
    """
    from workflows.commands.data.fetch import fetch_source, print_fetched, print_preview

    found = fetch_source(
        source, period, bounds, separated(variables), into, catalog, dry_run, update
    )  # fmt: skip
    if as_json:
        print_json(found)
    elif dry_run:
        print_preview(found)
    else:
        print_fetched(found)


@app.command(rich_help_panel=PANEL, epilog=examples("stefaland check quickstart"))
def check(
    config: Config,
    settings: Settings = None,
    dry_run: DryRun = False,
    resume: Resume = True,
    part: Part = "1/1",
    cluster: Cluster = None,
    all_files: Annotated[
        bool,
        typer.Option("--all-files", help="Look at each file of long series, not only a sample."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check config, catalog, data files and folders, and report all faults together."""
    from workflows.inputs.value_table import value_table
    from workflows.run import used_sources
    from workflows.stages.order import checked

    run = replace(open_run(config, settings, cluster, resume, part), all_files=all_files)
    if dry_run:
        run_one_stage(run, "check", dry_run)
    found = {"notes": [], "values": []} if dry_run else checked(run)
    notes, values = found["notes"], found["values"]
    if as_json:
        folder, count = str(run.folder), len(used_sources(run))
        document = {"run": run.config.name, "folder": folder, "sources": count, "faults": []}
        print_json({**document, "notes": notes, "values": values})
    elif not dry_run:
        CONSOLE.print(value_table(values))


add_stage(
    app, "regrid", PANEL, "Bring every source onto the target grids, as cubes.",
    "stefaland regrid quickstart --part 2/8",
)  # fmt: skip


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "stefaland verify runs/quickstart --repair",
        "stefaland verify runs/quickstart/cubes/global.zarr --repair",
    ),
)
def verify(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="Run folder, config of a run, or a cube below cubes/ or predictions/ of a run.",
        ),
    ],
    repair: Annotated[
        bool, typer.Option("--repair", help="Let the next run make again what is damaged.")
    ] = False,
) -> None:
    """Check every file of a run, or of one of its cubes, for what was lost or changed.

    Files and shards that are missing or have other bytes than were written, and in a cube values
    out of range, are listed; the exit code is then 1.
    """
    from workflows.commands.verify import run_folder, verify, verify_run

    folder = run_folder(path)
    if folder is not None:
        lines, notes = verify_run(folder, repair)
        for note in notes:
            REPORT.plain(note)
        repaired = "the next run makes these again" if repair and lines else ""
    else:
        notes = []
        problems, names = verify(Path(path), repair)
        lines = [str(problem) for problem in problems]
        repaired = f"{len(names)} tiles or files will be rewritten by the next run: " \
            f"{', '.join(names)}" if names else ""  # fmt: skip
    for line in (*lines, *([repaired] if repaired else [])):
        OUTPUT.plain(line)
    if lines:
        raise typer.Exit(1)
    OUTPUT.plain(f"{path}: {'what is sealed is sound' if notes else 'sound'}")
