"""The audit of installed packages: it prints that it audits nothing where it cannot."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "scripts" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Service(BaseHTTPRequestHandler):
    """Answers `/404`, `/empty`, `/page` and `/known`."""

    def do_GET(self) -> None:
        bodies = {"/empty": {"vulnerabilities": []}, "/known": {"vulnerabilities": [{"id": "X"}]}}
        body = b"<html>" if self.path == "/page" else json.dumps(bodies.get(self.path)).encode()
        self.send_response(404 if self.path == "/404" else 200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_service_without_advisories_is_a_reason_to_skip(audit: ModuleType, service: str) -> None:
    assert not audit.reason_to_skip(f"{service}/known")
    assert "404" in audit.reason_to_skip(f"{service}/404")
    assert "lists no advisory" in audit.reason_to_skip(f"{service}/empty")
    assert "cannot be reached" in audit.reason_to_skip(f"{service}/page")
    assert "cannot be reached" in audit.reason_to_skip("http://127.0.0.1:9/x")


def test_the_reason_is_printed(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "reason_to_skip", lambda: "no network")
    assert audit.main("site-packages") == 0
    assert "audit SKIPPED" in (printed := capsys.readouterr().out)
    assert "no network" in printed


@pytest.mark.parametrize(("vulnerable", "code"), [(True, 1), (False, 0)])
def test_a_known_vulnerability_is_a_failure(
    audit: ModuleType, vulnerable: bool, code: int, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = [{"id": "PYSEC-1", "fix_versions": ["1.1"]}] if vulnerable else []
    report = {
        "dependencies": [
            {"name": "a", "version": "1.0", "vulns": found}, {"name": "b", "skip_reason": "none"}
        ]
    }  # fmt: skip
    monkeypatch.setattr(audit, "reason_to_skip", str)
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: Done(json.dumps(report)))
    assert audit.main("site-packages") == code
    printed = capsys.readouterr().out
    assert ("a 1.0: PYSEC-1, fixed in 1.1" in printed) == vulnerable
    assert "not compared: b" in printed


class Done:
    returncode = 1

    def __init__(self, stdout: str) -> None:
        self.stdout = stdout


def test_an_audit_of_no_package_is_no_success(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "reason_to_skip", str)
    report = {"dependencies": [{"name": "b", "skip_reason": "none"}]}
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: Done(json.dumps(report)))
    assert audit.main("site-packages") == 1
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: Done(""))
    assert audit.main("site-packages") == 1


def test_ci_runs_the_audit() -> None:
    assert "make audit" in (ROOT / ".ci" / "run").read_text().splitlines()
