"""/proc/seconds against the machine's own clock, whatever words are around the number."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from testinfra.host import Host

from kmodlab.grading.expect import quoted, require

#: pieces of the file that anyone may make us read. Not `head -c`: who ignores how much is asked for gives it more than
#: that at the end, and then it goes on for ever.
MOST = 500
READ = f"dd if=/proc/seconds bs=4096 count={MOST} status=none"
PIECES = f"dd if=/proc/seconds bs=4096 count={MOST} status=noxfer 2>&1 >/dev/null | sed -n 's/+/ /;s/ records in//p'"
NOW = "cut -d' ' -f1 /proc/uptime"
MARK = "--- kmodlab ---"
#: seconds that a number may be off: who rounds down is right, and who rounds up
ROUNDED = 1
ENDS = "A read function returns 0 when all has been given out; the next `cat` begins anew."
VALUE = "Note `jiffies` in your init function; what has been added to it since, divided by HZ, are the seconds."


def numbers(text: str) -> list[float]:
    """Return the numbers of a text in their order, as they stand in it."""
    return [float(word) for word in re.findall(r"(?<![\w.,])-?\d{1,20}(?:\.\d+)?", text)]


@dataclass(frozen=True)
class Look:
    """A read of the file.

    Attributes:
        least: seconds that the module had been loaded, at least.
        most: at most.
        text: what the file showed.
    """

    least: float
    most: float
    text: str

    def has(self, place: int) -> bool:
        """Whether the number at a place is the time since loading."""
        return any(
            self.least - ROUNDED <= value <= self.most + ROUNDED for value in numbers(self.text)[place : place + 1]
        )


def test_the_file_is_there(host: Host) -> None:
    """A file, of the kind that /proc has."""
    there = host.run("test -f /proc/seconds").rc == 0
    require(there, "a file `/proc/seconds`", "there is none", "Does your init function call proc_create()?")


def test_a_read_ends_and_the_next_gives_a_value_again(host: Host) -> None:
    """Each of three readers gets a value and then the end of the file."""
    for number in range(1, 4):
        shown = host.run(READ).stdout
        require(shown.strip(), f"a value in read {number} of 3", quoted(shown), ENDS)
        pieces = sum(map(int, host.run(PIECES).stdout.split()))
        require(pieces < MOST, "a read that comes to an end", f"{quoted(shown, 60)} without an end", ENDS)


def test_the_value_is_the_time_since_loading(host: Host, loaded: tuple[float, float], chance: random.Random) -> None:
    """After two waits whose length nobody knows before; rounded down, up or to the nearest.

    The first is longer than any rounding: who counts from the first read on shows 0 then.
    """
    earliest, latest = loaded
    look = f"{NOW}; echo '{MARK}'; {READ}; echo; echo '{MARK}'; {NOW}; echo '{MARK}'"
    waits = [chance.uniform(2.2, 3.5), chance.uniform(2.2, 3.5)]
    parts = host.run("; ".join(f"sleep {wait:.2f}; {look}" for wait in waits)).stdout.split(MARK)
    require_value([Look(float(parts[at]) - latest, float(parts[at + 2]) - earliest, parts[at + 1]) for at in (0, 3)])


def require_value(looked: list[Look]) -> None:
    """Check that one number, at the same place in each read, is the time since loading."""
    places = range(max(len(numbers(look.text)) for look in looked))
    found = any(all(look.has(place) for look in looked) for place in places)
    bad = next((look for look in looked if not any(look.has(place) for place in places)), looked[-1])
    require(found, f"about {bad.least:.0f}, the seconds since the module was loaded", quoted(bad.text), VALUE)
