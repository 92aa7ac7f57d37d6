"""All that `openapi.yaml` allows, and much that it does not, is asked of the daemon, as a reader and as an admin."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import requests
from patience import SECONDS

from kmodlab.daemon.demo import Demo
from live.daemon import Daemon, serving

DESCRIPTION = files("kmodlab.daemon") / "api" / "openapi.yaml"
EXAMPLES = 15
"""Of each operation, beside those that cover each border of each parameter once."""
CONFIG = '[auth.openapi.key]\nbearer = "{key}"\n'


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("daemon")
    with serving(folder, Demo(past=60)) as one:
        yield one
    assert "Traceback" not in (folder / "daemon.log").read_text()


@pytest.mark.long
@pytest.mark.parametrize("role", ["reader", "admin"])
def test_the_daemon_does_what_is_described(daemon: Daemon, tmp_path: Path, role: str) -> None:
    """No fault, no answer but those described, nothing accepted that ought not to be, no way in without a key."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.format(key=getattr(daemon, role)))
    argv = [
        str(Path(sys.executable).with_name("schemathesis")), f"--config-file={config}", "run", str(DESCRIPTION),
        f"--url={daemon.way.origin}", "--exclude-operation-id=streamTicks", "--checks=all",
        "--exclude-checks=positive_data_acceptance", "--phases=examples,coverage,fuzzing", f"--max-examples={EXAMPLES}",
        "--seed=1", "--generation-database=none", "--continue-on-failure", "--no-color", "--report=json",
        f"--report-dir={tmp_path / 'report'}",
    ]  # fmt: skip
    tests = Path(__file__).parents[1]
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "live.refusals", "PYTHONPATH": str(tests)}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Tested: 17\b", done.stdout), done.stdout
    found = re.search(r"(\d+) generated", done.stdout)
    assert found
    assert int(found[1]) > 500
    assert ("Authentication failed" in done.stdout) == (role == "reader"), "what takes an admin is refused to a reader"


def test_the_stream_is_what_is_described(daemon: Daemon) -> None:
    """It has no end that could be waited for: its beginning is read."""
    # Here, for each worker imports this file, and these take seconds.
    import hypothesis
    import schemathesis

    schema = schemathesis.openapi.from_file(DESCRIPTION.read_text())
    operation = schema["/api/v1/stream"]["GET"]
    seen: dict[int, int] = {}

    @hypothesis.settings(
        max_examples=40, database=None, deadline=None, derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        given = case.as_transport_kwargs(base_url=daemon.way.origin)
        headers = {**(given.pop("headers", None) or {}), "Authorization": f"Bearer {daemon.reader}"}
        with requests.request(**given, headers=headers, stream=True, timeout=SECONDS) as answer:
            seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
            if answer.status_code == 200:
                assert answer.headers["content-type"].startswith("text/event-stream")
                lines = [line.decode() for _, line in zip(range(3), answer.iter_lines(), strict=False)]
                (kind,) = [line for line in lines if line.startswith("event: ")]
                (data,) = [line for line in lines if line.startswith("data: ")]
                assert kind in ("event: state", "event: tick")
                assert json.loads(data.partition(": ")[2])
            elif answer.status_code == 404:
                assert "host" in case.query
                assert answer.json()["detail"] == "this server shows one host alone"
            else:
                assert answer.status_code == 400, answer.text
                assert answer.headers["content-type"] == "application/problem+json"
                assert re.search("^the filter has |^there is no status | is no number$", answer.json()["detail"])

    ask()
    assert seen[200] >= 5, seen
