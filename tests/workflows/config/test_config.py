"""Run settings: layering, overrides, environment, and one clear error for all that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.core.errors import Faults, InputError
from pipeline.core.settings import read_mapping
from stefaland.baselines.registry import BASELINES
from stefaland.baselines.settings_read import reads
from tests.workflows.tiny import write_tiny
from workflows.config import named_splits as splits_file
from workflows.config.finetuning import FinetuneSettings
from workflows.config.load import find_config, load_config
from workflows.config.named_splits import named_split, named_splits
from workflows.config.schema import FoldSettings
from workflows.stages import check
from workflows.stages.finetune import check_names

CONFIGS = sorted((Path(__file__).parents[3] / "workflows" / "configs").glob("*.yml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_loads(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_a_packaged_config_is_found_by_name() -> None:
    assert find_config("quickstart").name == "quickstart.yml"


def test_set_overrides_nested_keys_and_keeps_the_rest() -> None:
    config = load_config("quickstart", ["pretrain.epochs=3", "pretrain.optimiser.lr=1e-3"])
    assert config.pretrain.epochs == 3
    assert config.pretrain.optimiser.lr == pytest.approx(1e-3)
    assert config.finetune.epochs == load_config("quickstart").finetune.epochs


def test_extends_merges_sections(tmp_path: Path) -> None:
    base = CONFIGS[0].parent / "quickstart.yml"
    child = tmp_path / "child.yml"
    child.write_text(f"extends: {base}\nname: child\npretrain: {{epochs: 2}}\n")
    config = load_config(child)
    assert (config.name, config.pretrain.epochs) == ("child", 2)
    assert config.pretrain.window == 12


def test_environment_variables_fill_roots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEFALAND_RUNS", str(tmp_path))
    assert load_config("quickstart").folder == tmp_path / "quickstart"


def test_all_faults_are_reported_together_with_hints() -> None:
    with pytest.raises(InputError) as caught:
        load_config(
            "quickstart",
            ["pretrain.epoch=3", "finetune.batch_size=-1", "inputs.targte=x", "seed=many"],
        )
    text = str(caught.value)
    assert len(caught.value.faults) == 4
    assert 'pretrain.epoch: found an unknown key' in text  # fmt: skip
    assert 'Did you mean "epochs"?' in text
    assert 'Did you mean "target"?' in text
    assert "finetune.batch_size: found -1" in text
    assert "seed: found 'many'" in text


def test_an_unknown_cube_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r'no cube "globl"\. Did you mean "global"'):
        load_config("quickstart", ["pretrain.cube=globl"])


def test_a_missing_environment_variable_is_reported_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "run.yml"
    path.write_text(f"extends: {CONFIGS[0].parent / 'quickstart.yml'}\ntitle: ${{NO_SUCH_NAME}}\n")
    with pytest.raises(InputError, match="export NO_SUCH_NAME"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x\n", "no aliases"),
        ("a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("- 1\n", "found list; expected a YAML mapping"),
        ("a: [1\n", "a YAML mapping"),
    ],
)
def test_unsafe_or_broken_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_mapping(path)


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"


def test_a_bomb_in_a_config_its_parent_or_the_splits_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "splits.yml").write_text(BOMB)
    (tmp_path / "child.yml").write_text("extends: splits.yml\n")
    monkeypatch.setattr(splits_file.catalogs, "__file__", str(tmp_path / "__init__.py"))
    for read in (
        lambda: load_config(tmp_path / "splits.yml"),
        lambda: load_config(tmp_path / "child.yml"),
        named_splits.__wrapped__,
    ):
        with pytest.raises(InputError, match=r"splits\.yml, line 2: found the alias \*a"):
            read()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "more than 40 levels"),
        ("[&a [x], *a]", "no aliases"),
        ("{epochs: 1, epochs: 2}", 'the duplicate key "epochs"'),
        ("1" + ":1" * 30_000, "a number or date of 60001 characters"),
    ],
)
def test_an_unsafe_value_of_the_command_line_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"--set pretrain, line 1: found .*{message}"):
        load_config("quickstart", [f"pretrain={text}"])


@pytest.mark.parametrize("text", ["[draft] map", "50 % of it: {", "2001-02-30", "@home"])
def test_a_value_that_is_no_yaml_is_a_text(text: str) -> None:
    assert load_config("quickstart", [f"title={text}"]).title == text


def test_a_name_that_is_not_set_is_reported_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "run.yml"
    path.write_text(
        "extends: quickstart\nroots: {data: '${NO_SUCH_NAME}', runs: '${NONE:-here}'}\n"
    )
    with pytest.raises(InputError) as caught:
        load_config(path)
    (fault,) = caught.value.faults
    assert fault.where == f"{path}: roots.data"


def test_a_config_that_extends_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "loop.yml"
    path.write_text("extends: loop.yml\n")
    with pytest.raises(InputError, match="extends itself"):
        load_config(path)


@pytest.mark.parametrize("name", ["quickstart", "quickstart.yml"])
def test_a_config_anywhere_extends_a_packaged_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / "my.yml"
    path.write_text(f"extends: {name}\nname: mine\n")
    assert load_config(path).title == load_config("quickstart").title
    (tmp_path / "quickstart.yml").write_text("extends: quickstart\ntitle: the one beside\n")
    beside = load_config(path).title == "the one beside"
    assert beside == (name == "quickstart.yml")


def test_a_missing_parent_config_is_reported_with_the_folders_searched(tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text("extends: quickstrat.yml\n")
    with pytest.raises(InputError, match='Did you mean "quickstart"') as caught:
        load_config(path)
    assert f"no such file in {tmp_path} and no packaged config" in str(caught.value)


def test_a_config_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my.yml").write_bytes("title: Niño".encode("latin-1"))
    with pytest.raises(InputError, match="utf-8"):
        load_config(tmp_path / "my.yml")


def test_a_misspelt_config_name_is_hinted() -> None:
    with pytest.raises(InputError, match='Did you mean "quickstart"'):
        find_config("quickstrat.yml")


def test_percentiles_of_a_product_are_a_list(tmp_path: Path) -> None:
    def aggregate(value: str) -> str:
        child = tmp_path / "child.yml"
        product = f"{{cube: global, suffix: low, aggregate: {value}}}"
        child.write_text(
            f"extends: {CONFIGS[0].parent / 'quickstart.yml'}\npublish: {{products: [{product}]}}\n"
        )
        return load_config(child).publish.products[0].aggregate

    assert aggregate("[p10, p50, p90]") == aggregate('"p10,p50,p90"') == "p10,p50,p90"
    assert aggregate("[p10]") == "p10"
    with pytest.raises(InputError, match="in order"):
        aggregate("[p90, p10]")
    with pytest.raises(InputError, match="percentiles"):
        aggregate("[p10, mean]")


def test_a_named_split_stands_for_its_settings_and_gives_way_to_others() -> None:
    folds = load_config("conus_smap").folds
    assert (folds.kind, folds.k, folds.seed, folds.min_cells) == ("groups", 5, 3, 20)
    swapped = load_config("conus_smap", ["folds.split=pur", "folds.k=4"]).folds
    assert (swapped.kind, swapped.k, swapped.block_deg, swapped.seed) == ("blocks", 4, 10, 3)
    assert not hasattr(swapped, "split")
    whole = load_config("conus_smap", ["folds={split: blocks, k: 2}"]).folds
    assert (whole.kind, whole.k, whole.buffer_km) == ("blocks", 2, 100)


def test_settings_of_a_named_split_can_be_replaced_one_by_one() -> None:
    regions = load_config(
        "quickstart", ["folds.regions.folds={east: [Asia], west: [Europe]}"]
    ).folds.regions
    assert (regions.source, regions.column) == ("continents", "continent")
    assert regions.folds == {"east": ("Asia",), "west": ("Europe",)}
    assert len(load_config("quickstart").folds.regions.folds) == 3


@pytest.mark.parametrize("name", sorted(named_splits()))
def test_every_named_split_is_valid_settings(name: str) -> None:
    periods = {
        "train_period": ("2001-01-01", "2001-12-31"),
        "validation_period": ("2002-01-01", "2002-12-31"),
        "test_period": ("2003-01-01", "2003-12-31"),
    }
    settings = {**named_split(name, Path("config.yml")), **periods}
    assert FoldSettings.model_validate(settings).kind == named_splits()[name]["kind"]


def test_an_unknown_split_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r'folds.split.*"purr".*pub, pur, .*Did you mean "pur"'):
        load_config("conus_smap", ["folds.split=purr"])


def test_settings_are_written_with_their_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_tiny(tmp_path)
    text = config.read_text().replace("A run of a few cells", "Cells of ${WHO}, ${NOT_SET:-all}")
    text = text.replace("cluster: {kind: none}", "cluster: {kind: none, slurm: {queue: '${WHO}'}}")
    config.write_text(f"{text}\nseed: ${{SEED:-3}}\n")
    monkeypatch.setenv("WHO", "a")
    by_default = load_config(config)
    assert by_default.title == "Cells of ${WHO}, all"
    assert by_default.cluster.slurm.queue == "a"
    assert by_default.written()["seed"] == by_default.seed == 3
    monkeypatch.setenv("SEED", "7")
    found = load_config(config)
    written = found.written()
    assert (found.seed, written["seed"]) == (7, "${SEED}")
    assert written["cluster"]["slurm"]["queue"] == "${WHO}"
    assert written["name"] == "tiny"
    monkeypatch.delenv("WHO")
    with pytest.raises(InputError, match="export WHO="):
        load_config(config)
    plain = load_config(write_tiny(tmp_path))
    assert plain.written() == plain.model_dump(mode="json")


def test_stacks_are_of_several_models_of_the_run() -> None:
    lists = FinetuneSettings(cube="c", baselines=("ridge", "lstm"), stack=["stefaland", "ridge"])
    assert lists.models == ["stefaland", "ridge", "lstm", "stack"]
    assert lists.stack == {"stack": ("stefaland", "ridge")}
    assert "stack" not in FinetuneSettings(cube="c").model_dump()
    for stack, message in (
        (["stefaland", "rigde"], 'Did you mean "?ridge'), (["ridge"], "several models"),
        ({"ridge": ["stefaland", "lstm"]}, "name of a model"), (["lstm", "lstm"], "several"),
        ({"a": ["ridge", "lstm"], "b": ["a", "lstm"]}, 'stack "b": "a", not among'),
        ({"../a": ["ridge", "lstm"]}, "stack"),
    ):  # fmt: skip
        with pytest.raises(ValidationError, match=message):
            FinetuneSettings(cube="c", baselines=("ridge", "lstm"), stack=stack)


def test_settings_of_the_network_are_finite() -> None:
    with pytest.raises(InputError, match="dropout: no finite number"):
        load_config("quickstart", ["model.settings={dropout: .nan}"])


def test_an_unknown_cube_for_a_target_of_sites_is_named() -> None:
    with pytest.raises(InputError, match='no cube "conas"'):
        load_config("landslide", ["finetune.cube=conas"])


OF = "finetune.of={lstm: {optimiser: {lr: 0.01}, baseline_dropout: 0.2}}"
OWN = {"adapter": "gated", "unfreeze": 1, "dropout": 0.1, "baseline_dropout": 0.1, "steps": 9,
       "optimiser": {"lr": 0.01}, "lstm": {"hidden": 9}, "trees": {"leaves": 9}}  # fmt: skip
OF_FOLDS = "finetune.of_folds={b: {lstm: {steps: 7}}}"


def test_settings_of_one_model_change_it_alone_and_those_of_a_fold_lie_on_top() -> None:
    plain = load_config("quickstart").finetune
    settings = load_config("quickstart", [OF, OF_FOLDS]).finetune
    assert settings.recipe(3) == settings.recipe(3, "scratch", "b") == plain.recipe(3)
    lstm = settings.recipe(3, "lstm", "a")
    changed = {"lr": 0.01, "schedule": plain.optimiser.schedule}
    assert {name: getattr(lstm.optimiser, name) for name in changed} == changed
    assert (lstm.seed, lstm.baseline_dropout, lstm.steps) == (3, 0.2, plain.steps)
    assert settings.recipe(3, "lstm", "b") == lstm.model_copy(update={"steps": 7})
    assert not {"of", "of_folds", "trees", "baseline_dropout"} & {*plain.model_dump()}


def test_settings_of_one_model_that_do_not_fit_are_refused_together() -> None:
    wrong = "finetune.of={lstm: {optimiser: {lrr: 1}}, scratch: {window: 9}, stefaland: {steps: 0}}"
    with pytest.raises(InputError) as caught:
        load_config("quickstart", [wrong])
    for text in ("of.lstm.optimiser.lrr: an unknown key", "of.scratch.window: a setting of all",
                 "of.stefaland.steps: 0"):  # fmt: skip
        assert text in str(caught.value)
    settings = load_config("quickstart", ["finetune.of={lstn: {}}", OF_FOLDS]).finetune
    with pytest.raises(InputError) as caught:
        check_names(settings, ["a"])
    assert [fault.where for fault in caught.value.faults] == ["finetune.of.lstn",
                                                              "finetune.of_folds.b"]  # fmt: skip
    assert 'Did you mean "lstm"' in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("of={ridge: {steps: 9}}", "of.ridge.steps: a setting that ridge does not read"),
        ("of={lstm: {adapter: gated}}", "of.lstm.adapter: a setting that lstm does not read"),
        ("of={stefaland: {lstm: {hidden: 9}}}", "of.stefaland.lstm: a setting that stefaland does"),
        ("of_folds={b: {gradient_boosting: {dropout: 0.1, trees: {leaves: 9}}}}",
         "of_folds.b.gradient_boosting.dropout: a setting that gradient_boosting does not read; it "
         "reads trees, missing_share"),
    ],
)  # fmt: skip
def test_settings_that_a_model_does_not_read_are_refused_with_those_that_it_does(
    changes: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        load_config("quickstart", [f"finetune.{changes}"])
    assert message in str(caught.value)


def test_what_a_search_chooses_of_a_model_is_accepted() -> None:
    models = {model: {name: value for name, value in OWN.items() if reads(model, name)}
              for model in ("stefaland", *BASELINES.names(), "one_of_a_plugin")}  # fmt: skip
    assert FinetuneSettings(cube="c", of=models).of == models
    assert [*models["ridge"]] == []
    assert {*models["one_of_a_plugin"]} == {*OWN}


def test_an_adapter_of_one_model_is_known_before_it_is_trained(tmp_path: Path) -> None:
    settings = load_config("quickstart", ["finetune.of={stefaland: {adapter: gatd}}"]).finetune
    faults = Faults()
    check._models(settings, settings.window, "stefaland-tiny", faults)
    assert [fault.where for fault in faults.faults] == ["finetune.of.stefaland.adapter"]


def test_a_config_extends_several_and_the_last_one_wins(tmp_path: Path) -> None:
    (tmp_path / "chosen.yml").write_text("finetune: {of: {lstm: {steps: 9}}, dropout: 0.3}\n")
    child = tmp_path / "child.yml"
    child.write_text("extends: [quickstart, chosen.yml]\nfinetune: {dropout: 0.1}\n")
    settings = load_config(child).finetune
    assert (settings.of["lstm"], settings.dropout) == ({"steps": 9}, 0.1)
    assert settings.baselines == load_config("quickstart").finetune.baselines
