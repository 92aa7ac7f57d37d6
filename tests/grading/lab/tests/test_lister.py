"""The tests of the small lab: each asks for something that nobody can know before."""

from __future__ import annotations

import secrets

from testinfra.host import Host

#: as much of the file as anyone may make us read
READ = "head -c 1000000 /proc/task_lister"


def rows(text: str) -> dict[int, list[str]]:
    """Return the rows by PID."""
    return {int(words[0]): words for line in text.splitlines() if (words := line.split()) and words[0].isdigit()}


def test_the_module_is_loaded(host: Host, submission: dict[str, str]) -> None:
    """Its name is in /proc/modules."""
    loaded = {line.split()[0] for line in host.check_output("cat /proc/modules").splitlines()}
    assert set(submission) <= loaded


def test_the_file_begins_with_the_header(host: Host) -> None:
    """PID, PPID, COMMAND and STATE are the first columns."""
    shown = host.run(READ)
    assert shown.rc == 0, shown.stderr
    headers = [line for line in shown.stdout.splitlines() if "PID" in line]
    assert headers, f"no header in {shown.stdout[:200]!r}"
    assert headers[0].split()[:4] == ["PID", "PPID", "COMMAND", "STATE"]


def test_a_new_process_is_listed(host: Host) -> None:
    """With its parent and its name, which has a nonce in it."""
    name = f"n{secrets.token_hex(5)}"
    start = f"ln -s /bin/sleep /tmp/{name}; /tmp/{name} 30 & echo $$ $!; sleep 0.2; {READ}; kill $!"
    first, *shown = host.check_output(start).splitlines()
    parent, pid = map(int, first.split())
    listed = rows("\n".join(shown))
    assert pid in listed, f"PID {pid} is not listed"
    assert listed[pid][1:3] == [str(parent), name]


def test_the_total_is_the_number_of_rows(host: Host) -> None:
    """And there are at least as many as there must be."""
    shown = host.check_output(READ)
    totals = [int(line.rpartition(":")[2]) for line in shown.splitlines() if line.startswith("Total")]
    assert totals == [len(rows(shown))]
    assert totals[0] >= 20
