"""A scheduler of dask.distributed and workers of it, as real processes: gone with the block that they are for."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from patience import SECONDS

from kmodlab.process import Deadline

Running = tuple[str, list[subprocess.Popen[bytes]]]
"""The scheduler's address, and the workers."""


@contextlib.contextmanager
def cluster(folder: Path, worker: Callable[[str], Sequence[str | Path]]) -> Iterator[Running]:
    """Yield a scheduler's address, and its two workers.

    Args:
        folder: for the scheduler's file.
        worker: gives a worker's command for that address.
    """
    file = folder / "scheduler.json"
    scheduler: list[str | Path] = [Path(sys.executable).with_name("dask"), "scheduler"]
    scheduler += ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with contextlib.ExitStack() as stack:

        def start(*words: str | Path) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        start(*scheduler)
        deadline = Deadline(SECONDS)
        while not file.exists() or not file.read_text().rstrip().endswith("}"):
            assert not deadline.expired, "the scheduler does not start"
            time.sleep(0.05)
        address = str(json.loads(file.read_text())["address"])
        yield address, [start(*worker(address)) for _ in range(2)]
