"""The keys, what they do, and the words of filters, as `?` lists them."""

from __future__ import annotations

from rich.text import Text

from .tables import BOLD, listed

VIEWS = ("live", "events", "top", "blocked", "filters", "health", "tasks")
ACTIONS = {
    "slash": "search",
    "p": "pause",
    "s": "span",
    "z": "zone",
    "c": "change",
    "question_mark": "keys",
    "q": "leave_all",
}
"""What the program does at a key, by the name that Textual has for it."""
TASK_ACTIONS = {
    "t,f5": "tree",
    "R,I": "turn",
    "M": "memory",
    "N": "pid",
    "less_than_sign": "left",
    "greater_than_sign,f6": "right",
    "f3,f4": "search",
}
"""The same in Tasks alone: those of top and htop, where they have one."""
KEYS = (
    ("1 - 7", "the views"),
    ("/", "the filter of the events; empty shows all"),
    ("p", "pause the events, and go on"),
    ("s", "in Top: the last minute, 15 minutes, hour, day"),
    ("z", "times of this machine, UTC, or the server's"),
    ("c", "in Filters, for admins: change mode, filters, traced calls"),
    ("Tab", "from list to list"),
    ("\u2191 \u2193", "from line to line"),
    ("Enter", "all of a call or a task; the calls of a process, or of one name"),
    ("Esc", "back"),
    ("q", "quit"),
)
TASK_KEYS = (
    ("/ F3", "search; empty shows all"),
    ("< >", "sort by the column beside; a click on a head sorts, too"),
    ("M N", "sort by memory, by PID"),
    ("R", "turn the order"),
    ("t F5", "as a tree, with the sums of all below each"),
    ("\u2190 \u2192", "in a tree: close, or to the parent; open"),
    ("Enter", "all of a task; then e for its calls, c for its children"),
)
WORDS = (
    ("call=openat,unlinkat", "these calls"),
    ("status=failed", "logged, blocked or failed"),
    ("pid=977 uid=0", "this process, this user"),
    ("comm=ssh", "a part of the command name"),
    ("/etc/", "a part of an argument"),
)
TASK_WORDS = (
    ("state=running,zombie", "in these states"),
    ("pid=977 ppid=402 uid=0", "this process, the children of this one, those of this user"),
    ("bash", "a part of the command name, or a PID"),
)


def listing(view: str) -> Text:
    """Return all of them: first those of the view that is shown."""
    tasks = [Text("Keys in Tasks", BOLD), listed(TASK_KEYS), Text("Words of a search", BOLD), listed(TASK_WORDS)]
    parts = [Text("Keys", BOLD), listed(KEYS), Text("Words of the filter", BOLD), listed(WORDS)]
    return Text("\n").join([*tasks, *parts] if view == "tasks" else [*parts, *tasks])
