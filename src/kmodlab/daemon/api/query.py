"""What a request asks for: each parameter checked, each mistake said."""

from __future__ import annotations

import json
import math
import shlex
import time
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request

from ..tasks import COLUMNS, SUMS, Only
from ..tasks import Order as TaskOrder
from ..tick import STATUSES, Filter
from .problem import Denied

MOST_STEPS = 2000
MOST_ROWS = 1000
MOST_VIEWS = 8
FILTER_LETTERS = 512
HOST_LETTERS = 253
"""Of a host's name, as DNS has them."""
BODY_BYTES = 4096
CLOSED_LETTERS, PID_DIGITS = 2048, 10
END_OF_TIME = 253402300799.0
"""The last second of the year 9999."""
HOUR = 3600.0
_HINT = 'call=openat,unlink status=blocked pid=1 uid=0 comm=bash, and any part of an argument; blanks in "..."'


def span(query: QueryParams) -> tuple[float, float]:
    """Return the time that is asked for: begin and end, seconds since 1970."""
    end = number(query, "end", time.time())
    begin = number(query, "begin", max(0.0, end - HOUR))
    if begin >= end:
        raise Denied(400, "begin has to be before end")
    return begin, end


def step(query: QueryParams, begin: float, end: float) -> float:
    """Return the length of a step, s: as asked for, but never more than 2,000 of them."""
    asked = number(query, "step", (end - begin) / 200, most=366 * 86400.0)
    if asked <= 0:
        raise Denied(400, "step has to be more than 0")
    return max(asked, (end - begin) / MOST_STEPS)


