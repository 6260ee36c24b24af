"""What differs between the settings that a stage ran with and those of the present run.

A marker of a stage records its settings by key: short values as they are, long ones, catalog
entries and the stamps of files as hashes. Entries may hold values from the environment.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core.plugins import plugin_digests
from pipeline.core.provenance import fingerprint
from pipeline.core.written.references import as_written
from workflows.fingerprints import DEPENDS
from workflows.run import Run

SECTIONS = {"predict": "predict.", "score": "score.", "mosaic": "publish."}
"""Section of the config of stages whose settings are named without it."""
LONGEST = 60
"""Maximum length of a value that is recorded as it is."""
SHOWN = 3
HASH = "hash "


def recorded_settings(run: Run, name: str) -> dict[str, Any]:
    """The settings of a stage, without those of stages that it needs, by key."""
    found: dict[str, Any] = {}
    if run.config.plugins:
        found["plugins"] = HASH + fingerprint(plugin_digests())
    settings = DEPENDS[name](run)
    if isinstance(settings, Mapping) and "files" in settings:
        settings = dict(settings)
        # Files whose content changed although their stamps did not.
        found["contents of sources"] = HASH + fingerprint(settings.pop("contents", None))
        for source, stamps in settings.pop("files").items():
            found[f"files of {source}"] = [fingerprint(stamp)[:8] for stamp in stamps]
    found.update(_leaves(settings, SECTIONS.get(name, "")))
    return dict(as_written(found))


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list) and value and all(_is_named(item) for item in value):
        value = {item["name"]: item for item in value}
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{key.removesuffix('.')}.{name}" if key else str(name))
        return
    text = json.dumps(value, default=str)
    is_plain = len(text) <= LONGEST and not key.startswith("sources.")
    yield key or "settings", value if is_plain else HASH + fingerprint(value)


def _is_named(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("name"), str)


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Texts such as `finetune.epochs 20 → 40`, one for each setting that differs."""
    texts = []
    for key in [*now, *(key for key in before if key not in now)]:
        # As JSON reads it: tuples are lists there.
        old, new = before.get(key), json.loads(json.dumps(now.get(key), default=str))
        if old == new:
            continue
        if key.startswith("files of ") and key in before and key in now:
            stamps = Counter[str](new), Counter[str](old)
            count = max((stamps[0] - stamps[1]).total(), (stamps[1] - stamps[0]).total())
            what = "file" if count == 1 else "files"
            texts.append(f"source {key.removeprefix('files of ')}: {count} {what} changed")
        elif any(str(value).startswith(HASH) for value in (old, new)):
            texts.append(f"{key} changed")
        else:
            texts.append(f"{key} {_shown(old)} → {_shown(new)}")
    return texts


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def reason(marker: Mapping[str, Any], run: Run, name: str, version: str) -> str:
    """Why a stage with this marker has to run again, in one line."""
    texts = []
    if "settings" not in marker:
        return "made by an earlier version, which recorded no settings"
    if marker.get("version") != version:
        texts.append(f"version {marker.get('version')} → {version}")
    texts += changes(marker["settings"], recorded_settings(run, name))
    if not texts:
        return "a stage before it ran again"
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more
