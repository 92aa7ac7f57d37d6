"""What is said in sentences and sums: the verdict of the ledger, the machine, its mode and filters, what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from .feed import Link
from .model import LOST, Model
from .tables import BAD, BOLD, DIM, GOOD, WARN, Column, fitted, line, listed
from .words import Clock, duration, percent, plain, quantile, short, span, whole

SILENT = 5.0
MOST_OPEN = 3
"""Sums that do not close which are named at the foot; Health has all."""
_STATES = {
    "no module": "The module is not loaded: nothing is recorded.",
    "no recorder": "The recorder does not run: nothing is recorded.",
    "ended": "The recording has ended.",
    "stopped": "Nothing is recorded.",
    "recording": "",
}
_TONES = {Link.OPEN: GOOD, Link.CONNECTING: DIM, Link.RECONNECTING: WARN, Link.RENEWING: WARN, Link.ENDED: BAD}
_TERMS = {
    "issued": "calls numbered",
    "logged": "in the log",
    "overwritten": "overwritten in the log",
    "dropped": "dropped by the kernel",
    "begun": "before recording began",
    "next": "numbers seen",
    "received": "received",
    "missing": "missing",
    "not_yet_sent": "not sent yet",
    "lost_ring": "overwritten before sending",
    "away": "while nobody recorded",
    "lost_dropped": "dropped by the kernel",
    "lost_socket": "lost in the socket",
    "stored": "stored",
    "rolled": "in the sums",
    "own": "the daemon's own",
    "unread": "damaged before they were read",
    "waiting": "waiting for the sums",
    "kept": "kept one by one",
    "expired_age": "expired by age",
    "expired_size": "removed for room",
    "damaged": "set aside as damaged",
    "pending": "on the way to the disk",
    "blocked_begun": "before recording began",
    "blocked_next": "blocked calls numbered",
    "blocked_came": "came apart",
    "blocked_missing": "did not come apart",
    "blocked_let_go": "let go",
    "shed_full": "let go: disk full",
    "shed_readonly": "let go: disk takes no writing",
    "shed_gone": "let go: folder removed",
    "shed_failed": "let go: disk error",
    "shed_slow": "let go: disk too slow",
    "shed_behind": "let go: the sums are too far behind",
}
_EQUATIONS = {
    "kernel": "Kernel's log",
    "delivery": "Delivery",
    "gaps": "Gaps",
    "journal": "Journal",
    "roll-up": "Sums",
    "history": "History",
    "blocked": "Blocked",
}


def head(how: Link, model: Model, clock: Clock, width: int) -> Text:
    """Return the first line: which machine, how it is set, how the stream is, and what time it is there."""
    machine = model.machine
    left = Text("kmodlab", BOLD)
    if machine:
        mode = BAD if machine["mode"] == "enforcing" else WARN
        left = Text.assemble(left, f"  {plain(machine['host'])}  {plain(machine['kernel'])}  ", (machine["mode"], mode))
    when = f"{clock.time(model.now)} {clock.label}" if model.latest else ""
    right = Text.assemble(link(how, model), f"  {when}")
    return Text.assemble(fitted(left, max(0, width - right.cell_len - 1)), " ", right)


def tabs(marks: Mapping[str, str], shown: str, width: int) -> Text:
    """Return the names of the views, each with what is behind it, and of `?` if there is room."""
    parts = []
    for number, (name, mark) in enumerate(marks.items(), 1):
        text = f"{number} {name.capitalize()}{mark}"
        parts.append(Text(f"[{text}]", "bold") if name == shown else Text(f" {text} ", DIM))
    found = Text.assemble(*parts)
    hint = Text("  ? keys", DIM)
    return fitted(found + hint if found.cell_len + hint.cell_len <= width else found, width)


def link(how: Link, model: Model) -> Text:
    """Return how the stream is, in two words."""
    if how is Link.OPEN and model.silence > SILENT:
        return Text(f"silent for {span(model.silence)}", WARN)
    return Text(how.value, _TONES[how])


def troubles(how: Link, why: str, model: Model) -> list[Text]:
    """Return what is wrong just now, one sentence each."""
    found = []
    if how is Link.ENDED:
        found.append(Text("The session has ended: start kmodlab top again.", BAD))
    elif how is Link.RENEWING:
        found.append(Text("The session has ended: another one is being opened.", WARN))
    elif how is Link.RECONNECTING:
        found.append(Text(f"{_sentence(plain(why))} It is tried again.", WARN))
    elif model.machine is None:
        found.append(Text("Waiting for the daemon.", DIM))
    state = model.machine["state"] if model.machine else "recording"
    if said := _STATES.get(state, f"Nothing is recorded: {plain(state)}."):
        found.append(Text(said, WARN))
    return [*found, *(Text(_sentence(plain(one)), BAD) for one in model.troubles)]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def tiles(model: Model) -> Text:
    """Return the rates of the last seconds, what is lost, and how far the sums are behind."""
    rate = model.rates()
    histogram = [0.0] * 64
    for _, one, _ in model.recent():
        histogram = [a + b for a, b in zip(histogram, one.histogram, strict=True)]
    behind = model.latest["behind"] if model.latest else 0
    parts = [
        (short(rate.n), BOLD, " calls/s"),
        (short(rate.blocked), BAD if rate.blocked else BOLD, " blocked/s"),
        (percent(rate.errors, rate.n), BOLD, " failed"),
        (duration(quantile(histogram, 0.5)), BOLD, " median"),
        (whole(model.lost), WARN if model.lost else GOOD, " lost"),
        (f"{round(behind) if behind >= 1 else 0} s", GOOD if behind < 2 else WARN, " behind"),
    ]
    return Text("  ").join([Text.assemble((number, style), (words, DIM)) for number, style, words in parts])


def verdict(model: Model) -> list[Text]:
    """Return whether the books close: the foot of every view. Where they do not, the sums that are open are named."""
    sums = model.sums
    if model.latest is None:
        return [Text("waiting for the ledger", DIM)]
    ledger = model.latest["ledger"]
    shed = sum(number for term, number in ledger.items() if term.startswith("shed_"))
    parts = f"stored {whole(ledger.get('stored', 0))} + on the way {whole(ledger.get('pending', 0))}"
    received = f"received {whole(ledger.get('received', 0))} = {parts} + let go {whole(shed)}"
    if sums.closes:
        return [Text.assemble(("\u2713 the books close", GOOD), "  ", (received, DIM))]
    lines = [Text.assemble(("\u2717 the books do not close", BAD), "  ", (received, DIM))]
    lines += [Text(f"  {plain(one)}", BAD) for one in sums.open[:MOST_OPEN]]
    if len(sums.open) > MOST_OPEN:
        lines.append(Text(f"  and {len(sums.open) - MOST_OPEN} more", BAD))
    return [*lines, Text(f"  {own_sum(model)}", BAD)] if sums.missing else lines


def own_sum(model: Model) -> str:
    """Return the sum of this program's own stream."""
    sums = model.sums
    text = f"in the sums {whole(sums.rolled)} = {whole(sums.base)} before + {whole(sums.events)} that came"
    if not sums.missing:
        return text
    return (
        f"{text} + {whole(sums.missing)} that are nowhere"
        if sums.missing > 0
        else (f"{text} - {whole(-sums.missing)} that came twice")
    )


