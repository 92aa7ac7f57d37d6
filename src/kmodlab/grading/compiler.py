"""What a compiler's words mean for a student: the first error, and whether the code is for an older kernel."""

from __future__ import annotations

import re
from pathlib import Path

from kmodlab.grading.changes import outdated

_ERROR = re.compile(
    r"^(?P<where>[^\s:]+:\d+)(?::\d+)?: (?:fatal )?error: (?P<what>.*)$"
    r"|^(?:ERROR: modpost: |ERROR: )(?P<modpost>.*)$"
    r"|^make(?:\[\d+\])?: \*\*\* (?P<make>.*)$|^(?P<makefile>[^\s:]+:\d+: \*\*\* .*)$",
    re.MULTILINE,
)


#: before what kbuild itself says, where the Makefile's own way gave no module
_ALONE = "--- the module alone: "
_NO_RULE = re.compile(r"No rule to make target '(?:[^']*/)?([\w.+-]+)\.o'")


def _without_source(log: str, sources: Path) -> str:
    """Return which line names an object that there is no source of, and what sources there are; or nothing."""
    found = _NO_RULE.search(log)
    if not found:
        return ""
    word = re.compile(rf"(?<![\w.-]){re.escape(found[1])}\.o\b")
    for name in ("Kbuild", "Makefile"):
        lines = (sources / name).read_text(errors="replace").splitlines() if (sources / name).is_file() else []
        for number, line in enumerate(lines, 1):
            if word.search(line):
                present = ", ".join(sorted(file.name for file in sources.glob("*.c"))[:5]) or "no .c file"
                there = f"there is no {found[1]}.c, only {present}"
                return f"{name}:{number} asks for {found[1]}.o, and {there}: {line.strip()}"
    return ""


def first_error(log: str) -> str:
    """Return the first error in what make printed, with its place; or its last line, where it names none."""
    found = _ERROR.search(log)
    if found is None:
        lines = log.strip().splitlines()
        return lines[-1] if lines else "make printed nothing"
    if found["where"]:
        return f"{found['where']}: {found['what']}"
    if found["make"]:
        # What make complains of is a command's status; the command's own words came before.
        lines = [
            re.sub(r"^make(?:\[\d+\])?: (?=\S+: )", "", line) for line in log[: found.start()].strip().splitlines()
        ]
        before = [line for line in lines if not line.startswith("make")]
        return f"{before[-1]} ({found['make']})" if before else str(found["make"])
    return str(found["modpost"] or found["makefile"])


def explain(log: str, kernel: str, sources: Path) -> str:
    """Return why a build failed, one sentence.

    Args:
        log: what make printed.
        kernel: the version that it was built for.
        sources: the folder in which it was built.
    """
    log = log.rpartition(_ALONE)[2]
    if missing := _without_source(log, sources):
        return missing
    sentence = f"it does not compile for kernel {kernel}: {first_error(log)}"
    if change := outdated(log, kernel):
        since = f"a kernel before {change.since}: since then" if change.since else "an older kernel: now"
        sentence += f" (written for {since} {change.now})"
    return sentence