def number(query: QueryParams, name: str, default: float, most: float = END_OF_TIME) -> float:
    """Return a number from 0 to `most`."""
    text = one(query, name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most:
        raise Denied(400, f"{name} has to be a number from 0 to {most:.0f}")
    return value


def limit(query: QueryParams) -> int:
    """Return how many rows are wanted."""
    return whole(query, "limit", 100, 1, MOST_ROWS)


def whole(query: QueryParams, name: str, default: int, least: int, most: int) -> int:
    """Return a whole number within bounds."""
    text = one(query, name) or str(default)
    if not text.isascii() or not text.isdecimal() or not least <= int(text[:9]) <= most:
        raise Denied(400, f"{name} has to be a whole number from {least} to {most}")
    return int(text)


def choice(query: QueryParams, name: str, choices: tuple[str, ...]) -> str:
    """Return one of some words, the first where none is given."""
    text = one(query, name)
    if text is not None and text not in choices:
        raise Denied(400, f"{name} has to be one of {', '.join(choices)}")
    return text or choices[0]


def one(query: QueryParams, name: str, most: int = 128) -> str | None:
    """Return a parameter that may be given once."""
    values = query.getlist(name)
    if len(values) > 1:
        raise Denied(400, f"{name} is given more than once")
    if values and len(values[0]) > most:
        raise Denied(400, f"{name} may have {most} letters")
    return values[0] if values else None


def host(query: QueryParams) -> str | None:
    """Return the host that is asked about; None: all together."""
    return one(query, "host", HOST_LETTERS)


def views(query: QueryParams) -> dict[str, Filter]:
    """Return the filters of a stream by their texts; everything where there is none."""
    texts = list(dict.fromkeys(query.getlist("view"))) or [""]
    if len(texts) > MOST_VIEWS:
        raise Denied(400, f"a stream may have {MOST_VIEWS} views")
    return {text: parsed(text) for text in texts}


def parsed(text: str) -> Filter:
    """Return the filter that a user means.

    Raises:
        Denied: there is none like that; with what would be.
    """
    if len(text) > FILTER_LETTERS:
        raise Denied(400, f"a filter may have {FILTER_LETTERS} letters")
    given: dict[str, Any] = {}
    for word in _words(text):
        key, value = _term(word)
        if key in given:
            raise Denied(400, f"the filter has {key} twice", hint=_HINT)
        given[key] = value
    return Filter(**given)


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return list(lexer)
    except ValueError:
        raise Denied(400, "the filter has a quotation mark too few", hint=_HINT) from None


def _term(word: str) -> tuple[str, Any]:
    key, sign, value = word.partition("=")
    if not sign or key not in ("call", "status", "pid", "uid", "comm"):
        return "text", word
    if key == "comm":
        return key, value
    if key == "call":
        return "calls", frozenset(value.split(","))
    return _status(value) if key == "status" else (key, _whole(key, value))


def _status(value: str) -> tuple[str, frozenset[str]]:
    wanted = frozenset(value.upper().split(","))
    if not wanted <= set(STATUSES):
        raise Denied(400, f"there is no status {value!r}", hint="logged, blocked, failed")
    return "statuses", wanted


def _whole(key: str, value: str) -> int:
    if not value.isascii() or not value.isdecimal() or int(value[:11]) > 0xFFFFFFFF:
        raise Denied(400, f"{key}={value} is no number", hint=_HINT)
    return int(value)


TASK_COLUMNS = (*COLUMNS.values(), *SUMS)
_TASK_HINT = 'state=running,zombie pid=1 ppid=1 uid=0, and any part of a command name; blanks in "..."'


def task_order(query: QueryParams) -> TaskOrder:
    """Return how tasks are to be shown."""
    shape = choice(query, "shape", ("flat", "tree"))
    sort = choice(query, "sort", TASK_COLUMNS)
    if sort in SUMS and shape == "flat":
        raise Denied(400, f"{sort} is there in a tree alone", hint="shape=tree")
    return TaskOrder(
        sort=sort,
        descending=choice(query, "order", ("up", "down")) == "down",
        tree=shape == "tree",
        closed=_pids(one(query, "closed", CLOSED_LETTERS)),
        only=tasks_only(one(query, "filter", FILTER_LETTERS) or ""),
    )


def _pids(text: str | None) -> frozenset[int]:
    words = [] if text is None else text.split(",")
    if not all(word.isascii() and word.isdecimal() and len(word) <= PID_DIGITS for word in words):
        raise Denied(400, "closed has to be PIDs with commas between them")
    return frozenset(map(int, words))


def task_columns(query: QueryParams) -> tuple[str, ...]:
    """Return the columns of tasks that are wanted."""
    text = one(query, "columns")
    names = TASK_COLUMNS if text is None else tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in TASK_COLUMNS:
            raise Denied(400, f"there is no column {name!r}", hint=", ".join(TASK_COLUMNS))
    return names


def tasks_only(text: str) -> Only:
    """Return which tasks a user means.

    Raises:
        Denied: the filter is none; with what would be.
    """
    given: dict[str, Any] = {}
    words: list[str] = []
    for word in _words(text):
        key, sign, value = word.partition("=")
        if not sign or key not in ("state", "pid", "ppid", "uid"):
            words.append(word)
        elif key in given:
            raise Denied(400, f"the filter has {key} twice", hint=_TASK_HINT)
        else:
            given[key] = frozenset(value.lower().split(",")) if key == "state" else _whole(key, value)
    states = given.pop("state", None)
    return Only(states, words=tuple(words), **given)


async def body(request: Request, name: str, most: int) -> str:
    """Return the one text that a request brings, as JSON: `{"NAME": "..."}`.

    Raises:
        Denied: it brings something else.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Denied(415, "the body has to be application/json")
    text = _only(await _json(request), name)
    if not 1 <= len(text) <= most:
        raise Denied(400, f"{name} has to have 1 to {most} letters")
    return text


def _only(given: object, name: str) -> str:
    if not isinstance(given, dict) or set(given) != {name} or not isinstance(given[name], str):
        raise Denied(400, f'the body has to be {{"{name}": "..."}} and nothing else')
    found: str = given[name]
    if any("\ud800" <= letter <= "\udfff" for letter in found):
        raise Denied(400, f"{name} is no text: it has half a letter")
    return found


async def _json(request: Request) -> object:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_BYTES:
            raise Denied(413, f"the body may have {BODY_BYTES} bytes")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise Denied(400, "the body is no JSON") from None
