"""/proc/jiffies against the kernel's own /proc/timer_list."""

from __future__ import annotations

import random
import re

from testinfra.host import Host

#: as much of the file as anyone may make us read
READ = "head -c 10000 /proc/jiffies"
TRUTH = "sed -n 's/^jiffies: //p;/^jiffies/q' /proc/timer_list"
ROUNDS = 4


def value(text: str) -> int:
    """Return the number in what the file shows, whatever words are around it."""
    numbers = re.findall(r"\d+", text)
    assert len(numbers) == 1, f"one number is expected, and /proc/jiffies shows {text[:200]!r}"
    return int(numbers[0])


def test_the_file_is_there(host: Host) -> None:
    """A file, of the kind that /proc has."""
    assert host.run("test -f /proc/jiffies").rc == 0, "there is no /proc/jiffies"


def test_a_read_ends_and_the_next_gives_a_value_again(host: Host) -> None:
    """Each of three readers gets a value and then the end of the file."""
    shown = host.check_output(f"for i in 1 2 3; do {READ} | wc -c; {READ}; echo; echo ---; done").split("---")[:3]
    for text in shown:
        size, _, content = text.strip().partition("\n")
        assert int(size) < 200, "the file does not end"
        value(content)


def test_the_value_is_that_of_jiffies(host: Host) -> None:
    """Between two looks at the kernel's own counter, at times that nobody knows before."""
    rounds = "; ".join(
        f"sleep 0.{random.randrange(100, 400)}; {TRUTH}; {READ}; echo; {TRUTH}; echo ---"  # noqa: S311
        for _ in range(ROUNDS)
    )
    shown = host.check_output(rounds).split("---")[:ROUNDS]
    for text in shown:
        before, *content, after = text.strip().splitlines()
        found = value("\n".join(content))
        assert int(before) <= found <= int(after), f"jiffies was {before}, then {after}; /proc/jiffies showed {found}"


def test_it_works_after_a_reload(host: Host, submission: dict[str, str]) -> None:
    """The file goes with the module and comes back with it."""
    ((name, file),) = submission.items()
    gone = host.check_output(f"rmmod {name} && ls /proc | grep -cx jiffies; insmod {file} && {READ}")
    first, _, content = gone.partition("\n")
    assert first == "0", "/proc/jiffies is there without the module"
    value(content)
