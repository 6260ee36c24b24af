"""`--json`: one document on standard output, as docs/json.md describes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.cube.cost import PROCESS_BYTES
from pipeline.execution.ledger import Ledger
from tests.conftest import ROOT
from tests.cubes import fill_tile, make_cube
from tests.tutorial_data import Truth
from tests.workflows.commands.test_compare import heldout, save
from tests.workflows.tiny import write_tiny
from workflows.cli import main
from workflows.commands import plan, status
from workflows.stages import order

DOCUMENT = (ROOT / "docs" / "json.md").read_text()
SCHEMAS = {
    heading.strip("`"): yaml.safe_load(schema)
    for heading, schema in re.findall(r"^### (.+?)\n.*?```yaml\n(.+?)```", DOCUMENT, re.M | re.S)
}
FAULTS = SCHEMAS["Bad input, of every command"]


@pytest.fixture
def config(tmp_path: Path) -> str:
    return str(write_tiny(tmp_path))


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]):
    """Run a command line; returns the one document on standard output and the exit code."""

    def run(*arguments: str) -> tuple[Any, int]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([*arguments, "--json"])
        return json.loads(capsys.readouterr().out), int(stopped.value.code or 0)

    return run


def agree(document: Any, heading: str) -> None:
    """Compare a document with the schema of its command."""
    schema = SCHEMAS[heading]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)


def test_no_description_was_cut_at_a_comma() -> None:
    assert "null" not in [line.split(": ")[-1] for line in yaml.safe_dump(SCHEMAS).splitlines()]


def test_every_command_with_json_is_documented() -> None:
    from tests.workflows.cli.test_examples import COMMANDS

    able = {name for name, it in COMMANDS.items() if any("--json" in p.opts for p in it.params)}
    headings = [re.sub(r"^stefaland | [A-Z-].*$", "", head) for head in SCHEMAS]
    assert {head.split(" --")[0] for head in headings if "Bad" not in head} == able


def test_catalogs(config: str, printed: Any) -> None:
    folder = Path(config).parent
    where = (str(folder / "catalog.yml"), "--data", str(folder))
    listed, code = printed("catalog", "list", *where)
    agree(listed, "stefaland catalog list CATALOG --json")
    assert code == 0
    assert [source["name"] for source in listed["sources"]] == ["height", "moisture", "rain"]
    shown, _ = printed("catalog", "show", where[0], "rain", *where[1:])
    agree(shown, "stefaland catalog show CATALOG SOURCE --json")
    assert shown["files"]["bounds"] == [-180, -80, 180, 80]
    checked, _ = printed("catalog", "check", *where)
    agree(checked, "stefaland catalog check CATALOG --json")
    values = checked.pop("values")
    assert checked == {"sources": 3, "faults": [], "notes": []}
    (rain,) = (row for row in values if row["variable"] == "precipitation")
    assert (rain["units"], rain["missing"], rain["checked"]) == ("mm/day", 0, 1)
    assert 0 <= rain["least"] < rain["mean"] < rain["greatest"] <= 8


def test_drafts(
    tutorial: tuple[Path, Truth], tmp_path: Path, printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = str(tutorial[0])
    dem, stations = f"{data}/dem.tif", f"{data}/stations.csv"
    added, code = printed("catalog", "add", dem, stations, "--data", data)
    agree(added, "stefaland catalog add FILES --json")
    assert code == 0
    assert [source["name"] for source in added["sources"]] == ["dem", "stations"]
    again, code = printed("catalog", "add", dem, "--data", data)
    agree(again, "Bad input, of every command")
    assert code == 2
    grid, _ = printed("grid", "add", "alps", "--crs", "EPSG:3035", "--bounds", "10", "46", "12",
                      "48", "--degrees", "--resolution", "5000")  # fmt: skip
    agree(grid, "stefaland grid add NAME --json")
    assert grid["shape"] == [46, 32]
    Path("catalog.yml").unlink()
    started, code = printed("init", "run", "--data", data, "--grid", "alps")
    agree(started, "stefaland init NAME --json")
    assert code == 0
    assert started["left_out"] == []


def test_products(printed: Any) -> None:
    found, code = printed("catalog", "search", "chirps")
    agree(found, "stefaland catalog search TEXT --json")
    assert code == 0
    assert found["products"][0]["name"] == "chirps"
    assert found["products"][0]["period"] == ["1981-01-01", None]
    shown, _ = printed("catalog", "show", "chirps")
    agree(shown, "stefaland catalog show CATALOG --json")
    assert shown["product"]["get"]["chirps"]["kind"] == "http"


def test_check(config: str, printed: Any) -> None:
    document, code = printed("check", config)
    agree(document, "stefaland check CONFIG --json")
    assert (document["run"], document["sources"], code) == ("tiny", 3, 0)


def test_plan(config: str, printed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    document, code = printed("plan", config)
    agree(document, "stefaland plan CONFIG --json")
    assert code == 0
    assert document["faults"] == []
    assert document["cubes"][0]["tiles"] == 6
    dry, _ = printed("score", config, "--dry-run")
    agree(dry, "stefaland plan CONFIG --json")
    assert [stage["name"] for stage in dry["stages"]] == ["score"]
    monkeypatch.setattr(plan, "worker_memory", lambda cluster: PROCESS_BYTES)
    large, code = printed("plan", config)
    assert code == 2
    agree(large, "stefaland plan CONFIG --json")
    jsonschema.validate(large, FAULTS)
    assert large["faults"][0]["where"] == "cubes.globe"


def test_status(tmp_path: Path, printed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    markers, folder = tmp_path / ".stages", tmp_path / "pretrained" / "europe"
    markers.mkdir()
    finished = {"seconds": 3.5, "peak_bytes": 10, "outputs": []}
    (markers / "stats.finished.json").write_text(json.dumps(finished))
    (markers / "regrid.started.json").write_text("{}")
    made = make_cube(tmp_path / "cubes" / "a.zarr", (10, 10))
    ledger = Ledger(tmp_path / "ledger" / "regrid-a", "f").open()
    first, second = made.tiles[:2]
    ledger.mark(first.name, fill_tile(tmp_path / "cubes" / "a.zarr", first))
    ledger.failed(second.name, "no disk", "")
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text('{"epoch": 3, "loss": NaN}\n{"epo')
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "jobs.json").write_text('{"regrid": "17"}')
    monkeypatch.setattr(status, "job_states", lambda ids: {"17": "3 RUNNING"})
    document, code = printed("status", str(tmp_path))
    agree(document, "stefaland status FOLDER --json")
    assert code == 0
    states = {stage["name"]: stage for stage in document["stages"]}
    assert states["stats"]["seconds"] == 3.5
    assert states["regrid"]["state"] == "begun"
    (cube,) = states["regrid"]["cubes"]
    assert (cube["done"], cube["failed"], cube["last_error"]) == (1, 1, "no disk")
    assert cube["missing"] == len(made.tiles) - 1
    assert document["trainings"][0] | {"seconds_ago": 0} == {
        "folder": "pretrained/europe", "epoch": 3, "loss": None, "seconds_ago": 0
    }  # fmt: skip
    assert document["jobs"] == [{"name": "regrid", "id": "17", "state": "3 RUNNING"}]


@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")
def test_comparison(tmp_path: Path, printed: Any) -> None:
    run = save(heldout(), tmp_path / "run")
    document, code = printed("score", "--compare", run, f"{run}:lstm", "--scores", "NSE,KGE")
    agree(document, "stefaland score --compare RUN_A RUN_B --json")
    assert code == 0
    assert {row["score"] for row in document["rows"]} == {"NSE", "KGE"}
    written = json.loads(Path(document["files"][0]).read_text())
    assert written["rows"] == document["rows"]
    repeated, _ = printed(
        "score", "--compare", run, f"{run}:lstm", "--scores", "NSE", "--scores", "KGE"
    )
    assert repeated["rows"] == document["rows"]


def test_scorecard(config: str, printed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(config).parent / "runs" / "tiny" / "scorecard.json"
    card = {"target": "soil_moisture", "sites": 3, "models": {"ridge": {}}, "ranking": ["ridge"]}

    def score(run: Any, name: str, upgrade: bool) -> None:
        assert name == "score"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(card))

    monkeypatch.setattr(order, "run_stage_by_name", score)
    document, _ = printed("score", config)
    agree(document, "stefaland score CONFIG --json")
    assert document == {"file": str(file), "scorecard": card}


def test_doctor(printed: Any) -> None:
    document, code = printed("doctor")
    agree(document, "stefaland doctor --json")
    assert code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "CONFIG", "--set", "pretrain.epoks=3"),
        ("plan", "quikstart"),
        ("status", "nowhere"),
        ("catalog", "show", "quickstart.yml", "kopen"),
        ("score", "--compare", "nowhere", "nowhere"),
        ("doctor", "-v", "-q"),
    ],
)
def test_bad_input_is_a_document_of_faults(
    arguments: tuple[str, ...], config: str, printed: Any
) -> None:
    document, code = printed(*(config if word == "CONFIG" else word for word in arguments))
    assert code == 2
    jsonschema.validate(document, FAULTS)
