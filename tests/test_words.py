"""Plain English: docstrings have a head of their own, and the field's words are used."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipeline", "stefaland", "workflows")
OPENING = re.compile(
    r"(Above|After|Also|Among|And|As|At|Because|Before|Below|Beside|Between|Beyond|By|Else|For|From|If"
    r"|In|Into|Like|None|Not|Of|On|Or|Over|So|Than|That|Those|To|Under|Until|When|Where|With|Without"
    r")\b"
)
BANNED = re.compile(
    r"\b(laws?|rivals?|rivalry|knobs?|cures?|goes round|shares of a whole)\b", re.IGNORECASE
)


def modules() -> list[Path]:
    return sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def strings(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Line, text and whether it is a docstring, of each string in a module."""
    tree = ast.parse(path.read_text())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value, id(node) in alone


def found(path: Path, hits: Iterator[tuple[int, str]]) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{line}: {text}" for line, text in hits]


def test_docstrings_begin_with_a_head() -> None:
    wrong = []
    for path in modules():
        docstrings = ((line, text) for line, text, is_docstring in strings(path) if is_docstring)
        wrong += found(path, ((n, text[:60]) for n, text in docstrings if OPENING.match(text)))
    assert not wrong, "\n".join(wrong)


def test_code_uses_the_words_of_the_field() -> None:
    wrong = []
    for path in modules():
        texts = ((line, BANNED.search(text)) for line, text, _ in strings(path))
        wrong += found(path, ((line, match.group()) for line, match in texts if match))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "path",
    [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))],
    ids=lambda p: p.name,
)
def test_documents_use_the_words_of_the_field(path: Path) -> None:
    lines = enumerate(path.read_text().splitlines(), 1)
    wrong = found(path, ((n, line) for n, line in lines if BANNED.search(line)))
    assert not wrong, "\n".join(wrong)
