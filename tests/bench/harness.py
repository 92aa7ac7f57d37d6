"""Measures tracers in a guest: makes the script of each row, runs it, and reads what it prints."""

from __future__ import annotations

import shlex
import shutil
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.figures import DELIVERED, LOOPS, Row, Session, loop_key
from bench.tracers import CALLS, Pace, Tracer
from kmodlab.errors import LabError
from kmodlab.guest import Guest
from kmodlab.image.buildroot import BuildRoot
from kmodlab.paths import project_dir
from kmodlab.process import say
from kmodlab.vm.shell import CommandResult

#: where everything lies in the guest
HOME = "/root/bench"
HERE = Path(__file__).parent
#: seconds that one session may take, and how much longer the guest is waited for
SESSION_SECONDS, GRACE = 300, 120
#: a tracer that failed so often is left out
TRIES = 2

#: pace -> rounds in a chunk of each workload
ROUNDS: dict[Pace, dict[str, int]] = {
    "fast": {"getppid": 20000, "openat": 2000, "unlink": 4000, "untraced": 20000},
    "reader": {"getppid": 4000, "openat": 1000, "unlink": 2000, "untraced": 20000},
    "printer": {"getppid": 2000, "openat": 500, "unlink": 1000, "untraced": 4000},
    "slow": {"getppid": 400, "openat": 150, "unlink": 300, "untraced": 800},
}
#: pace -> rounds in a chunk of the loops whose delivery is looked at: to outlast any tool's buffers
DELIVERED_ROUNDS: dict[Pace, dict[str, int]] = {
    "reader": {"getppid": 40000, "openat": 8000},
    "printer": {"getppid": 20000, "openat": 4000},
}
CHUNKS = 6


def loads(pace: Pace, *, traced: bool, reads: bool) -> list[str]:
    """Return the arguments of `load`: a chunk's rounds, and how many chunks, of each loop.

    Args:
        pace: of the tracer.
        traced: whether it is at work.
        reads: whether its events reach a reader.
    """
    rounds: dict[Pace, dict[str, int]] = ROUNDS if traced else {**ROUNDS, pace: ROUNDS["fast"]}
    more = DELIVERED_ROUNDS.get(pace, {}) if traced and reads else {}
    words = []
    for workload, threads in LOOPS:
        count = more.get(workload, 0) if (workload, threads) in DELIVERED else 0
        words.append(f"{workload}:{threads}:{count or rounds[pace][workload]}:{CHUNKS}")
    return words


def script(tracer: Tracer, words: Sequence[str] = ()) -> str:
    """Return the bash script of one session: the loops alone, with the tracer, and alone again.

    Args:
        tracer: what is measured.
        words: the arguments of `load`, where they are not `loads`.
    """
    load = " ".join(["./load", *(words or loads(tracer.pace, traced=True, reads=tracer.reads))])
    plain = " ".join(["./load", *(words or loads(tracer.pace, traced=False, reads=False))])
    lines = [
        f"cd {HOME} || exit",
        ". ./lib.sh",
        f"undo() {{ end KILL; {_joined(tracer.after)} rm -rf $OUT; }} 2>/dev/null",
        "trap undo EXIT",
        "rm -rf $OUT; mkdir $OUT",
        f"alone() {{ {plain} | sed 's/^load/plain/; /^issued/d'; }}",
        "alone",
        *tracer.before.splitlines(),
    ]
    if tracer.wraps:
        lines.append(f"{tracer.command} {load} 2>$OUT/err")
    elif tracer.command:
        lines += [
            f"{tracer.command} >$OUT/out 2>$OUT/err & pid=$!",
            f"wait_until ready {shlex.quote(tracer.ready)}",
            *tracer.then.splitlines(),
            load,
            f"wait_until settled {shlex.quote(tracer.settled)}",
            f"end {tracer.signal}",
        ]
    else:
        lines.append(load)
    # Alone once more: what drifts meanwhile is in both, and what the tracer left behind would show.
    return "\n".join([*lines, tracer.count, "undo", "alone", ""])


def _joined(commands: str) -> str:
    return "".join(f"{command}; " for command in commands.splitlines())


#: loop -> calls and ns of each chunk
Chunks = dict[str, list[tuple[int, int]]]


def read_chunks(text: str) -> dict[str, Chunks]:
    """Return what `load` printed in a script's output: the chunks alone (`plain`), and those with the tracer."""
    chunks: dict[str, Chunks] = {"plain": defaultdict(list), "load": defaultdict(list)}
    for line in text.splitlines():
        kind, *words = line.split(" ")
        if kind in chunks:
            workload, threads, calls, ns = words
            chunks[kind][loop_key(workload, int(threads))].append((int(calls), int(ns)))
    return chunks


def parse(text: str) -> Session:
    """Return the session that a script's output tells of.

    Raises:
        LabError: the tracer did not work, or has seen nothing.
    """
    chunks = read_chunks(text)
    session = Session({}, {})
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        words = rest.split()
        if kind == "error":
            raise LabError(rest)
        if kind == "issued":
            session.issued[words[0]] = int(words[1])
        elif kind == "event":
            session.events[words[0]] = session.events.get(words[0], 0) + int(words[1])
        elif kind == "lost":
            session.lost = (session.lost or 0) + int(words[0])
    session.plain = {key: _ns(found) for key, found in chunks["plain"].items()}
    session.traced = {key: _ns(found) for key, found in chunks["load"].items()}
    session.rate = {
        key: _rate(chunks["load"][key]) for key in (loop_key(*loop) for loop in DELIVERED) if key in chunks["load"]
    }
    _require_events(session)
    return session


