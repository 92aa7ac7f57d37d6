"""/proc/jiffies against the kernel's own /proc/timer_list, whatever words are around the number."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from testinfra.host import Host

from kmodlab.grading.expect import quoted, require

#: pieces of the file that anyone may make us read. Not `head -c`: who ignores how much is asked for gives it more than
#: that at the end, and then it goes on for ever.
MOST = 500
READ = f"dd if=/proc/jiffies bs=4096 count={MOST} status=none"
PIECES = f"dd if=/proc/jiffies bs=4096 count={MOST} status=noxfer 2>&1 >/dev/null | sed -n 's/+/ /;s/ records in//p'"
TRUTH = "sed -n 's/^jiffies: //p;/^jiffies/q' /proc/timer_list"
MARK = "--- kmodlab ---"
ROUNDS = 4
LOWER = 1 << 32
#: what may have been taken off: nothing, or what the counter began with, so that it counts from the machine's start on.
#: Source: INITIAL_JIFFIES in include/linux/jiffies.h; HZ is one of these in every Debian and Ubuntu.
BEGINNINGS = (0, *(LOWER - 300 * hz for hz in (100, 250, 300, 1000)))
VALUE = "Print `jiffies` with %lu: as it is during the read, not noted before, not divided by HZ, not with %d or %x."
ENDS = "A read function returns 0 when all has been given out; the next `cat` begins anew."


def numbers(text: str) -> list[int]:
    """Return the numbers of a text in their order; 0x10 is none, for the task says decimal."""
    return [int(word) for word in re.findall(r"(?<![\w.,])-?\d{1,20}(?!\w)", text)]


@dataclass(frozen=True)
class Look:
    """A read of the file, between two looks at the counter.

    Attributes:
        before: what the counter was.
        text: what the file showed.
        after: what the counter was then.
    """

    before: int
    text: str
    after: int

    def has(self, place: int, begin: int) -> bool:
        """Whether the number at a place is the counter, all 64 bits of it or the lower 32, less what it began with."""
        found = numbers(self.text)[place : place + 1]
        return any(
            self.before - begin <= value + missed <= self.after - begin
            for value in found
            for missed in (0, (self.before - begin) // LOWER * LOWER, (self.after - begin) // LOWER * LOWER)
            if value >= 0
        )


def test_the_file_is_there(host: Host) -> None:
    """A file, of the kind that /proc has."""
    there = host.run("test -f /proc/jiffies").rc == 0
    require(there, "a file `/proc/jiffies`", "there is none", "Does your init function call proc_create()?")


def test_a_read_ends_and_the_next_gives_a_value_again(host: Host) -> None:
    """Each of three readers gets a value and then the end of the file."""
    for number in range(1, 4):
        shown = host.run(READ).stdout
        require(shown.strip(), f"a value in read {number} of 3", quoted(shown), ENDS)
        pieces = sum(map(int, host.run(PIECES).stdout.split()))
        require(pieces < MOST, "a read that comes to an end", f"{quoted(shown, 60)} without an end", ENDS)


def test_the_value_is_that_of_jiffies(host: Host, submission: dict[str, str], chance: random.Random) -> None:
    """Between two looks at the kernel's own counter, at times that nobody knows before."""
    waits = [f"sleep 0.{chance.randrange(100, 400)}" for _ in range(ROUNDS)]
    looked = [look for look in looks(host, waits) if look.text.strip()]
    # Who gives out nothing from the second read on loses the test for that, and not this one.
    require_value(looked or looks(host, [f"{reload(submission)}; {waits[0]}"]))


def looks(host: Host, before: list[str]) -> list[Look]:
    """Look at the counter, the file, and the counter again, each time after some commands."""
    look = f"{TRUTH}; echo '{MARK}'; {READ}; echo; echo '{MARK}'; {TRUTH}; echo '{MARK}'"
    parts = host.run("; ".join(f"{{ {words}; }} >/dev/null; {look}" for words in before)).stdout.split(MARK)
    return [Look(int(parts[at]), parts[at + 1], int(parts[at + 2])) for at in range(0, 3 * len(before), 3)]


def reload(submission: dict[str, str], between: str = "true") -> str:
    """Return the commands that unload all modules that were handed in, and load them again."""
    unload = [f"rmmod {name}" for name in reversed(submission)]
    return "; ".join([*unload, between, *(f"insmod {file}" for file in submission.values())])


def require_value(looked: list[Look]) -> None:
    """Check that one number, at the same place in each read, is the counter."""
    places = range(max(len(numbers(look.text)) for look in looked))
    found = any(all(look.has(place, begin) for look in looked) for place in places for begin in BEGINNINGS)
    bad = next(
        (look for look in looked if not any(look.has(at, begin) for at in places for begin in BEGINNINGS)), looked[0]
    )
    require(
        found, f"a number from {bad.before} to {bad.after}, what jiffies was during the read", quoted(bad.text), VALUE
    )


def test_it_works_after_a_reload(host: Host, submission: dict[str, str]) -> None:
    """The file goes with the module and comes back with it."""
    look = f"ls /proc | grep -cx jiffies; echo '{MARK}'"
    steps = f"{reload(submission, look)}; {READ}"
    left, _, shown = host.run(steps).stdout.partition(MARK)
    gone = left.strip() == "0"
    require(
        gone, "no `/proc/jiffies` without the module", "it is still there", "Undo proc_create() in your exit function."
    )
    require(shown.strip(), "a value in `/proc/jiffies`, loaded again", quoted(shown), ENDS)
