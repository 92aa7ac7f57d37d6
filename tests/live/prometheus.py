"""Debian's Prometheus, on a port and in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import shutil
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live.daemon import Daemon, Way, file_of, free_port, program, wait

INTERVAL = "2s"
"""Between two looks, and how long one may take: a busy machine misses one now and then."""


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    way: Way

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer, which has to be one."""
        answer = self.way.ask("GET", f"/api/v1/{path}?{urllib.parse.urlencode(query)}")
        assert answer.status == 200, f"{query}: {answer.body!r}"
        assert answer.json["status"] == "success"
        return answer.json["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """What an expression is just now: labels, and the value."""
        data = self.ask("query", query=expression)
        assert data["resultType"] == "vector", data
        return [(one["metric"], float(one["value"][1])) for one in data["result"]]

    def target(self, job: str) -> dict[str, Any]:
        """How a target is, once it was asked."""

        def asked() -> dict[str, Any] | None:
            found = [one for one in self.ask("targets")["activeTargets"] if one["labels"]["job"] == job]
            return found[0] if found and found[0]["health"] != "unknown" else None

        found: dict[str, Any] = wait(asked, f"a look at {job}")
        return found


@contextlib.contextmanager
def scraping(folder: Path, daemon: Daemon, snippet: str) -> Iterator[Prometheus]:
    """A Prometheus that has the documentation's settings, and asks more often; a second job has no key."""
    binary = shutil.which("prometheus")
    assert binary, "prometheus is not installed: `.config/setup live` installs it"
    key = file_of(folder, "key", f"{daemon.reader}\n")
    target = f"127.0.0.1:{daemon.way.port}"
    for documented, ours in (("/etc/prometheus/kmodlab.key", str(key)), ("127.0.0.1:8480", target)):
        assert snippet.count(documented) == 1
        snippet = snippet.replace(documented, ours)
    stranger = f"  - job_name: stranger\n    static_configs:\n      - targets: [{json.dumps(target)}]\n"
    config = file_of(
        folder,
        "prometheus.yml",
        f"global:\n  scrape_interval: {INTERVAL}\n  scrape_timeout: {INTERVAL}\n{snippet}{stranger}",
    )
    port = free_port()
    argv = [
        binary, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    with program(argv, folder / "prometheus.log"):
        one = Prometheus(Way(port))
        wait(lambda: _answers(one), "prometheus answers", (folder / "prometheus.log").read_text)
        yield one


def _answers(one: Prometheus) -> bool:
    with contextlib.suppress(OSError):
        return one.way.ask("GET", "/-/ready").status == 200
    return False
