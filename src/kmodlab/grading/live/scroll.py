"""The end of what machines print, as text that is safe to show, within bounds however much that is."""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Callable

from kmodlab.grading.follow import Recording

LIMIT = 64 << 10
"""Bytes of text that are kept, in UTF-8."""
BURST = 16 << 10
"""Bytes that are read at a time: what comes faster nobody reads, and making text of it would take time from grading."""
ANOTHER = "\n--- another machine ---\n"
_FIRST_LINE = 4096
#: what cannot be seen or turns text around (Cc without line ends and tabs, Cf, Zl, Zp, Cs, Co), by Unicode 16
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u2064\u2066-\u206f\ud800-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f\U000f0000-\U0010ffff]"
)
_LINE_END = re.compile(r"\r+\n")
_decoder = codecs.getincrementaldecoder("utf-8")


def written_out(text: str) -> str:
    """Return text with what cannot be seen, or turns text around, written out: `\\u{1b}`. Lines and tabs stay."""
    return _HIDDEN.sub(lambda found: f"\\u{{{ord(found.group()):x}}}", text)


class Scroll:
    """The end of a text that grows.

    Attributes:
        text: its end.
        written: letters that it ever had.
    """

    def __init__(self) -> None:
        self.text = ""
        self.written = 0

    def add(self, text: str) -> None:
        """Add to it, and forget its beginning."""
        self.written += len(text)
        # What comes at once may be more than is kept: no more of it is looked at.
        self.text += text[-LIMIT:]
        raw = self.text.encode()
        if len(raw) <= LIMIT:
            return
        end = raw[-LIMIT:].decode(errors="ignore")
        first = end.find("\n", 0, _FIRST_LINE)
        self.text = end[first + 1 :]

    def since(self, place: int) -> str | None:
        """Return what was added after so many letters; None where some of that is forgotten."""
        new = self.written - place
        return self.text[len(self.text) - new :] if 0 <= new <= len(self.text) else None


class Console:
    """The consoles of a submission's machines, one after the other; each is read when somebody looks, and not before.

    Args:
        wake: called, in whatever thread, when there is something to read and nobody knows yet.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.scroll = Scroll()
        self.size = 0
        """Bytes that the machines have printed, as far as they were read or left out."""
        self._wake = wake
        self.news = False
        """Whether there is something to read."""
        self._next: deque[Recording] = deque()
        self._current: Recording | None = None
        self._begin(0)

    def attach(self, recording: Recording) -> None:
        """Go on with another machine's; in any thread."""
        self._next.append(recording)
        recording.listen(self._heard)
        self._heard()

    def _heard(self) -> None:
        # In the thread that reads the machine's console: a machine that floods it meets one look at a flag.
        if not self.news:
            self.news = True
            self._wake()

    def refresh(self) -> bool:
        """Read what is new, always in the same thread; return whether there was any."""
        if not self.news:
            return False
        self.news = False
        self._read()
        while self._next:
            if self._current:
                self.scroll.add(ANOTHER)
            self._current = self._next.popleft()
            self._begin(0)
            self._read()
        return True

    def _begin(self, offset: int) -> None:
        self._offset, self._held = offset, ""
        self._decoder = _decoder("backslashreplace")

    def _read(self) -> None:
        if self._current is None:
            return
        most = BURST if self.scroll.written else LIMIT
        size, raw = self._current.since(self._offset, most)
        left_out = size - self._offset - len(raw)
        self.size += size - self._offset
        if left_out:
            self._begin(size)
            # What is left of a letter whose beginning was left out.
            raw = raw[:3].lstrip(bytes(range(0x80, 0xC0))) + raw[3:]
            self.scroll.add(f"\n[... {left_out} bytes are left out ...]\n")
        self._offset = size
        self._add(self._held + self._decoder.decode(raw))

    def _add(self, text: str) -> None:
        # A line may end in what comes next.
        self._held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix("\r")
        self.scroll.add(written_out(_LINE_END.sub("\n", text)))
