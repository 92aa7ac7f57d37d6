"""A guest with the tracer, and with the client as the role makes it."""

from __future__ import annotations

import contextlib
import json
import runpy
from collections.abc import Iterator
from pathlib import Path

from kmodlab.guest import Guest
from kmodlab.image.buildroot import BuildRoot
from kmodlab.paths import project_dir

ROOT = project_dir()
STATUS = "kmodlab trace status --json"


@contextlib.contextmanager
def tracing(guest: Guest, folder: Path) -> Iterator[None]:
    """Load the tracer, and install the client, for as long as the block.

    Args:
        guest: it runs.
        folder: for what is built.
    """
    module = BuildRoot.of_image(guest.image).make(ROOT / "kernel/syscall_tracer", "-j2", output=folder / "build")
    client = runpy.run_path(str(ROOT / "plugins/modules/kmodlab_client.py"))
    action = runpy.run_path(str(ROOT / "plugins/action/kmodlab_client.py"))
    files = action["files"](ROOT / "src/kmodlab", ROOT / "kernel/specs/syscall_tracer.yaml")
    program = folder / "kmodlab"
    program.write_bytes(client["build"](files, client["MARK"]))
    guest.copy_to(program, "/usr/local/bin/kmodlab")
    guest.copy_to(Path(module), "/root/syscall_tracer.ko")
    guest.succeed("chmod +x /usr/local/bin/kmodlab; insmod /root/syscall_tracer.ko log_entries=8192")
    yield
    guest.succeed("rmmod syscall_tracer")


def settings(guest: Guest) -> tuple[object, ...]:
    """Return what the client may change, and has to put back."""
    status = json.loads(guest.succeed(STATUS))
    return sorted(status["traced"]), status["returns"], status["filters"]
