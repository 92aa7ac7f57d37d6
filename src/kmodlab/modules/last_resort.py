"""How the project's programs end, on whatever machine: with one clear message, and never with a traceback.

What nobody foresaw is a fault of ours: its traceback goes to a file, and the user is told what to do with that.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from ..errors import Fault, KmodlabError, LabError

INTERRUPTED = 128 + signal.SIGINT
#: what to do about errors of the system that are no fault of ours
_HINTS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "the disk is full, or this user's share of it: see `df -h`"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "this user may not do that there: see `ls -ld`"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "too many files are open: see `ulimit -n`, and end other programs"),
    **dict.fromkeys((errno.EAGAIN, errno.ENOMEM), "end other programs: memory or processes have run out"),
    errno.EIO: "the disk or what lies on it is damaged: see `dmesg`",
    errno.ENAMETOOLONG: "choose a shorter path",
}
_NO_MEMORY = "end other programs, or ask for less: fewer --jobs, a smaller --memory"
#: makes the directories in which a log may be: asking for them can fail, too
Places = Callable[[], Iterable[Path]]


@contextlib.contextmanager
def last_resort(version: str, places: Places, advice: str = "") -> Iterator[None]:
    """End the program in its own way, or with one clear message, whatever happens in a `with` block.

    Args:
        version: of the project, for the log.
        places: returns directories for the log; the first that can be written to is taken.
        advice: a hint for errors of files, where there is none that fits better.

    Raises:
        SystemExit: always where the block raises: the error's status, 70 for a fault of ours, 130 after Ctrl-C.
    """
    try:
        try:
            yield
        except SystemExit:
            _flush()
            raise
        _flush()
    except KeyboardInterrupt:
        tell("kmodlab: interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError as error:
        if _reader_has_gone():
            sys.exit(1)  # nobody is left to be told
        _end(fault_of(error, version, places()))
    except Exception as error:
        _end(explained(error, version, places, advice))


def explained(error: Exception, version: str, places: Places, advice: str = "") -> KmodlabError:
    """Return what a user is told of an error; the arguments are those of `last_resort`."""
    if isinstance(error, KmodlabError):
        return error
    if isinstance(error, MemoryError):
        return LabError("there is not enough memory", hint=_NO_MEMORY)
    files = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
    if isinstance(error, OSError) and (error.errno in _HINTS or isinstance(error, files)):
        hint = _HINTS.get(error.errno or 0, "")
        hint = "; ".join(words for words in (hint, advice) if words)
        return LabError(f"{error.strerror or error}: {error.filename or 'no file named'}", hint=hint)
    return fault_of(error, version, places())


def _end(error: KmodlabError) -> None:
    tell(f"kmodlab: error: {error}")
    sys.exit(error.status)


def tell(text: str) -> None:
    """Say something on standard error, if there is anyone to hear it."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()


# -- faults --------------------------------------------------------------------------------------------------------


def fault_of(error: BaseException, version: str, places: Iterable[Path]) -> Fault:
    """Write an error that nobody foresaw into a file of its own, and return what a user is told of it.

    Args:
        error: with its traceback.
        version: of the project.
        places: directories for the file, made where they are not there; after them that of temporary files.
    """
    try:
        said = " ".join(str(error).split())
    except Exception:  # its own words may be what is broken
        said = "(it cannot be shown)"
    words = f"{type(error).__name__}: {said[:300]}" if said else type(error).__name__
    log = _written(error, version, places)
    hint = "report it with that file: it has what was run, the versions, and where it broke"
    if log is None:
        hint = "report it with the command: no file with the details could be written, not even in the temporary folder"
    return Fault(f"this is a fault of kmodlab itself, and not yours: {words}", log=log, hint=hint)


