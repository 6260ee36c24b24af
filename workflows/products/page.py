"""HTML pages that load nothing and run no script but their own, from the files in `templates`."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pipeline.core.written.characters import printable


def template(name: str) -> str:
    """The text of a file in `templates`."""
    return (resources.files("workflows.products") / "templates" / name).read_text(encoding="utf-8")


def render(name: str, /, **values: Any) -> str:
    """A template filled with values; texts are escaped, unless they are `Markup`."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(template(name)).render(**values)


def render_page(name: str, css: str, /, *, of_parts: Sequence[str] = (), **values: Any) -> str:
    """A whole page with the style `css`, and with the policy `content_policy` of its files.

    `of_parts` names the styles and scripts that the values contain.
    """
    policy = content_policy([css, *of_parts])
    return printable(render(name, css=Markup(template(css)), policy=policy, **values))


def content_policy(names: Sequence[str]) -> str:
    """The Content Security Policy of a page with these styles (.css) and scripts (.js) inline.

    A browser then loads pictures in the page itself, and nothing else from anywhere, and runs these
    scripts alone, none from an attribute or a text.
    """
    rules = ["default-src 'none'", "img-src data:", "base-uri 'none'", "form-action 'none'"]
    for rule, ending in (("style-src", ".css"), ("script-src", ".js")):
        digests = [_digest(template(name)) for name in names if name.endswith(ending)]
        if digests:
            rules.append(" ".join([rule, *digests]))
    return "; ".join(rules)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
