"""The tests of the small lab: each asks for something that nobody can know before."""

from __future__ import annotations

import random

from testinfra.host import Host

from kmodlab.grading.expect import quoted, require

#: as much of the file as anyone may make us read
READ = "head -c 1000000 /proc/task_lister"
#: processes that any machine has
LEAST = 20


def rows(text: str) -> dict[int, list[str]]:
    """Return the rows by PID."""
    return {int(words[0]): words for line in text.splitlines() if (words := line.split()) and words[0].isdecimal()}


def test_the_module_is_loaded(host: Host, submission: dict[str, str]) -> None:
    """Its name is in /proc/modules."""
    loaded = {line.split()[0] for line in host.run("cat /proc/modules").stdout.splitlines()}
    require(set(submission) <= loaded, f"the modules {', '.join(submission)}, loaded", ", ".join(sorted(loaded)))


def test_the_file_begins_with_the_header(host: Host) -> None:
    """PID, PPID, COMMAND and STATE are the first columns."""
    shown = host.run(READ)
    require(shown.rc == 0, "`/proc/task_lister` can be read", quoted(shown.stderr))
    headers = [line.split()[:4] for line in shown.stdout.splitlines() if "PID" in line]
    wanted = ["PID", "PPID", "COMMAND", "STATE"]
    require(headers[:1] == [wanted], "a header that begins with `PID PPID COMMAND STATE`", quoted(shown.stdout, 200))


def test_a_new_process_is_listed(host: Host, chance: random.Random) -> None:
    """With its parent and its name, which has a nonce in it."""
    name = f"n{chance.getrandbits(40):010x}"
    start = f"ln -s /bin/sleep /tmp/{name}; /tmp/{name} 30 & echo $$ $!; sleep 0.2; {READ}; kill $!"
    first, *shown = host.run(start).stdout.splitlines()
    parent, pid = map(int, first.split())
    row = rows("\n".join(shown)).get(pid, [])
    seen = quoted(" ".join(row)) if row else f"no row with PID {pid}"
    require(row[1:3] == [str(parent), name], f"a row with PID {pid}, PPID {parent}, COMMAND {name}", seen)


def test_the_total_is_the_number_of_rows(host: Host) -> None:
    """And there are at least as many as there must be."""
    shown = host.run(READ).stdout
    totals = [line for line in shown.splitlines() if line.startswith("Total")]
    count = len(rows(shown))
    words = [line.rpartition(":")[2].strip() for line in totals]
    require(
        words == [str(count)],
        f"`Total processes listed: {count}`, for there are {count} rows",
        quoted("\n".join(totals)),
    )
    require(count >= LEAST, f"at least {LEAST} processes", f"{count} rows")
