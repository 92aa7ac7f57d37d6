"""What a compiler's words mean for a student: the first error, and whether the code is for an older kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """A change of the kernel's interfaces that breaks older modules.

    Attributes:
        words: what the compiler says of code from before it, a regular expression.
        since: the kernel version that made it.
        instead: what is used now.
    """

    words: re.Pattern[str]
    since: str
    instead: str


def _change(words: str, since: str, instead: str) -> Change:
    return Change(re.compile(words), since, instead)


#: Changes that the assignments of textbooks and tutorials run into. Source of each: the kernel's own history.
CHANGES = (
    _change(
        r"struct proc_ops.*(?:incompatible|from).*struct file_operations|incompatible pointer.*file_operations"
        r"|expected 'const struct proc_ops \*'",
        "5.6",
        "/proc files take a struct proc_ops",
    ),
    _change(r"has no member named 'state'", "5.14", "read a task's state with READ_ONCE(task->__state)"),
    _change(r"'init_timer'|'setup_timer'", "4.15", "use timer_setup()"),
    _change(r"'do_gettimeofday'|'getnstimeofday'", "5.0", "use ktime_get_real_ts64()"),
    _change(r"'create_proc_(?:read_)?entry'", "3.10", "use proc_create()"),
    _change(r"'(?:get_ds|set_fs|get_fs|KERNEL_DS)'", "5.10", "the kernel's memory is no argument of a system call"),
    _change(r"'PDE_DATA'", "5.17", "use pde_data()"),
    _change(r"macro .access_ok. passed 3", "5.0", "access_ok() lost its first argument"),
    _change(r"asm/uaccess\.h|asm/system\.h", "4.12", "include <linux/uaccess.h>"),
    _change(r"macro .class_create. passed 2|class_create.*too many", "6.4", "class_create() lost its first argument"),
    _change(r"'strlcpy'", "6.8", "use strscpy()"),
    _change(r"'del_timer(?:_sync)?'", "6.15", "use timer_delete()"),
)

_ERROR = re.compile(
    r"^(?P<where>[^\s:]+:\d+)(?::\d+)?: (?:fatal )?error: (?P<what>.*)$"
    r"|^(?:ERROR: modpost: |ERROR: )(?P<modpost>.*)$"
    r"|^make(?:\[\d+\])?: \*\*\* (?P<make>.*)$|^(?P<makefile>[^\s:]+:\d+: \*\*\* .*)$",
    re.MULTILINE,
)


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
        before = [line for line in log[: found.start()].strip().splitlines() if not line.startswith("make")]
        return f"{before[-1]} ({found['make']})" if before else str(found["make"])
    return str(found["modpost"] or found["makefile"])


def outdated(log: str) -> Change | None:
    """Return the change of the kernel that the code has not followed, where an error or warning shows one."""
    return next((change for change in CHANGES if change.words.search(log)), None)


def explain(log: str, kernel: str) -> str:
    """Return why a build failed, one sentence.

    Args:
        log: what make printed.
        kernel: the version that it was built for.
    """
    sentence = f"it does not compile for kernel {kernel}: {first_error(log)}"
    if change := outdated(log):
        sentence += f" (written for a kernel before {change.since}: now {change.instead})"
    return sentence
