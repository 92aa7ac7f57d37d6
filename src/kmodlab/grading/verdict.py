"""What a machine's console says of its kernel, and what that comes to as a verdict.

The console is text, and a module can print any text. So it is believed only where the machine's behaviour agrees: a
panic ends QEMU, and an oops, a warning and a lockup leave a mark in the kernel's taint. Text without the mark earns no
verdict of its own, and no pass either: see `judge`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from kmodlab.grading.result import Verdict
from kmodlab.kernel_report import Kind, kind_of, sign

#: lines after the first that belong to a report, at most
_REPORT_LINES = 60


SIGN = sign()
"""What a console line has where it means trouble."""
_FRAME = re.compile(r"(\? )?(RIP: \S+:)?([A-Za-z_][\w.]*)\+0x([0-9a-f]+)/0x[0-9a-f]+ \[(\w+)")
_STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
#: what the kernel says of any module that is not its own
_USUAL = ("module verification failed", "loading out-of-tree module")
_END = ("---[ end trace", "---[ end Kernel panic")

#: bits of /proc/sys/kernel/tainted. Source: Documentation/admin-guide/tainted-kernels.rst
_BAD_PAGE, _DIED, _WARNED, _LOCKED_UP = 1 << 5, 1 << 7, 1 << 9, 1 << 14
MARKS = _BAD_PAGE | _DIED | _WARNED | _LOCKED_UP
_MARK = {
    Kind.OOPS: _DIED,
    Kind.LOCKUP: _LOCKED_UP,
    Kind.ATOMIC: _WARNED,
    Kind.BUG: _WARNED | _DIED | _BAD_PAGE,
    Kind.WARNING: _WARNED | _DIED | _BAD_PAGE,
}


@dataclass(frozen=True)
class Frame:
    """A place in a module: function and offset.

    Attributes:
        symbol: the function.
        offset: into it, in bytes.
        module: whose it is.
    """

    symbol: str
    offset: int
    module: str


@dataclass(frozen=True)
class Trouble:
    """One report of a kernel.

    Attributes:
        kind: of trouble.
        line: that says what it is.
        text: the whole report.
    """

    kind: Kind
    line: str
    text: str

    def frame(self, modules: Iterable[str]) -> Frame | None:
        """Return the innermost place in one of these modules that the report names."""
        wanted = set(modules)
        # What a trace has is where a call returns to: the call itself is before that, maybe in another line.
        found = [
            (bool(unsure), Frame(name, max(0, int(offset, 16) - (not here)), module))
            for unsure, here, name, offset, module in _FRAME.findall(self.text)
            if module in wanted
        ]
        # A "?" stands before what lay on the stack, and may be left over from a call that has returned.
        return min(found, key=lambda one: one[0], default=(True, None))[1]


def find(text: str) -> list[Trouble]:
    """Return the reports in what a console printed, in their order."""
    lines = [_STAMP.sub("", line).rstrip() for line in text.splitlines()]
    return list(_reports(lines))


def _reports(lines: list[str]) -> Iterator[Trouble]:
    at = 0
    while at < len(lines):
        kind = kind_of(lines[at])
        if kind is None:
            at += 1
            continue
        first, end = at, at + 1
        # Trouble of another kind begins a report of its own; "Oops:" is of one kind with the line before it.
        while end < len(lines) and end - first < _REPORT_LINES and kind_of(lines[end]) in (None, kind):
            end += 1
            if lines[end - 1].startswith(_END):
                break
        yield Trouble(kind, lines[first], "\n".join(lines[first:end]))
        at = end


def said_of(log: str, modules: Iterable[str]) -> str:
    """Return the last line of a kernel's log that names a module; empty where none does.

    A kernel on a busy host says this and that (`hrtimer: interrupt took 41000000 ns`), and a reason has none of it: the
    same submission comes to the same words. What is said of every module that is not the kernel's own is left out, too.

    Args:
        log: with a time before each line, or without.
        modules: their names.
    """
    names = "|".join(re.escape(name).replace("_", "[-_]") for name in modules)
    named = re.compile(rf"(?<![\w-])(?:{names})(?![\w-])")
    lines = [_STAMP.sub("", line).strip() for line in log.splitlines() if named.search(line)]
    return next((line for line in reversed(lines) if not any(words in line for words in _USUAL)), "")


@dataclass(frozen=True)
class Evidence:
    """What the controller saw of one machine.

    Attributes:
        doing: what was under way.
        troubles: what its console says.
        taint: what its kernel says of itself, as far as it is a mark of trouble; None where it could not be asked.
        ended: QEMU ended by itself, which it does when the machine restarts.
        timeout: what did not end in time, or empty.
        answers: whether the machine still answered after that.
    """

    doing: str
    troubles: tuple[Trouble, ...] = ()
    taint: int | None = 0
    ended: bool = False
    timeout: str = ""
    answers: bool = True


@dataclass(frozen=True)
class Finding:
    """A verdict on one machine.

    Attributes:
        verdict: never a pass.
        reason: one sentence.
        trouble: the report that it rests on, if any.
        crashed: whether the machine is of no more use.
    """

    verdict: Verdict
    reason: str
    trouble: Trouble | None = None
    crashed: bool = True

    def at(self, place: str) -> Finding:
        """Return it with the place in the source that it happened at."""
        return replace(self, reason=f"{self.reason}, at {place}") if place else self


def _confirmed(trouble: Trouble, evidence: Evidence) -> bool:
    """Whether the machine's behaviour agrees with the text."""
    if trouble.kind is Kind.PANIC:
        return evidence.ended
    if trouble.kind is Kind.CHECK:
        return False
    if evidence.taint is None or evidence.ended:
        return True
    if trouble.kind is Kind.HUNG:
        return bool(evidence.timeout)
    return bool(evidence.taint & _MARK[trouble.kind])


