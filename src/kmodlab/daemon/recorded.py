"""A recorded stream: what a tracer has sent, in a file, so that it can be looked at where there is no tracer.

A line of text says what it is. Then come frames: a kind, the length, the content. A batch is the record's bytes as the
kernel has sent them behind what the kernel says of it; all else is JSON. A frame that is cut off ends the file.
"""

from __future__ import annotations

import base64
import json
import logging
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from kmodlab.errors import KmodlabError, UsageError

from .items import Batch, Begin, Blocked, CallInfo, Calls, Changed, Clock, Counters, End, Item, Settings

log = logging.getLogger(__name__)

MAGIC = b"kmodlab recording 1\n"
_FRAME = struct.Struct("<BxxxII")
"""Kind, length of the head, length of the content."""
_BATCH = struct.Struct("<IIQQQQI4x")
"""cpu, lost, first, last, begin, end, n."""
_KINDS: tuple[type[Item], ...] = (Begin, Batch, Counters, Clock, Calls, Changed, End, Blocked)
_MOST = 64 << 20


def plain(item: Item) -> dict[str, Any]:
    """Return an item that is no batch as values that JSON has."""
    found = asdict(item)
    if isinstance(item, Blocked):
        found["data"] = base64.b64encode(item.data).decode()
    return found


def _numbers(given: Mapping[str, Any]) -> dict[int, Any]:
    return {int(key): tuple(value) if isinstance(value, list) else value for key, value in given.items()}


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Return the settings that were written as values of JSON."""
    texts = {key: tuple(given[key]) for key in ("filters", "traced")}
    return Settings(given["hook"], given["mode"], given["returns"], **texts)


def _table(given: Iterable[Mapping[str, Any]]) -> tuple[CallInfo, ...]:
    return tuple(CallInfo(**each) for each in given)


_READ: dict[str, Callable[[Any], Any]] = {
    "calls": _table,
    "issued": _numbers,
    "dropped": _numbers,
    "cpus": _numbers,
    "data": base64.b64decode,
    "settings": settings_of,
}


def item_of(kind: str, given: Mapping[str, Any]) -> Item:
    """Return the item that `plain` has made values of.

    Args:
        kind: the name of its class.
        given: the values.

    Raises:
        KmodlabError: there is no such item.
    """
    classes: dict[str, Callable[..., Item]] = {each.__name__: each for each in _KINDS}
    try:
        return classes[kind](**{key: _READ.get(key, lambda same: same)(value) for key, value in given.items()})
    except (KeyError, TypeError, ValueError) as error:
        raise KmodlabError(f"an item {kind!r} that makes no sense: {error}") from error


def write(file: IO[bytes], items: Iterable[Item]) -> None:
    """Append items to a recording; into an empty file comes the line that says what it is."""
    if not file.tell():
        file.write(MAGIC)
    for item in items:
        file.write(_encoded(item))


def _encoded(item: Item) -> bytes:
    kind = _KINDS.index(type(item))
    if isinstance(item, Batch):
        head = _BATCH.pack(item.cpu, item.lost, item.first, item.last, item.begin, item.end, item.n)
        return _FRAME.pack(kind, len(head), len(head) + len(item.data)) + head + item.data
    text = json.dumps(plain(item)).encode()
    return _FRAME.pack(kind, 0, len(text)) + text


def _decoded(kind: int, head: int, content: bytes) -> Item:
    if _KINDS[kind] is Batch:
        cpu, lost, first, last, begin, end, n = _BATCH.unpack_from(content)
        return Batch(cpu, first, last, n, begin, end, lost, content[head:])
    return item_of(_KINDS[kind].__name__, json.loads(content))


def read(path: Path) -> Iterator[Item]:
    """Yield the items of a recording.

    Raises:
        UsageError: it is none.
        KmodlabError: it is damaged; what was before it has been yielded.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise UsageError(
                f"{path} is no recording of this version", hint="a recording begins with a line that says so"
            )
        while frame := file.read(_FRAME.size):
            try:
                kind, head, length = _FRAME.unpack(frame)
                content = file.read(length) if length <= _MOST else b""
                if len(content) != length:
                    log.warning("%s ends in the middle of an item", path)
                    return
                yield _decoded(kind, head, content)
            except (struct.error, IndexError, ValueError) as error:
                raise KmodlabError(f"{path} is damaged at byte {file.tell()}: {error}") from error


class Replay:
    """A feed of items that are there already: a recording, or made up.

    Args:
        items: what comes.
        at_once: how many `receive` returns at most.
    """

    patient = True
    state = ""

    def __init__(self, items: Iterable[Item], at_once: int = 64) -> None:
        self._items = iter(items)
        self._at_once = at_once
        self._over = False

    def receive(self, seconds: float) -> list[Item]:
        """Return the next items, without waiting; behind the last comes `End`, once."""
        del seconds
        found = [item for _, item in zip(range(self._at_once), self._items)]  # noqa: B905
        if len(found) < self._at_once and not self._over:
            self._over = True
            found.append(End("the recording is at its end"))
        return found

    def attend(self, is_watched: bool) -> None:
        """It comes as it comes."""

    def leave_out(self, pid: int) -> None:
        """None of this daemon's own calls are in it."""

    def control(self, command: str, who: str) -> None:
        """Refuse: what was recorded stays as it is."""
        raise UsageError(f"`{command}` of {who} changes nothing: this is a recording", hint="record a live tracer")

    def close(self) -> None:
        """Nothing is held."""