def _written(error: BaseException, version: str, places: Iterable[Path]) -> Path | None:
    import tempfile  # noqa: PLC0415  # these take time to load, and are hardly ever wanted

    content = _details(error, version).encode(errors="backslashreplace")
    for place in (*_as_far_as_they_come(places), None):
        try:
            if place:
                place.mkdir(parents=True, exist_ok=True)
            # A name that nobody can have taken before, for this user's eyes only.
            descriptor, name = tempfile.mkstemp(prefix="kmodlab-fault-", suffix=".log", dir=place)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        except OSError:
            continue
        return Path(name)
    return None


def _as_far_as_they_come(places: Iterable[Path]) -> Iterator[Path]:
    # To ask for a place may fail as well: there may be no home directory.
    with contextlib.suppress(Exception):
        yield from places


def _details(error: BaseException, version: str) -> str:
    import platform  # noqa: PLC0415
    import time  # noqa: PLC0415
    import traceback  # noqa: PLC0415

    try:
        where = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception as another:  # the error's own words, or the memory for them, may be what is broken
        frames = traceback.format_tb(error.__traceback__, limit=50)
        where = f"{''.join(frames)}{type(error).__name__}, and {type(another).__name__} while it was written down\n"
    known = {
        "kmodlab": version,
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": repr(sys.argv),
        "Python": f"{sys.version} ({sys.executable})",
        "system": platform.platform(),
        "directory": _current_directory(),
        "output": f"{getattr(sys.stdout, 'encoding', None)}, errors {getattr(sys.stdout, 'errors', None)}",
        "settings": repr({name: value for name, value in os.environ.items() if name.startswith(("KMODLAB_", "LC_"))}),
    }
    return "".join(f"{key}: {value}\n" for key, value in known.items()) + f"\n{where}"


def _current_directory() -> str:
    try:
        return str(Path.cwd())
    except OSError as error:
        return str(error)


# -- threads, and what is printed ----------------------------------------------------------------------------------


def prepare(version: str, places: Places) -> None:
    """Prepare the process: what breaks outside of any `last_resort` is told in the same way, and output is escaped.

    Args:
        version: as for `last_resort`.
        places: likewise.
    """
    _escape_what_cannot_be_shown()

    def broke(about: threading.ExceptHookArgs) -> None:
        if about.exc_value and not isinstance(about.exc_value, SystemExit):
            tell(f"kmodlab: {fault_of(about.exc_value, version, places())}")

    threading.excepthook = broke

    def broke_unseen(about: sys.UnraisableHookArgs) -> None:
        if about.exc_value:
            tell(f"kmodlab: {fault_of(about.exc_value, version, places())}")

    sys.unraisablehook = broke_unseen
    before = sys.excepthook

    def broke_here(
        kind: type[BaseException],
        error: BaseException,
        where: TracebackType | None,
    ) -> None:
        """Of what comes after the end of the block: at the interpreter's own end."""
        try:
            tell(f"kmodlab: error: {fault_of(error, version, places())}")
        except Exception:
            before(kind, error, where)

    sys.excepthook = broke_here


def _escape_what_cannot_be_shown() -> None:
    """Have characters that the terminal's encoding has not shown as `\\u20ac`, where Python would give up."""
    for stream in (sys.stdout, sys.stderr):
        kept = getattr(stream, "errors", "") == "surrogateescape" and getattr(stream, "encoding", "") == "utf-8"
        if isinstance(stream, io.TextIOWrapper) and not kept:
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Print what waits to be, while an error of it can still be told."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except OSError as error:
            _let_go(stream)
            # Who has seen enough closes it: all has been done by then.
            if not isinstance(error, BrokenPipeError):
                raise


def _let_go(stream: IO[str]) -> None:
    """Have what still waits go nowhere: the interpreter would try again at its end, and complain."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _reader_has_gone() -> bool:
    """Whether standard output or error is a pipe that nobody reads any more."""
    gone = False
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            poll = select.poll()
            poll.register(stream.fileno(), 0)
            if any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
                gone = True
                _let_go(stream)
    return gone