def judge(evidence: Evidence) -> Finding | None:
    """Return what a machine's trouble comes to, or None where it had none.

    A machine that restarted has panicked, whatever it printed. What its kernel marked as an oops is one, even where
    a module has silenced the console. What did not end in time hangs. Text that looks like trouble, while the kernel
    knows nothing of it, is no oops; but who prints it does not pass.
    """
    real = [trouble for trouble in evidence.troubles if _confirmed(trouble, evidence)]
    for rule in (_panic, _oops, _hang, _complaint):
        if finding := rule(evidence, real):
            return finding
    if evidence.troubles:
        line = evidence.troubles[0].line
        words = f"while {evidence.doing}, it printed what looks like a report of the kernel's and is none: {line}"
        return Finding(Verdict.FAIL, words, evidence.troubles[0], crashed=False)
    return None


def _worst(real: list[Trouble], *kinds: Kind) -> Trouble | None:
    return next((trouble for trouble in real if trouble.kind in kinds), None)


#: What the kernel says before it dies, if it says anything: memory that was given back twice is found then, and used by
#: somebody else, who oopses over it or does not, later.
_CAUSES = (Kind.OOPS, Kind.ATOMIC, Kind.BUG)


def _panic(evidence: Evidence, real: list[Trouble]) -> Finding | None:
    if not evidence.ended:
        return None
    # The first report says what happened; the panic, that the kernel could not go on.
    panic = _worst(real, Kind.PANIC)
    if panic is None:
        words = f"the machine restarted while {evidence.doing}, without a word"
        return Finding(Verdict.PANIC, words, _worst(real, *_CAUSES))
    cause = _worst(real, *_CAUSES) or panic
    return Finding(Verdict.PANIC, f"the kernel panicked while {evidence.doing}: {cause.line}", cause)


def _oops(evidence: Evidence, real: list[Trouble]) -> Finding | None:
    if _worst(real, Kind.OOPS) and (cause := _worst(real, *_CAUSES)):
        what = "oopsed" if cause.kind is Kind.OOPS else "complained"
        return Finding(Verdict.OOPS, f"the kernel {what} while {evidence.doing}: {cause.line}", cause)
    if evidence.taint and evidence.taint & _DIED:
        return Finding(Verdict.OOPS, f"the kernel oopsed while {evidence.doing}, and its console was silent")
    return None


def _hang(evidence: Evidence, real: list[Trouble]) -> Finding | None:
    trouble = _worst(real, Kind.LOCKUP) or _worst(real, Kind.HUNG)
    # A kernel that complains of sleeping in atomic context tends to hang afterwards: the cause comes first.
    if (cause := _worst(real, Kind.ATOMIC)) and evidence.taint is not None:
        return Finding(Verdict.OOPS, f"the kernel complained while {evidence.doing}: {cause.line}", cause)
    if evidence.timeout:
        how = "" if evidence.answers else ", and the whole machine hangs with it"
        said = f": {trouble.line}" if trouble else ""
        return Finding(Verdict.HANG, f"{evidence.timeout}{how}{said}", trouble)
    if trouble:
        return Finding(Verdict.HANG, f"the kernel locked up while {evidence.doing}: {trouble.line}", trouble)
    return None


def _complaint(evidence: Evidence, real: list[Trouble]) -> Finding | None:
    if trouble := _worst(real, Kind.ATOMIC, Kind.BUG, Kind.WARNING):
        return Finding(Verdict.OOPS, f"the kernel complained while {evidence.doing}: {trouble.line}", trouble)
    if evidence.taint:
        return Finding(Verdict.OOPS, f"the kernel complained while {evidence.doing}, and its console was silent")
    return None


#: which verdict counts where several machines came to different ones
_ORDER = (*(Verdict.PANIC, Verdict.OOPS, Verdict.HANG, Verdict.LOAD_ERROR, Verdict.LEAK, Verdict.FAIL),)


def worst(findings: Iterable[Finding]) -> Finding | None:
    """Return the finding that decides: a panic before an oops, before a hang, before all that is less."""
    return min(findings, key=lambda finding: _ORDER.index(finding.verdict), default=None)
