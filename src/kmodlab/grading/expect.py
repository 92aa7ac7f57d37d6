"""What a lab's test says to a student: what was expected, what was seen, and a hint.

A lab's tests import this, and nothing else of the grader:

    from kmodlab.grading.expect import quoted, require

    require(pid in shown, f"a line for PID {pid}", quoted(text), "Do you list processes that were started just now?")
"""

from __future__ import annotations

#: characters of a file that are quoted
_MOST = 300


class Unmet(AssertionError):
    """A module does not do what the test asks for.

    Args:
        expected: in the words of the task.
        seen: instead.
        hint: where to look; may be empty.
    """

    def __init__(self, expected: str, seen: str, hint: str = "") -> None:
        super().__init__(expected, seen, hint)
        self.expected, self.seen, self.hint = expected, seen, hint

    def __str__(self) -> str:
        return f"expected: {self.expected}; seen: {self.seen}"


def require(holds: object, expected: str, seen: str, hint: str = "") -> None:
    """Go on if something holds.

    Args:
        holds: what has to be true.
        expected: the same, in the words of the task: `the PID of the process, 812`.
        seen: instead.
        hint: where to look; may be empty.

    Raises:
        Unmet: it does not hold.
    """
    if not holds:
        raise Unmet(expected, seen, hint)


def quoted(text: str, most: int = _MOST) -> str:
    """Return what a module printed, for a sentence: in marks, cut where it is long; `nothing` where it is empty.

    Args:
        text: what was printed.
        most: characters of it that are shown.
    """
    if not (shown := text.strip()):
        return "nothing"
    cut = f" (and {len(shown) - most} characters more)" if len(shown) > most else ""
    return f"`{shown[:most]}`{cut}"
