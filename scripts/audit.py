"""Compare the installed packages with PyPI's advisories: `make audit`, which calls this script.

    python scripts/audit.py .venv/lib/python3.11/site-packages

The exit code is 1 for a package with a known vulnerability. Behind a mirror of PyPI without the
advisories, pip-audit finds nothing and succeeds: this script first asks for a version that is known
to be vulnerable, and prints why it audits nothing where that has no advisory. It runs in an
environment with pip-audit and nothing of this project.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

KNOWN = "https://pypi.org/pypi/jinja2/2.4.1/json"
"""Address of a version that has had advisories for years."""
SECONDS = 15


def reason_to_skip(address: str = KNOWN) -> str:
    """Why nothing can be audited here; empty where the service answers with advisories."""
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:
            known = json.load(answer).get("vulnerabilities")
    except urllib.error.HTTPError as error:
        return f"{address} answers {error.code}: a mirror of PyPI without its advisories"
    except (OSError, ValueError, AttributeError) as error:
        return f"{address} cannot be reached ({error})"
    return "" if known else f"{address} lists no advisory of a version that has some"


def findings(report: dict[str, Any]) -> tuple[list[str], list[str], int]:
    """A line for each vulnerability, the packages that were not audited, and the number of others.

    `report` is the JSON document of pip-audit.
    """
    packages = report["dependencies"]
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    lines = [
        f"{each['name']} {each['version']}: {found['id']}, fixed in "
        f"{', '.join(found['fix_versions']) or 'no version'}"
        for each in packages
        for found in each.get("vulns", ())
    ]
    return lines, skipped, len(packages) - len(skipped)


def main(folder: str) -> int:
    """Audit the packages in a folder; returns the exit code."""
    if reason := reason_to_skip():
        print(f"audit SKIPPED, no package was compared with advisories: {reason}")
        return 0
    command = [sys.executable, "-m", "pip_audit", "--path", folder, "-f", "json",
               "--progress-spinner", "off"]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        return done.returncode or 1
    lines, skipped, count = findings(json.loads(done.stdout))
    for line in lines:
        print(f"audit: {line}")
    print(f"audit: {count} packages, {len(lines)} known vulnerabilities")
    if skipped:
        print(f"audit: not on PyPI, and not compared: {', '.join(skipped)}")
    return 1 if lines or not count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