# -- Filters -------------------------------------------------------------------------------------------------------


def settings(machine: Mapping[str, Any] | None, admin: bool, width: int) -> list[Text]:
    """Return the mode, the filters and the calls that are traced."""
    if machine is None:
        return [Text("Waiting for the machine.", DIM)]
    enforcing = machine["mode"] == "enforcing"
    ran = "A call that a filter blocks does not run." if enforcing else "A call that a filter blocks is told, and runs."
    may = "c changes it: a line of /proc/syscall_tracer, or enforce=0|1." if admin else "Changes take the role admin."
    lines = [
        Text.assemble((plain(machine["mode"]), BAD if enforcing else WARN), f"  {ran}"),
        Text(may, DIM),
        Text(),
        Text.assemble(("Filters", BOLD), (", the first that matches decides", DIM)),
        *(_filter(one) for one in machine["filters"]),
    ]
    if not machine["filters"]:
        lines.append(Text("  no filter: nothing is blocked", DIM))
    traced = " ".join(plain(one) for one in machine["traced"])
    return [*lines, Text(), Text("Calls that are traced", BOLD), *_wrapped(traced, width)]


def _filter(text: str) -> Text:
    name, _, rest = text.replace(":", "", 1).partition(" ")
    blocks = rest.lower().startswith("block")
    return Text.assemble("  ", (plain(name), BOLD), " ", (plain(rest), BAD if blocks else GOOD))


