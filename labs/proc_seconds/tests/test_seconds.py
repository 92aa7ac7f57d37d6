"""/proc/seconds against the machine's own clock."""

from __future__ import annotations

import random
import re

from testinfra.host import Host

#: as much of the file as anyone may make us read
READ = "head -c 10000 /proc/seconds"
NOW = "cut -d' ' -f1 /proc/uptime"


def value(text: str) -> float:
    """Return the number in what the file shows, whatever words are around it."""
    numbers = re.findall(r"\d+(?:\.\d+)?", text)
    assert len(numbers) == 1, f"one number is expected, and /proc/seconds shows {text[:200]!r}"
    return float(numbers[0])


def test_the_file_is_there(host: Host) -> None:
    """A file, of the kind that /proc has."""
    assert host.run("test -f /proc/seconds").rc == 0, "there is no /proc/seconds"


def test_a_read_ends_and_the_next_gives_a_value_again(host: Host) -> None:
    """Each of three readers gets a value and then the end of the file."""
    shown = host.check_output(f"for i in 1 2 3; do {READ} | wc -c; {READ}; echo; echo ---; done").split("---")[:3]
    for text in shown:
        size, _, content = text.strip().partition("\n")
        assert int(size) < 200, "the file does not end"
        value(content)


def test_the_value_is_the_time_since_loading(host: Host, submission: dict[str, str]) -> None:
    """After loading it anew and waiting for a time that nobody knows before; rounded down, up or to the nearest."""
    ((name, file),) = submission.items()
    wait = f"sleep {random.uniform(2.5, 6):.2f}"  # noqa: S311
    steps = [f"rmmod {name}", NOW, f"insmod {file}", NOW, wait, NOW, READ, "echo", NOW]
    earliest, latest, before, *content, after = host.check_output(" && ".join(steps)).split("\n")
    least, most = float(before) - float(latest), float(after) - float(earliest)
    found = value("\n".join(content))
    assert least - 1 <= found <= most + 1, f"between {least:.1f} and {most:.1f} s had passed; it showed {found:g}"
