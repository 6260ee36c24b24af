"""Messages of any logger, warnings and uncaught errors without values of the environment."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import logging, os, threading, warnings
os.environ["TOKEN"] = "zebra 7781"
from pipeline.core.written.logs import public_logs
from pipeline.core.written.references import environment_value
secret = environment_value("TOKEN")
public_logs()
logging.getLogger("any.library").warning("%s of %d", secret, 3)
warnings.warn(secret)
def fail():
    raise KeyError(secret)
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""


def test_no_message_of_a_process_has_a_value_of_the_environment() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 1
    assert "zebra" not in ran.stderr
    assert "${TOKEN} of 3" in ran.stderr
    assert ran.stderr.count("KeyError: ${TOKEN}") == 2
    assert "UserWarning: ${TOKEN}" in ran.stderr
