"""The program `kmodlab`, before it knows anything: what is not installed, or Ctrl-C this early, is told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from kmodlab import __version__, paths
from kmodlab.errors import KmodlabError, LabError
from kmodlab.modules.last_resort import explained, last_resort, prepare

_ADVICE = "KMODLAB_CACHE_DIR and KMODLAB_STATE_DIR choose another place"


def _log_places() -> Iterator[Path]:
    yield paths.state_dir() / "log"


def guarded() -> AbstractContextManager[None]:
    """Return the last resort of this program, see there."""
    return last_resort(__version__, _log_places, _ADVICE)


def told(error: Exception) -> KmodlabError:
    """Return what a user is told of any error; of a fault of ours a log is kept.

    Args:
        error: with its traceback.
    """
    return explained(error, __version__, _log_places, _ADVICE)


def main() -> None:
    """Be the program; see `kmodlab.cli.main`."""
    prepare(__version__, _log_places)
    with guarded():
        try:
            from kmodlab import cli  # noqa: PLC0415  # it takes half a second, in which all may happen
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "kmodlab":
                raise
            hint = f"run `.config/setup` in {paths.project_dir()}: it installs what is missing into .venv"
            raise LabError(f"the Python package {error.name} is not installed", hint=hint) from error
        cli.main()
