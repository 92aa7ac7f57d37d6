"""How a fault of this program ends: the client's last resort, with the log and the advice of a whole checkout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from kmodlab import __version__, paths
from kmodlab.errors import KmodlabError
from kmodlab.modules import last_resort

_ADVICE = "KMODLAB_CACHE_DIR and KMODLAB_STATE_DIR choose another place"


def _log_places() -> Iterator[Path]:
    yield paths.state_dir() / "log"


def prepare() -> None:
    """Prepare the process: what breaks outside of `guarded` is told in the same way."""
    last_resort.prepare(__version__, _log_places)


def guarded() -> AbstractContextManager[None]:
    """Return the last resort of this program, see there."""
    return last_resort.last_resort(__version__, _log_places, _ADVICE)


def told(error: Exception) -> KmodlabError:
    """Return what a user is told of any error; of a fault of ours a log is kept.

    Args:
        error: with its traceback.
    """
    return last_resort.explained(error, __version__, _log_places, _ADVICE)
