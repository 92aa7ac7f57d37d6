"""The program in the terminal: one stream, seven views, a few keys. What a view shows is its own (see `panes`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.message import Message
from textual.widgets import ContentSwitcher, Input, Static

from . import facts, keys, style
from .asking import Asking
from .client import Client, Problem
from .dialog import Dialog
from .feed import Feed, Link
from .keys import ACTIONS, TASK_ACTIONS, VIEWS
from .lines import Lines
from .model import WINDOW, Model
from .panes.base import Pane
from .panes.calls import BlockedPane, EventsPane, LivePane
from .panes.machine import FiltersPane, HealthPane
from .panes.ranking import TopPane
from .panes.tasks import TasksPane
from .words import ZONES, Clock

FRAME_SECONDS = 0.25
ASK_SECONDS = 2.0
LOOK_SECONDS = 5.0
PRIMES = 4
"""How often is asked what was before the stream."""
LEAST = (60, 12)
"""Columns and rows below which nothing can be read."""


class Heard(Message):
    """Something came by the stream."""

    def __init__(self, kind: str, what: Any) -> None:  # noqa: ANN401  # JSON
        super().__init__()
        self.kind, self.what = kind, what


class Top(App[None]):
    """The dashboard in a terminal.

    Args:
        client: asks the server.
        session: who asks, as the interface has it.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = style.CSS
    # With priority they take effect in the order in which they were typed, however far ahead.
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"view('{name}')", priority=True) for number, name in enumerate(VIEWS, 1)),
        *(Binding(key, action, priority=True) for key, action in ACTIONS.items()),
        *(Binding(key, f"task('{action}')", priority=True) for key, action in TASK_ACTIONS.items()),
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
        self.clock = Clock("here", int(session.get("utc_offset", 0)))
        self._asking = Asking(self.run_worker, self.touch)
        self._dirty, self._primes = True, PRIMES
        self._drawn_at: object = None
        self._make_panes()

    def _make_panes(self) -> None:
        self.view = VIEWS[0]
        self.events, self.blocked = EventsPane(self, self.feed.want), BlockedPane(self)
        self.ranking, self.filters, self.tasks = TopPane(self), FiltersPane(self), TasksPane(self)
        live, health = LivePane(self, self.events, self.blocked), HealthPane(self, self.session)
        every: tuple[Pane, ...] = (live, self.events, self.ranking, self.blocked, self.filters, health, self.tasks)
        self.panes = {pane.VIEW: pane for pane in every}

    @property
    def pane(self) -> Pane:
        """The view that is shown."""
        return self.panes[self.view]

    @property
    def admin(self) -> bool:
        """Whether changes may be asked for."""
        return self.session.get("role") == "admin"

    # -- the parts ---------------------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Make the widgets: none of them takes markup."""
        for name in ("head", "tabs", "notes", "small"):
            yield Pane.static(name)
        with ContentSwitcher(initial=self.view, id="views"):
            yield from (self.panes[name] for name in VIEWS)
        yield Input(id="asked", select_on_focus=False)
        yield Pane.static("foot")

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
        self._focus()
        self.events.filtered("")

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

    # -- what comes, and what is asked for ---------------------------------------------------------------------------

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
            self.blocked.ask_older()
        else:
            first, before = self.model.latest is None, self.model.latest
            self.model.apply(message.what)
            if first:
                self.prime()
            if before and before["epoch"] != message.what["epoch"]:
                self.look()
        self.touch()

    def ask(self, name: str, what: Callable[[], Any], then: Callable[[Any], None]) -> bool:
        """Ask something in a thread, once at a time, and go on with the answer; return whether it is asked."""
        return self.link is not Link.ENDED and self._asking.ask(name, what, then)

    @property
    def problems(self) -> Mapping[str, Problem]:
        """Why what was asked for is not there."""
        return self._asking.problems

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
        """Ask for what a view shows beside the stream; while the program ends it may have nothing any more."""
        if self.is_running and self.pane.query(Lines):
            self.pane.ask()

    # -- keys --------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Let a dialog have all keys but Ctrl-C; a letter that is typed is Textual's to tell from a key."""
        del parameters
        ours = action in ("view", "leave", "task", *ACTIONS.values())
        return not (ours and len(self.screen_stack) > 1) and (action != "task" or self.view == "tasks")

    def action_leave_all(self) -> None:
        """End the program."""
        self.exit()

    def action_view(self, name: str) -> None:
        """Show a view."""
        self.view = name
        self.query_one("#asked").remove_class("open")
        self.query_one("#views", ContentSwitcher).current = name
        self._focus()
        self.refresh_view()
        self.draw(now=True)

    def _focus(self) -> None:
        # At once: `Widget.focus` comes after keys that were typed ahead, which are then taken for others.
        self.screen_stack[0].set_focus(self.pane.query(Lines).first())

    def action_search(self) -> None:
        """Ask for a filter: of the tasks where these are shown, or of the events."""
        if self.view == "tasks":
            self.tasks.search()
            return
        self.action_view("events")
        self.events.search()

    def action_task(self, what: str) -> None:
        """Have the tasks do what a key of theirs says."""
        self.tasks.act(what)

    def action_change(self) -> None:
        """Ask for a change, of who may make one."""
        if self.view != "filters":
            self.action_view("filters")
        self.filters.change()

    def prompt(self, what: str, value: str, hint: str) -> None:
        """Let the user type a line; the view that is shown gets it."""
        asked = self.query_one("#asked", Input)
        asked.value, asked.placeholder, asked.border_title = value, f"{what}{hint}", what
        asked.add_class("open")
        self.screen_stack[0].set_focus(asked)
        asked.cursor_position = len(value)

    def action_leave(self) -> None:
        """Close what is open."""
        self.query_one("#asked").remove_class("open")
        self._focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take what was typed."""
        self.action_leave()
        self.pane.submitted(event.value.strip())

    def action_pause(self) -> None:
        """Hold the events that are seen, and go on."""
        self.events.pause(self.view == "events")

    def action_span(self) -> None:
        """Rank over another time."""
        self.ranking.turn()
        self.action_view("top")

    def action_zone(self) -> None:
        """Show times as somebody else has them."""
        zone = ZONES[(ZONES.index(self.clock.zone) + 1) % len(ZONES)]
        self.clock = Clock(zone, self.clock.offset)
        self.draw(now=True)

    def action_keys(self) -> None:
        """Show the keys."""
        self.tell(keys.listing(self.view))

    def tell(self, text: Text, keys: Mapping[str, Callable[[], None]] = MappingProxyType({})) -> None:
        """Show a text over the views; some keys close it, and do something."""
        self.push_screen(Dialog(text, frozenset(keys)), lambda key: keys[key]() if key else None)

    def calls_of(self, text: str) -> None:
        """Show the calls that match a filter."""
        self.action_view("events")
        self.events.filtered(text)

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

    def touch(self) -> None:
        """Have what has changed drawn with the next frame."""
        self._dirty = True

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
                "small", Text(f"This terminal is {width}x{height}: top takes {LEAST[0]}x{LEAST[1]}, better 80x24.")
            )
            return
        self._say("head", facts.head(self.link, self.model, self.clock, width))
        self._say("tabs", facts.tabs({name: self.panes[name].mark for name in VIEWS}, self.view, width))
        notes = facts.troubles(self.link, self.why, self.model)
        self._say("notes", *notes).display = bool(notes)
        self._say("foot", *facts.verdict(self.model))
        self.pane.draw()

    def _say(self, name: str, *lines: Text) -> Static:
        part = self.screen_stack[0].query_one(f"#{name}", Static)
        part.update(Text("\n").join(lines))
        return part