def _ns(chunks: Sequence[tuple[int, int]]) -> float:
    """Return the ns a call takes, in the chunk that is the median."""
    return round(statistics.median(ns / calls for calls, ns in chunks), 1)


def _rate(chunks: Sequence[tuple[int, int]]) -> float:
    """Return the calls a second, over all chunks."""
    return round(sum(calls for calls, _ in chunks) * 1e9 / sum(ns for _, ns in chunks))


def _require_events(session: Session) -> None:
    if not session.traced:
        raise LabError("the workload did not run")
    seen = ["total"] if "total" in session.events else CALLS
    if missing := [name for name in seen if not session.events.get(name)]:
        raise LabError(f"nothing was traced: {', '.join(missing)}")


class Laboratory:
    """A guest with everything that is measured in it.

    Args:
        guest: that is up.
    """

    def __init__(self, guest: Guest) -> None:
        self.guest = guest

    def prepare(self) -> None:
        """Build the modules and the workload, and silence what would disturb.

        Raises:
            LabError: a build failed.
        """
        root = BuildRoot.of_image(self.guest.image)
        kernel = project_dir() / "kernel"
        with tempfile.TemporaryDirectory() as temporary:
            stage, out = Path(temporary), Path(temporary) / "out"
            shutil.copytree(kernel / "compat", stage / "compat")
            shutil.copytree(HERE / "guest" / "floor", stage / "floor")
            root.make(stage / "floor", output=out)
            root.make(kernel / "syscall_tracer", output=out)
            self.guest.copy_to(out, HOME)
        self.guest.copy_to(HERE / "guest", HOME)
        self.guest.succeed(f"cd {HOME} && cc -O2 -Wall -pthread -o load load.c")
        # What was audited once stays expensive: see lib.sh. Nobody else is to wake up meanwhile.
        self.guest.succeed(
            "pkill -x auditd; systemctl -q stop cron.service systemd-timesyncd.service 2>/dev/null; true"
        )
        self._bash(". ./lib.sh; silence_audit")

    def _execute(self, text: str) -> CommandResult:
        # Ended in the guest, so that the script's trap takes everything back.
        command = f"timeout {SESSION_SECONDS} bash"
        return self.guest.execute(command, stdin=text.encode(), seconds=SESSION_SECONDS + GRACE)

    def _bash(self, text: str) -> str:
        return self._execute(f"cd {HOME} || exit\n{text}\n").stdout.strip()

    def row(self, tracer: Tracer) -> Row:
        """Return the row of a tracer, yet without sessions: its version, or why it cannot be measured."""
        said = self._bash(tracer.absent) if tracer.absent else ""
        version = "" if said else self._bash(tracer.version)
        return Row(
            key=tracer.key,
            label=tracer.label,
            group=tracer.group,
            sees=tracer.sees,
            command=tracer.shown,
            version=version.partition("\n")[0],
            reads=tracer.reads,
            absent=said,
        )

    def session(self, tracer: Tracer) -> Session:
        """Measure a tracer once.

        Raises:
            LabError: it did not trace; the guest is as it was before.
        """
        return self.run(tracer)[0]

    def run(self, tracer: Tracer, words: Sequence[str] = ()) -> tuple[Session, dict[str, Chunks]]:
        """Measure a tracer once; return the session, and the chunks that it was made of.

        Args:
            tracer: what is measured.
            words: see `script`.

        Raises:
            LabError: it did not trace; the guest is as it was before.
        """
        result = self._execute(script(tracer, words))
        try:
            return parse(result.stdout), read_chunks(result.stdout)
        except LabError as error:
            error.output = result.stderr[-500:]
            raise


def measure(laboratory: Laboratory, tracers: Sequence[Tracer], repetitions: int) -> list[Row]:
    """Measure tracers in turn, again and again, and return their rows in the order of the tracers.

    Each repetition begins with another one, so that none is always the first.

    Args:
        laboratory: prepared.
        tracers: what to measure.
        repetitions: how often.
    """
    rows = {tracer.key: laboratory.row(tracer) for tracer in tracers}
    for repetition in range(repetitions):
        start = repetition * len(tracers) // repetitions
        for tracer in [*tracers[start:], *tracers[:start]]:
            row = rows[tracer.key]
            if not row.absent and len(row.failures) < TRIES:
                _one(lambda tracer=tracer: laboratory.session(tracer), row)  # type: ignore[misc]
        say(f"repetition {repetition + 1} of {repetitions} is done")
    return list(rows.values())


def _one(session: Callable[[], Session], row: Row) -> None:
    """Add a session to a row, or what went wrong; the page says it."""
    try:
        row.sessions.append(session())
    except LabError as error:
        row.failures.append(f"{error.message}{': ' + error.output.strip() if error.output else ''}")
        say(f"{row.label}: {row.failures[-1]}")
    else:
        added = row.added("getppid", 1)
        say(f"{row.label}: {added.median:+.0f} ns" if added else row.label)
