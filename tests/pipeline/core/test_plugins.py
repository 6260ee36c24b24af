"""Registries: names, lazy imports, and parts that packages and modules beside a config add."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.core import plugins
from pipeline.core.errors import InputError
from pipeline.core.plugins import (
    NOT_REGISTERED,
    Registry,
    load_plugins,
    loaded_plugins,
    registered,
)

GROUP = "stefaland.test_parts"
PARTS: Registry[object] = Registry("part", GROUP)
"""The registry to which the plugins of these tests add their parts."""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Unload the plugins that a test has loaded."""
    monkeypatch.setattr(plugins, "_LOADED", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


def install(folder: Path, package: str, points: dict[str, str]) -> None:
    """Write the metadata of an installed package with entry points into a folder of `sys.path`."""
    info = folder / f"{package}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()


def refused(registry: Registry[object], name: str, where: str = "") -> str:
    with pytest.raises(InputError) as caught:
        registry.get(name, where)
    return str(caught.value)


def test_a_registered_part_is_found_and_an_unknown_one_gets_the_nearest_name() -> None:
    registry: Registry[object] = Registry("loss", GROUP)
    registry.register("quantile", 1)
    assert registry.get("quantile") == 1
    assert registry.names() == ["quantile"]
    text = refused(registry, "quantil", "finetune.loss")
    assert text.startswith('finetune.loss: found no loss "quantil"; expected one of quantile.')
    assert 'Did you mean "quantile"?' in text
    assert f"No installed package (entry points {GROUP}) and no plugin adds one." in text


def test_a_name_is_used_once() -> None:
    registry: Registry[object] = Registry("loss", GROUP, {"built": "math:pi"})
    value = object()
    registry.register("mine", value)
    registry.register("mine", value)
    for name in ("mine", "built"):
        with pytest.raises(InputError, match=f'a second loss "{name}"'):
            registry.register(name, object())


def test_built_in_parts_are_imported_when_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "heavy_part.py").write_text("PART = 7\n")
    sys.path.insert(0, str(tmp_path))
    registry: Registry[object] = Registry("part", GROUP, {"heavy": "heavy_part:PART"})
    assert registry.names() == ["heavy"]
    assert "heavy_part" not in sys.modules
    assert registry.get("heavy") == 7


def test_an_installed_package_adds_a_part_without_being_imported_before(tmp_path: Path) -> None:
    (tmp_path / "their_part.py").write_text("PART = 'theirs'\n")
    install(tmp_path, "their-package", {"theirs": "their_part:PART", "built": "their_part:PART"})
    registry: Registry[object] = Registry("part", GROUP, {"built": "math:pi"})
    assert registry.names() == ["built", "theirs"]
    assert "their_part" not in sys.modules
    assert registry.get("theirs") == "theirs"
    assert registry.get("built") == pytest.approx(3.14159, abs=1e-5)
    assert "Searched besides this package: the installed package their-package 1.2." in refused(
        registry, "other"
    )


def test_a_part_knows_the_module_that_added_it(tmp_path: Path) -> None:
    (tmp_path / "their_own_part.py").write_text("PART = 'theirs'\n")
    install(tmp_path, "their-own-package", {"theirs": "their_own_part:PART"})
    registry: Registry[object] = Registry("part", GROUP, {"built": "math:pi"})
    registry.register("mine", 1)
    exec("registry.register('own', 2)", {"registry": registry, "__name__": "stefaland.parts"})
    names = ("theirs", "mine", "own", "built")
    assert [registry.origin(name) for name in names] == ["their_own_part", __name__, "", ""]
    with pytest.raises(InputError, match='Did you mean "mine"'):
        registry.origin("mime")


def test_a_setting_names_a_part_or_the_error_lists_them() -> None:
    registry: Registry[object] = Registry("loss", GROUP)
    registry.register("quantile", 1)
    setting = TypeAdapter(Annotated[str, registered(registry)])
    assert setting.validate_python("quantile") == "quantile"
    with pytest.raises(ValidationError) as caught:
        setting.validate_python("quantil")
    (error,) = caught.value.errors()
    assert error["type"] == NOT_REGISTERED
    assert error["ctx"]["found"] == 'no loss "quantil"'
    assert error["ctx"]["hint"].startswith('Did you mean "quantile"?')


def test_a_name_that_two_packages_offer_is_refused(tmp_path: Path) -> None:
    for package in ("one-package", "two-package"):
        install(tmp_path, package, {"same": "math:pi"})
    text = refused(Registry("part", GROUP), "same")
    assert "one-package 1.2" in text
    assert "two-package 1.2" in text


def test_a_package_that_cannot_be_imported_harms_its_own_parts_alone(tmp_path: Path) -> None:
    (tmp_path / "broken_part.py").write_text("import nothing_of_this_name\n")
    install(tmp_path, "broken", {"bad": "broken_part:PART", "good": "math:pi"})
    registry: Registry[object] = Registry("part", GROUP)
    assert registry.get("good") == pytest.approx(3.14159, abs=1e-5)
    text = refused(registry, "bad")
    assert "No module named 'nothing_of_this_name'" in text
    assert "broken_part.py, line 1" in text
    assert "package broken 1.2" in text


def plugin(folder: Path, name: str, part: str, more: str = "") -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(
        f"from tests.pipeline.core.test_plugins import PARTS\n{more}\n"
        f"PART = object()\nPARTS.register({part!r}, PART)\n"
    )


def test_a_module_beside_a_config_registers_its_parts_and_is_imported_once(tmp_path: Path) -> None:
    plugin(tmp_path, "plugin_beside", "beside", "import helper_beside")
    (tmp_path / "helper_beside.py").write_text("")
    load_plugins(["plugin_beside"], tmp_path)
    part = PARTS.get("beside")
    load_plugins(["plugin_beside"], tmp_path)
    assert PARTS.get("beside") is part
    assert part is sys.modules["plugin_beside"].PART  # type: ignore[attr-defined]
    assert "the plugin plugin_beside." in refused(PARTS, "besides")


def test_a_plugin_may_lie_elsewhere_and_loads_again_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    plugin(tmp_path / "shared", "plugin_shared", "shared")
    load_plugins(["../shared/plugin_shared.py", "json"], tmp_path / "run")
    assert loaded_plugins() == (str(tmp_path / "shared" / "plugin_shared"), "json")
    load_plugins(loaded_plugins(), Path("/"))
    assert loaded_plugins() == (str(tmp_path / "shared" / "plugin_shared"), "json")


def test_all_plugins_that_cannot_be_loaded_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "my_reader.py").write_text("")
    (tmp_path / "half_written.py").write_text("def open(:\n")
    (tmp_path / "needs_more.py").write_text("import not_there_at_all\n")
    (tmp_path / "json.py").write_text("")
    names = ["my_raeder", "half_written", "needs_more", "json", "no-name"]
    with pytest.raises(InputError) as caught:
        load_plugins(names, tmp_path)
    texts = [str(fault) for fault in caught.value.faults]
    assert len(texts) == 5
    assert 'Did you mean "my_reader"?' in texts[0]
    assert str(tmp_path) in texts[0]
    assert "SyntaxError" in texts[1]
    assert "No module named 'not_there_at_all'" in texts[2]
    assert "another module of this name" in texts[3]
    assert "such as my_module" in texts[4]
    assert loaded_plugins() == ()
