"""Callback `kmodlab_summary`: how a fleet stands after a deployment or a teardown, host by host.

A play cannot tell that itself: it ends where a whole batch is lost, and knows nothing of hosts that were never begun.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible import constants as C  # noqa: N812 (so called everywhere in Ansible)
from ansible import context
from ansible.plugins.callback import CallbackBase

if TYPE_CHECKING:
    from ansible.executor.stats import AggregateStats
    from ansible.executor.task_result import CallbackTaskResult
    from ansible.playbook.play import Play

DOCUMENTATION = """
name: kmodlab_summary
type: aggregate
short_description: How a fleet stands after a deployment or a teardown
description:
  - Shows after the playbooks C(deploy) and C(teardown) for each host what became of it, its kernel, the tracer's hook
    and the modules' versions.
  - Writes the same as JSON into the file that the extra variable C(deploy_report) or C(teardown_report) names.
  - Says nothing after any other play.
requirements:
  - enabled in the configuration (C(callbacks_enabled), or C(ANSIBLE_CALLBACKS_ENABLED))
version_added: 1.0.0
author: kmodlab
"""

#: the variable by which a play says that it is one to sum up, and in the name of which job
MARK = "__fleet_job"
#: the module by which a host tells what it has
HEALTH = "kmodlab_health"
#: what a host is called on which the job was done
DONE = {"deploy": "deployed", "teardown": "removed"}
COLORS = {"failed": C.COLOR_ERROR, "unreachable": C.COLOR_UNREACHABLE, "untouched": C.COLOR_SKIP}


@dataclass
class Machine:
    """How one host stands.

    Attributes:
        verdict: `deployed`, `removed`, `checked` (a run with --check), `failed`, `unreachable`, or `untouched`: the run
            ended before its turn.
        reason: why not, empty if all is well.
        kernel: the running kernel, empty where it was not seen.
        hook: how the tracer is hooked into system calls, empty where it is not loaded.
        modules: the loaded ones, name to version, srcversion and state.
        changed: how many tasks changed something.
    """

    verdict: str = "untouched"
    reason: str = ""
    kernel: str = ""
    hook: str = ""
    modules: dict[str, dict[str, str]] = field(default_factory=dict)
    changed: int = 0

    def settle(self, counts: dict[str, int]) -> None:
        """Take Ansible's own counts: a failure that was rescued is none."""
        self.changed = counts["changed"]
        if counts["unreachable"]:
            self.verdict = "unreachable"
        elif counts["failures"]:
            self.verdict = "failed"
        else:
            self.reason = ""

    def line(self, name: str, width: int) -> str:
        """Return it in one line, the reason in a second one."""
        loaded = [f"{module} {about['version']} ({about['srcversion'][:7]})" for module, about in self.modules.items()]
        known = [self.kernel, self.hook, ", ".join(loaded)]
        words = "  ".join([name.ljust(width), self.verdict.ljust(11), *filter(None, known)]).rstrip()
        return f"{words}\n    {self.reason}" if self.reason else words


class CallbackModule(CallbackBase):  # type: ignore[misc] # Ansible has no types
    """Listens to the plays that carry the mark, batch after batch."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kmodlab_summary"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._forget()

    def _forget(self) -> None:
        self._job = ""
        self._listens = False
        self._report = ""
        self._machines: dict[str, Machine] = {}

    def v2_playbook_on_play_start(self, play: Play) -> None:
        """Learn whether this play is to be summed up, and of which hosts."""
        self._listens = MARK in play.vars
        if not self._listens:
            return
        known = play.get_variable_manager().get_vars(play=play)
        self._job = play.vars[MARK]
        self._report = str(known.get(f"{self._job}_report", ""))
        for name in known["groups"].get("targets", []):
            self._machines.setdefault(name, Machine())

    def _machine(self, result: CallbackTaskResult) -> Machine:
        machine = self._machines.setdefault(result.host.get_name(), Machine())
        if machine.verdict == "untouched":
            machine.verdict = "checked" if context.CLIARGS.get("check") else DONE[self._job]
        seen = result.result.get("machine")
        if seen and result.task.action.rpartition(".")[2] == HEALTH:
            machine.kernel, machine.hook, machine.modules = seen["kernel"], seen["hook"], seen["modules"]
        return machine

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Take what the host says of itself."""
        if self._listens:
            self._machine(result)

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        """Take the reason: the play's own word on a host's failure comes last. A role may still rescue it."""
        if self._listens and not ignore_errors:
            self._machine(result).reason = _reason(result)

    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        """Note where the host was lost."""
        if self._listens:
            self._machine(result).reason = f"at '{result.task.get_name()}': {_reason(result)}"

    def v2_playbook_on_stats(self, stats: AggregateStats) -> None:
        """Show how all hosts stand, and write the report."""
        if not self._job:
            return
        for name, machine in self._machines.items():
            machine.settle(stats.summarize(name))
        self._display.banner(f"{self._job.upper()} SUMMARY")
        width = max(map(len, self._machines), default=0)
        for name, machine in self._machines.items():
            self._display.display(machine.line(name, width), color=COLORS.get(machine.verdict, C.COLOR_OK))
        if self._report:
            self._write(Path(self._report).expanduser())
        self._forget()

    def _write(self, path: Path) -> None:
        text = json.dumps(
            {"job": self._job, "hosts": {name: asdict(one) for name, one in self._machines.items()}}, indent=2
        )
        fresh = path.with_name(path.name + ".new")
        try:
            fresh.write_text(text + "\n", encoding="utf-8")
            os.replace(fresh, path)  # noqa: PTH105
        except OSError as error:
            self._display.error(f"the report could not be written to {path}: {error.strerror}")


def _reason(result: CallbackTaskResult) -> str:
    said: Any = result.result.get("msg") or result.result.get("stderr") or "no reason given"
    return " ".join(str(said).split())
