"""The program `kmodlab`, before it knows anything: what is not installed, or Ctrl-C this early, is told in one line."""

from __future__ import annotations

from kmodlab import faults, paths
from kmodlab.errors import LabError


def main() -> None:
    """Be the program; see `kmodlab.cli.main`."""
    faults.prepare()
    with faults.guarded():
        try:
            from kmodlab import cli  # noqa: PLC0415  # it takes half a second, in which all may happen
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "kmodlab":
                raise
            message = f"the Python package {error.name} is not installed"
            raise LabError(message, hint=paths.setup_hint()) from error
        cli.main()
