"""The books: every call that a CPU has numbered is in exactly one place, and the sums say so or say where they do not.

A term is a number of records of one CPU of one epoch (a boot and a load of the module), counted where it happened. All
but `pending` and `kept` only grow. Each part counts for itself and never from what another has counted: that is what
makes a sum a proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

KERNEL = ("issued", "logged", "overwritten", "dropped", "excluded")
"""What the kernel says of a CPU, when it was asked last. `dropped` calls have a number and no record, `excluded` ones,
which are the recorder's own, have neither."""

RECORDER = ("begun", "next", "received", "missing", "lost_ring", "away", "dropped_before", "stored", "pending")
"""What the recorder counts: `begun` the first number that it waited for, `next` the one that it waits for now,
`missing` the numbers in between that did not come. Of these `lost_ring` were overwritten before they were sent, as the
kernel says, and `away` were made while nothing recorded. Of those that came `pending` are not written yet."""

BLOCKED = ("blocked_begun", "blocked_next", "blocked_came", "blocked_missing", "blocked_let_go")
"""What the recorder counts of the group of blocked calls, whose records have numbers of their own on each CPU, in the
same way. What is `blocked_missing` may have come among all records, and the other way round."""

SHED = ("shed_full", "shed_readonly", "shed_gone", "shed_failed", "shed_slow", "shed_behind")
"""Records that came and were let go, by the reason: the disk was full, took no writing, the folder was removed, another
error of it, too slow, or the second stage was too far behind."""

ROLLER = ("rolled", "own", "unread")
"""What became of those that were stored: they are in the roll-ups; were made by the daemon itself, and are left out;
were damaged before they could be read."""

KEPT = ("kept", "expired_age", "expired_size", "damaged")
"""Where those in the roll-ups are now: kept as records, removed by their age or for room, or set aside as damaged."""

LOSSES = ("lost_ring", "away", "lost_dropped", "lost_socket", *SHED, "unread", "damaged", "expired_age", "expired_size")
"""Why a call that was made has no record here, from the kernel to the disk."""

TERMS = (*KERNEL, *RECORDER, *BLOCKED, *SHED, *ROLLER, *KEPT)


@dataclass(frozen=True)
class Equation:
    """One sum that has to close.

    Attributes:
        name: what it is about.
        left: what there was, with its number.
        right: where it is now, by name.
    """

    name: str
    left: tuple[str, int]
    right: Mapping[str, int]

    @property
    def difference(self) -> int:
        """What is there on the left and nowhere on the right."""
        return self.left[1] - sum(self.right.values())

    @property
    def closes(self) -> bool:
        """Whether the sides are equal and nothing was counted twice to make them so."""
        return not self.difference and all(number >= 0 for number in self.right.values())

    def __str__(self) -> str:
        right = " + ".join(f"{name} {number}" for name, number in self.right.items())
        sign = "=" if self.closes else "!="
        return f"{self.name}: {self.left[0]} {self.left[1]} {sign} {right}"


def explained(terms: Mapping[str, int]) -> dict[str, int]:
    """Return the terms of a CPU with those that follow from them.

    `lost_dropped` are the dropped calls among the missing, `lost_socket` what is left of these; `not_yet_sent` were
    counted by the CPU and not sent, `waiting` are stored and not in the roll-ups yet. Before the kernel was asked
    first, what was sent is what it has issued.
    """
    full = {name: terms.get(name, 0) for name in TERMS}
    left = full["missing"] - full["lost_ring"] - full["away"]
    full["lost_dropped"] = max(0, min(left, full["dropped"] - full["dropped_before"]))
    full["lost_socket"] = left - full["lost_dropped"]
    full["not_yet_sent"] = max(0, full["issued"] - full["next"])
    full["waiting"] = full["stored"] - sum(full[name] for name in ROLLER)
    return full


def equations(terms: Mapping[str, int]) -> Iterator[Equation]:
    """Yield the sums of one CPU, from the kernel to the disk."""
    full = explained(terms)

    def of(name: str, left: str, *right: str) -> Equation:
        return Equation(name, (left, full[left]), {each: full[each] for each in right})

    yield of("kernel", "issued", "logged", "overwritten", "dropped")
    if full["issued"] > full["next"]:
        yield of("delivery", "issued", "begun", "received", "missing", "not_yet_sent")
    else:
        yield of("delivery", "next", "begun", "received", "missing")
    yield of("gaps", "missing", "lost_ring", "away", "lost_dropped", "lost_socket")
    yield of("journal", "received", "stored", "pending", *SHED)
    yield of("roll-up", "stored", *ROLLER, "waiting")
    yield of("history", "rolled", *KEPT)
    yield of("blocked", "blocked_next", "blocked_begun", "blocked_came", "blocked_missing", "blocked_let_go")


@dataclass(frozen=True)
class Copied:
    """How far the copying into a fleet's database is.

    Attributes:
        behind: seconds since all that there was had been copied; 0 where nothing waits for long.
        shipped: records that were copied, since this index began.
        waiting: records that are still to be copied, as of the last time that was looked.
        unshipped: those that were removed before, by the term that says why.
        late: calls whose sums (`s`, `m`, `h`: of seconds, minutes, hours) were removed before they were copied, and
            blocked calls (`blocked`) that were; of tasks samples in sums (`task_s`, `task_m`, `task_h`), and snapshots
            (`task_snap`).
        check: the sum that says that these are all; None while that was never seen.
    """

    behind: float = 0.0
    shipped: int = 0
    waiting: int = 0
    unshipped: Mapping[str, int] = field(default_factory=dict)
    late: Mapping[str, int] = field(default_factory=dict)
    check: Equation | None = None


@dataclass(frozen=True)
class Books:
    """The ledger as of one moment.

    Attributes:
        cpus: (epoch, CPU) -> its terms, as `TERMS` has them.
        checks: further sums over all CPUs, which were counted in the files themselves.
        troubles: what is wrong at the moment (a full disk, a reader that never ends), one sentence each.
        copied: of a host of a fleet: see there.
    """

    cpus: Mapping[tuple[int, int], Mapping[str, int]]
    checks: tuple[Equation, ...] = ()
    troubles: tuple[str, ...] = field(default=())
    copied: Copied | None = None

    def equations(self) -> Iterator[tuple[str, Equation]]:
        """Yield every sum with whose it is: `epoch 1 CPU 0`, or `all`."""
        for (epoch, cpu), terms in sorted(self.cpus.items()):
            for one in equations(terms):
                yield f"epoch {epoch} CPU {cpu}", one
        for one in self.checks:
            yield "all", one

    def open(self) -> list[str]:
        """Return the sums that do not close, as text; none is how it has to be."""
        return [f"{whose}: {one}" for whose, one in self.equations() if not one.closes]

    @property
    def closed(self) -> bool:
        """Whether every sum closes."""
        return not self.open()

    def losses(self) -> dict[str, int]:
        """Return how many calls have no record any more, or never had one, by cause; nothing for 0."""
        totals = self.totals()
        return {name: totals[name] for name in LOSSES if totals.get(name)}

    def totals(self) -> dict[str, int]:
        """Return each term, and what follows from them, summed over all CPUs."""
        found: dict[str, int] = {}
        for terms in self.cpus.values():
            for name, number in explained(terms).items():
                found[name] = found.get(name, 0) + number
        return found