def _wrapped(text: str, width: int) -> list[Text]:
    lines, rest = [], text.split()
    while rest:
        taken = 1
        while taken < len(rest) and len(" ".join(rest[: taken + 1])) <= width - 2:
            taken += 1
        lines.append(Text("  " + " ".join(rest[:taken])))
        rest = rest[taken:]
    return lines


CHANGES = (Column("Changed", 19), Column("Who", 12), Column("What"))


def change(one: Mapping[str, Any], clock: Clock, width: int) -> Text:
    """Return one change, and who made it."""
    return line(CHANGES, [clock.full(one["wall"]), plain(one["who"]), plain(one["what"])], width)


# -- Health --------------------------------------------------------------------------------------------------------

_LEDGER = (Column("Where", 14), Column("Sum", 12), Column("Calls", 12, right=True), Column("are"), Column("Closes", 8))


def health(books: Mapping[str, Any] | None, model: Model, session: Mapping[str, Any], clock: Clock) -> list[Text]:
    """Return the ledger, sum by sum, what is not kept, and what the parts are; without the lines of the table."""
    if books is None:
        return [Text("Looking.", DIM)]
    lost = [term for term in _TERMS if term in (*LOST, "overwritten", "away") and books["totals"].get(term)]
    lines = [Text("Not kept, by place and cause", BOLD)]
    for term in lost:
        style = WARN if term in LOST else DIM
        lines.append(Text.assemble("  ", (f"{whole(books['totals'][term]):>14}", style), f" {_TERMS[term]}"))
    if not lost:
        lines.append(Text("  nothing was lost", DIM))
    return [*lines, Text(), Text("What this is", BOLD), *_machine(books, model, session, clock).split("\n")]


def _machine(books: Mapping[str, Any], model: Model, session: Mapping[str, Any], clock: Clock) -> Text:
    machine = model.machine or {}
    since = machine.get("recorded_since")
    raw = machine.get("raw_since")
    anew = f", began anew {model.epochs} times meanwhile" if model.epochs else ""
    server = books.get("server", {})
    merged = f"{whole(server.get('sent', 0))} sent, {whole(server.get('coalesced', 0))} merged for slow ones"
    names = ("host", "kernel", "version", "hook", "mode", "state", "boot")
    facts = [
        *((f"  {name.capitalize()}", plain(machine.get(name, ""))) for name in names),
        ("  Boot and load", f"{machine.get('epoch', 0)}{anew}"),
        ("  Recorded since", clock.full(since) if since else "not yet"),
        ("  One by one since", clock.full(raw) if raw else "not yet"),
        ("  Left out", f"{whole(books['totals'].get('excluded', 0))} calls of the recorder itself"),
        ("  Frames", merged),
        ("  Daemon", plain(session.get("version", ""))),
        ("  You are", f"{plain(session.get('who', ''))}, {plain(session.get('role', ''))}"),
    ]
    return listed(facts)


def equations(books: Mapping[str, Any], model: Model, width: int) -> list[Text]:
    """Return the ledger as a table: each line has to be equal on both sides; the last is this program's own."""
    lines = [_equation(one, width) for one in books["equations"]]
    sums = model.sums
    closes = Text("yes", GOOD) if sums.known and not sums.missing else Text(f"no: {whole(sums.missing)}", BAD)
    own = f"{whole(sums.base)} before + {whole(sums.events)} came"
    return [*lines, line(_LEDGER, ["this program", "Stream", whole(sums.rolled), own, closes], width)]


def equation_columns() -> Sequence[Column]:
    """Return the columns of that table."""
    return _LEDGER


def _equation(one: Mapping[str, Any], width: int) -> Text:
    some = {term: number for term, number in one["right"].items() if number} or dict([*one["right"].items()][:1])
    terms = " + ".join(f"{whole(number)} {_TERMS.get(term, plain(term))}" for term, number in some.items())
    closes = Text("yes", GOOD) if one["closes"] else Text(f"no: {whole(one['difference'])}", BAD)
    name = _EQUATIONS.get(one["name"], plain(one["name"]))
    found = line(_LEDGER, [plain(one["scope"]), name, whole(one["number"]), terms, closes], width)
    if not one["closes"]:
        found.stylize(BAD)
    return found
