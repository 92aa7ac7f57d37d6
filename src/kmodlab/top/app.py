"""The program in the terminal: one stream, six views, a few keys. What is drawn is made elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.events import Resize
from textual.geometry import Size
from textual.message import Message
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Input, Static

from . import facts, tables
from .client import Client, Problem
from .feed import Feed, Link
from .lines import Lines
from .model import WINDOW, Model, Row, View, identity, rows
from .words import ZONES, Clock, plain, span, whole

VIEWS = ("live", "events", "top", "blocked", "filters", "health")
SPANS = (60, 900, 3600, 86400)
FRAME_SECONDS = 0.25
ASK_SECONDS = 2.0
LOOK_SECONDS = 5.0
PRIMES = 4
"""How often is asked what was before the stream."""
BEFORE_SECONDS, BEFORE_ROWS = 900, 100
MONTH_SECONDS = 31 * 86400
LIMIT = 50
LEAST = (60, 12)
"""Columns and rows below which nothing can be read."""
KEYS = (
    ("1 - 6", "the views"),
    ("/", "the filter of the events; empty shows all"),
    ("p", "pause the events, and go on"),
    ("s", "in Top: the last minute, 15 minutes, hour, day"),
    ("z", "times of this machine, UTC, or the server's"),
    ("c", "in Filters, for admins: change mode, filters, traced calls"),
    ("Tab", "from list to list"),
    ("\u2191 \u2193", "from line to line"),
    ("Enter", "all of a call; the calls of a process, or of one name"),
    ("Esc", "back"),
    ("q", "quit"),
)
ACTIONS = {
    "slash": "search",
    "p": "pause",
    "s": "span",
    "z": "zone",
    "c": "change",
    "question_mark": "keys",
    "q": "leave_all",
}
WORDS = (
    ("call=openat,unlinkat", "these calls"),
    ("status=failed", "logged, blocked or failed"),
    ("pid=977 uid=0", "this process, this user"),
    ("comm=ssh", "a part of the command name"),
    ("/etc/", "a part of an argument"),
)


class Heard(Message):
    """Something came by the stream."""

    def __init__(self, kind: str, what: Any) -> None:  # noqa: ANN401  # JSON
        super().__init__()
        self.kind, self.what = kind, what


class Dialog(ModalScreen[None]):
    """A text over the views, until a key closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q,question_mark,space", "dismiss"),
        Binding("up", "scroll(-1)"),
        Binding("down", "scroll(1)"),
    ]

    def __init__(self, text: Text) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Make it."""
        with VerticalScroll(id="dialog"):
            yield Static(self._text, id="dialog-text", markup=False)

    def action_scroll(self, step: int) -> None:
        """Go up or down."""
        self.query_one("#dialog").scroll_relative(y=step, animate=False)


class Top(App[None]):
    """The dashboard in a terminal.

    Args:
        client: asks the server.
        session: who asks, as the interface has it.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; background: black; }
    #head, #tabs, #tiles, #said, #span { height: 1; }
    #head { background: $primary-background; }
    #notes { height: auto; max-height: 4; }
    #foot { height: auto; max-height: 6; background: $primary-background; }
    #views, #views > Vertical { height: 1fr; }
    #rates { height: 5fr; } #newest { height: 3fr; } #stopped { height: 2fr; }
    #processes { height: 3fr; } #calls { height: 2fr; }
    #settings { height: 3fr; } #changes { height: 2fr; }
    #books { height: 3fr; } #parts { height: 2fr; }
    #asked { display: none; height: 1; border: none; padding: 0; }
    #asked.open { display: block; }
    #small { display: none; }
    .small #small { display: block; height: 1fr; }
    .small #views, .small #tabs, .small #head, .small #foot, .small #notes { display: none; }
    Dialog { align: center middle; }
    #dialog { width: 90%; max-width: 100; height: auto; max-height: 90%; border: round $primary; padding: 0 1; }
    #dialog-text { width: 100%; height: auto; }
    """
    # With priority they take effect in the order in which they were typed, however far ahead.
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"view('{name}')", priority=True) for number, name in enumerate(VIEWS, 1)),
        *(Binding(key, action, priority=True) for key, action in ACTIONS.items()),
        Binding("escape", "leave", priority=True),
        Binding("ctrl+c", "quit", priority=True),
        Binding("ctrl+z", "suspend_process"),
    ]

    def __init__(self, client: Client, session: Mapping[str, Any]) -> None:
        # Without colours there is none at all, not even grey ones for them.
        super().__init__(ansi_color="NO_COLOR" in os.environ or None)
        self.model = Model()
        self.client, self.session = client, session
        self.feed = Feed(client, self._hear)
        self.link, self.why = Link.CONNECTING, ""
        self.view = "live"
        self.filter = ""
        self.filter_problem: Problem | None = None
        self.held: list[Row] | None = None
        self.seen: list[Row] = []
        self.held_events = 0
        self.seconds = SPANS[0]
        self.ranked: dict[str, list[Row]] = {"process": [], "call": []}
        self.problems: dict[str, Problem] = {}
        self.older: list[Row] = []
        self.books: Mapping[str, Any] | None = None
        self.changes: list[Row] = []
        self.result: Text | None = None
        self.asking: set[str] = set()
        self._dirty, self._primes = True, PRIMES
        self._drawn_at: object = None
        self.clock = Clock("here", int(session.get("utc_offset", 0)))

    @property
    def admin(self) -> bool:
        """Whether changes may be asked for."""
        return self.session.get("role") == "admin"

    # -- the parts ---------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Make the widgets: none of them takes markup."""
        yield self._static("head")
        yield self._static("tabs")
        yield self._static("notes")
        yield self._static("small")
        with ContentSwitcher(initial="live", id="views"):
            with Vertical(id="live"):
                yield self._static("tiles")
                yield Lines("rates", "No call yet.")
                yield Lines("newest", "No call yet.")
                yield Lines("stopped", "No call was blocked.")
            with Vertical(id="events"):
                yield self._static("said")
                yield Lines("rows")
            with Vertical(id="top"):
                yield self._static("span")
                yield Lines("processes", "Nothing in this time.")
                yield Lines("calls", "Nothing in this time.")
            with Vertical(id="blocked"):
                yield self._static("left-out")
                yield Lines("all-blocked", "No call was blocked.")
            with Vertical(id="filters"):
                yield self._static("result")
                yield Lines("settings")
                yield Lines("changes", "Nothing was changed in the last month.")
            with Vertical(id="health"):
                yield Lines("books", "Looking.")
                yield Lines("parts", "Looking.")
        yield Input(id="asked", select_on_focus=False)
        yield self._static("foot")

    @staticmethod
    def _static(name: str) -> Static:
        return Static(id=name, markup=False)

    def on_mount(self) -> None:
        """Begin to listen."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.exit, None, 128 + number)
        loop.add_signal_handler(signal.SIGINT, self.exit)
        self.feed.start()
        self.set_interval(FRAME_SECONDS, self.draw)
        self.set_interval(ASK_SECONDS, self.refresh_view)
        self.set_interval(LOOK_SECONDS, self.look)
        self.query_one("#rates").focus()
        self.filtered("")

    async def on_unmount(self) -> None:
        """End the stream, and whatever is being asked."""
        self.client.close()
        await asyncio.to_thread(self.feed.stop)

    def _fatal_error(self) -> None:
        # Textual's own would print a traceback with what is in the variables; the program has a better last resort.
        self._close_messages_no_wait()

    @property
    def fault(self) -> Exception | None:
        """What broke the program, if anything did."""
        return self._exception

    # -- what comes --------------------------------------------------------------------------------------------------

    def _hear(self, kind: str, what: Any) -> None:  # noqa: ANN401  # JSON
        """Have the program take something, from the stream's thread."""
        self.post_message(Heard(kind, what))

    def on_heard(self, message: Heard) -> None:
        """Take what came by the stream."""
        if message.kind == "link":
            self.link, self.why = message.what
        elif message.kind == "state":
            self.model.begin(message.what)
            self._primes = PRIMES
            self.prime()
            self._ask_blocked()
        else:
            first, before = self.model.latest is None, self.model.latest
            self.model.apply(message.what)
            if first:
                self.prime()
            if before and before["epoch"] != message.what["epoch"]:
                self.look()
        self._dirty = True

    def ask(self, name: str, what: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Ask something in a thread, once at a time, and go on with the answer."""
        if name in self.asking or self.link is Link.ENDED:
            return
        self.asking.add(name)
        self.run_worker(self._asked(name, what, then), exit_on_error=True)

    async def _asked(self, name: str, what: Callable[[], Any], then: Callable[[Any], None]) -> None:
        try:
            found = await asyncio.to_thread(what)
        except Problem as problem:
            self.problems[name] = problem
        else:
            self.problems.pop(name, None)
            then(found)
        finally:
            self.asking.discard(name)
            self._dirty = True

    def prime(self) -> None:
        """Fill the bars with what was before."""
        end = self.model.now

        def ask() -> Any:  # noqa: ANN401
            return self.client.get("rates", begin=max(0, end - WINDOW), end=end, step=1, by="call")

        def then(rates: Mapping[str, Any]) -> None:
            self._primes -= 1
            self.model.prime(rates)

        self.ask("rates", ask, then)

    def look(self) -> None:
        """Ask how the machine is set, and again what was before: a history has the last seconds only later."""
        if self._primes > 0 and self.model.latest:
            self.prime()
        self.ask("machine", lambda: self.client.get("machine"), self._looked)

    def _looked(self, machine: Mapping[str, Any]) -> None:
        self.model.machine = machine

    def refresh_view(self) -> None:
        """Ask for what a view shows beside the stream."""
        ask = {"top": self._ask_top, "filters": self._ask_changes, "health": self._ask_books}
        if self.view in ask:
            ask[self.view]()

    def _ask_top(self) -> None:
        end, seconds = self.model.now, self.seconds

        def ask() -> dict[str, list[Row]]:
            found = {}
            for by in ("process", "call"):
                found[by] = rows(self.client.get("top", begin=max(0, end - seconds), end=end, by=by, limit=LIMIT))
            return found

        def then(found: dict[str, list[Row]]) -> None:
            self.ranked = found

        self.ask("top", ask, then)

    def _ask_blocked(self) -> None:
        end = self.model.now

        def then(found: Mapping[str, Any]) -> None:
            self.older = rows(found["rows"])

        begin = max(0, end - MONTH_SECONDS)
        self.ask("blocked", lambda: self.client.get("blocked", begin=begin, end=end, limit=200), then)

    def _ask_changes(self) -> None:
        end = self.model.now + 60

        def then(found: Mapping[str, Any]) -> None:
            self.changes = rows(found)

        begin = max(0, end - MONTH_SECONDS)
        self.ask("changes", lambda: self.client.get("changes", begin=begin, end=end), then)

    def _ask_books(self) -> None:
        def then(found: Mapping[str, Any]) -> None:
            self.books = found

        self.ask("ledger", lambda: self.client.get("ledger"), then)

    # -- keys --------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Let a dialog have all keys but Ctrl-C; a letter that is typed is Textual's to tell from a key."""
        del parameters
        ours = action in ("view", "leave", *ACTIONS.values())
        return not (ours and len(self.screen_stack) > 1)

    def action_leave_all(self) -> None:
        """End the program."""
        self.exit()

    def action_view(self, name: str) -> None:
        """Show a view."""
        self.view = name
        self.query_one("#asked").remove_class("open")
        self.query_one("#views", ContentSwitcher).current = name
        self._focus(self.query_one(f"#{name}").query(Lines).first())
        self.refresh_view()
        self.draw(now=True)

    def _focus(self, widget: Widget) -> None:
        # At once: `Widget.focus` comes after keys that were typed ahead, which are then taken for others.
        self.screen_stack[0].set_focus(widget)

    def action_search(self) -> None:
        """Ask for a filter."""
        self.action_view("events")
        self._open(
            "Filter: ", self.filter, "call=openat status=blocked pid=1 uid=0 comm=bash, or a part of an argument"
        )

    def action_change(self) -> None:
        """Ask for a change, of who may make one."""
        if self.view != "filters":
            self.action_view("filters")
        if not self.admin:
            self.result = Text("Changes take the role admin.", tables.WARN)
            self.draw(now=True)
            return
        self._open("Change: ", "", "unlink block uid=1000, unlink delete, trace connect, enforce=0")

    def _open(self, what: str, value: str, hint: str) -> None:
        asked = self.query_one("#asked", Input)
        asked.value, asked.placeholder, asked.border_title = value, f"{what}{hint}", what
        asked.add_class("open")
        self._focus(asked)
        asked.cursor_position = len(value)

    def action_leave(self) -> None:
        """Close what is open."""
        self.query_one("#asked").remove_class("open")
        self._focus(self.query_one(f"#{self.view}").query(Lines).first())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take what was typed."""
        self.action_leave()
        text = event.value.strip()
        if self.view == "events":
            self.filtered(text)
        elif text:
            self._change(text)

    def filtered(self, text: str) -> None:
        """Show the calls that match; what came before somebody asked is there, too. The server says what it refuses."""
        self.filter, self.filter_problem, self.held = text, None, None
        end = self.model.now
        begin = max(0, end - BEFORE_SECONDS)

        async def ask() -> None:
            try:
                found = await asyncio.to_thread(
                    lambda: self.client.get("events", filter=text, begin=begin, end=end, limit=BEFORE_ROWS)
                )
            except Problem as problem:
                if text == self.filter and problem.code == 400:
                    self.filter_problem = problem
            else:
                self.model.prefill(text, rows(found["rows"]))
            # One that the server refuses would take the stream from us.
            if text == self.filter and not self.filter_problem:
                self.feed.want(text)
            self._dirty = True

        self.run_worker(ask(), group="filter", exclusive=True)
        self.draw(now=True)

    def _change(self, command: str) -> None:
        self.result = Text(f"Asked: {plain(command)}", tables.DIM)

        async def ask() -> None:
            try:
                self.model.machine = await asyncio.to_thread(self.client.post, "control", {"command": command})
            except Problem as problem:
                self.result = _refusal(problem)
            else:
                self.result = Text(f"Done: {plain(command)}", tables.GOOD)
                self.look()
                self._ask_changes()
            self._dirty = True

        self.run_worker(ask(), group="change")
        self.draw(now=True)

    def action_pause(self) -> None:
        """Hold the events that are seen, for as long as it takes; what comes meanwhile is counted."""
        # What is seen is held, not what has come since it was drawn.
        rows = self.seen if self.view == "events" else self._events().rows
        self.held = rows if self.held is None else None
        self.held_events = self.model.events
        self.draw(now=True)

    def action_span(self) -> None:
        """Rank over another time."""
        self.seconds = SPANS[(SPANS.index(self.seconds) + 1) % len(SPANS)]
        self.action_view("top")

    def action_zone(self) -> None:
        """Show times as somebody else has them."""
        zone = ZONES[(ZONES.index(self.clock.zone) + 1) % len(ZONES)]
        self.clock = Clock(zone, self.clock.offset)
        self.draw(now=True)

    def action_keys(self) -> None:
        """Show the keys."""
        text = Text("\n").join(
            [
                Text("Keys", tables.BOLD),
                tables.listed(KEYS),
                Text("Words of the filter", tables.BOLD),
                tables.listed(WORDS),
            ]
        )
        self.push_screen(Dialog(text))

    def on_lines_picked(self, event: Lines.Picked) -> None:
        """Show all of a call, or the calls of what was chosen."""
        name, item = event.lines.id, event.item
        if name in ("newest", "stopped", "rows", "all-blocked"):
            self.push_screen(Dialog(tables.details(item, self.clock)))
        elif name == "rates":
            self._only(f"call={item[0]}")
        elif name == "calls":
            self._only(f"call={item['name']}")
        elif name == "processes" and item["pid"]:
            self._only(f"pid={item['pid']}")

    def _only(self, text: str) -> None:
        self.action_view("events")
        self.filtered(text)

    # -- what is drawn -----------------------------------------------------------------------------------------------

    def on_resize(self) -> None:
        """Draw anew, or say what is lacking."""
        self.call_after_refresh(self.draw, now=True)

    def _measure(self) -> None:
        """Look how large the terminal is: a signal that says so may come to a program that does not listen yet."""
        with contextlib.suppress(OSError):
            size = Size(*os.get_terminal_size(sys.__stdout__.fileno())) if sys.__stdout__ else self.size
            if size != self.size and not self.is_headless:
                self.post_message(Resize(size, size))

    def draw(self, now: bool = False) -> None:
        """Draw what has changed: not more often than four times a second, but for a key."""
        self._measure()
        same = not self._dirty and self.size == self._drawn_at
        if not self.is_running or (same and self.model.silence < facts.SILENT and not now):
            return
        self._dirty, self._drawn_at = False, self.size
        width, height = self.size
        small = width < LEAST[0] or height < LEAST[1]
        self.screen_stack[0].set_class(small, "small")
        if small:
            self._say(
                "small", [Text(f"This terminal is {width}x{height}: top takes {LEAST[0]}x{LEAST[1]}, better 80x24.")]
            )
            return
        self._say("head", [self._head(width)])
        self._say("tabs", [self._tabs()])
        self._say("notes", facts.troubles(self.link, self.why, self.model))
        self._say("foot", facts.verdict(self.model))
        getattr(self, f"_draw_{self.view}")()

    def _part(self, name: str) -> Any:  # noqa: ANN401  # a widget, whose kind its name tells
        return self.screen_stack[0].query_one(f"#{name}")

    def _say(self, name: str, lines: Iterable[Text]) -> None:
        found = list(lines)
        part = self._part(name)
        if name == "notes":
            part.display = bool(found)
        part.update(Text("\n").join(found))

    def _head(self, width: int) -> Text:
        machine = self.model.machine
        left = Text("kmodlab", tables.BOLD)
        if machine:
            mode = tables.BAD if machine["mode"] == "enforcing" else tables.WARN
            left = Text.assemble(
                left, f"  {plain(machine['host'])}  {plain(machine['kernel'])}  ", (machine["mode"], mode)
            )
        when = f"{self.clock.time(self.model.now)} {self.clock.label}" if self.model.latest else ""
        right = Text.assemble(facts.link(self.link, self.model), f"  {when}")
        return Text.assemble(tables.fitted(left, max(0, width - right.cell_len - 1)), " ", right)

    def _tabs(self) -> Text:
        parts = []
        blocked = len(self.model.blocked) + self.model.blocked_more
        marks = {"events": " held" if self.held is not None else "", "blocked": f" {whole(blocked)}" if blocked else ""}
        for number, name in enumerate(VIEWS, 1):
            text = f"{number} {name.capitalize()}{marks.get(name, '')}"
            parts.append(
                Text(f"[{text}]" if name == self.view else f" {text} ", "bold" if name == self.view else "dim")
            )
        return Text.assemble(*parts, ("  ? keys", "dim"))

    def _events(self) -> View:
        return self.model.views.get(self.filter, View())

    def _draw_live(self) -> None:
        self._say("tiles", [facts.tiles(self.model)])
        rated = lambda one, width: tables.rate_line(one, self.model, width)  # noqa: E731
        self._part("rates").show(
            self.model.recent(), rated, lambda width: tables.head(tables.rate_columns(width), width)
        )
        empty = "No call matches the filter of the events." if self.filter else "No call yet."
        self._calls("newest", self._events().rows, "Newest", empty)
        self._calls("stopped", self._stopped(), "Blocked", "No call was blocked.")

    def _calls(self, name: str, found: list[Row], title: str, empty: str) -> None:
        head = lambda width: tables.head(tables.call_columns(width, title), width)  # noqa: E731
        self._part(name).show(found, lambda row, width: tables.call_line(row, self.clock, width), head, empty)

    def _draw_events(self) -> None:
        self._say("said", [self._said()])
        empty = "The filter is not understood." if self.filter_problem else "No call that matches yet."
        self.seen = self._events().rows if self.held is None else self.held
        self._calls("rows", self.seen, "Time", empty)

    def _said(self) -> Text:
        """What is not among the rows, in numbers."""
        if self.filter_problem:
            return _refusal(self.filter_problem)
        only = (
            Text.assemble("Filter: ", (plain(self.filter), tables.BOLD), "  ") if self.filter else Text("No filter.  ")
        )
        if self.held is not None:
            since = f" {whole(self.model.events - self.held_events)} calls since; p goes on."
            return Text.assemble(only, ("Held.", tables.WARN), since)
        view = self._events()
        return Text.assemble(
            only, (f"{whole(view.shown)} of {whole(self.model.events)} calls came one by one.", tables.DIM)
        )

    def _draw_top(self) -> None:
        problem = self.problems.get("top")
        said = (
            _refusal(problem) if problem else Text(f"The last {span(self.seconds)}; s takes another time.", tables.DIM)
        )
        self._say("span", [said])
        for name, by in (("processes", "process"), ("calls", "call")):
            self._rank(name, self.ranked[by], by == "process")

    def _rank(self, name: str, found: list[Row], processes: bool) -> None:
        highest = max((one["n"] for one in found), default=0)
        total = sum(one["n"] for one in found)
        line = lambda one, width: tables.ranking_line(one, highest, total, width)  # noqa: E731
        self._part(name).show(found, line, lambda width: tables.head(tables.ranking_columns(processes), width))

    def _stopped(self) -> list[Row]:
        """Return the blocked calls that came, and behind them the history's."""
        seen = {identity(row) for row in self.model.blocked}
        return [*self.model.blocked, *(row for row in self.older if identity(row) not in seen)]

    def _draw_blocked(self) -> None:
        enforcing = (self.model.machine or {}).get("mode") == "enforcing"
        ran = "The module enforces: these did not run." if enforcing else "The module is permissive: these ran."
        more = self.model.blocked_more
        left = Text(f"  {whole(more)} more were too many to come one by one.", tables.WARN) if more else ""
        self._say("left-out", [Text.assemble((ran, tables.DIM), left)])
        self._calls("all-blocked", self._stopped(), "Time", "No call was blocked.")

    def _draw_filters(self) -> None:
        self._say("result", [self.result] if self.result else [])
        width = self.size.width - 1
        self._part("settings").show(facts.settings(self.model.machine, self.admin, width))
        line = lambda one, width: facts.change(one, self.clock, width)  # noqa: E731
        self._part("changes").show(self.changes, line, lambda width: tables.head(facts.CHANGES, width))

    def _draw_health(self) -> None:
        books = self.books
        if books is None:
            return
        width = self.size.width - 1
        found = facts.equations(books, self.model, width)
        self._part("books").show(found, None, lambda width: tables.head(facts.equation_columns(), width))
        self._part("parts").show(facts.health(books, self.model, self.session, self.clock))


def _refusal(problem: Problem) -> Text:
    """What is not done, as the kernel or the server says it, and what can be done."""
    return Text.assemble((plain(problem.message), tables.BAD), f"  {plain(problem.hint)}" if problem.hint else "")
