"""Strategy `kmodlab_linear`: mitogen's linear where mitogen is installed, Ansible's own linear where it is not.

On an emulated guest a task costs 2.5 s over plain ssh (one Python start each) and 0.1 s over mitogen's standing
connection. A host without mitogen must work all the same, and ansible.cfg cannot name a path that lies in
somebody's virtual environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible.plugins.strategy.linear import StrategyModule as LinearStrategy
from ansible.utils.display import Display

try:
    from ansible_mitogen.strategy import StrategyMixin
except ImportError:
    StrategyMixin = None

if TYPE_CHECKING:
    from ansible.playbook.task import Task

DOCUMENTATION = """
name: kmodlab_linear
short_description: Ansible's linear strategy, over mitogen where it is installed
description:
  - Behaves as P(ansible.builtin.linear#strategy).
  - Keeps one Python interpreter per host alive through mitogen where the controller has it.
version_added: 1.0.0
author: kmodlab
"""

# ansible-core says this about every strategy that is not its own, each time, and names no alternative.
_NOTICE = "Use of strategy plugins not included in ansible.builtin"


def _drop_notice(display: Display) -> None:
    """Keep the one notice about third-party strategies off `display`; every other deprecation passes.

    ansible-core prints it right after it has loaded this file.
    """
    show = display.deprecated

    def deprecated(msg: str, *args: object, **kwargs: object) -> None:
        if not msg.startswith(_NOTICE):
            show(msg, *args, **kwargs)

    setattr(display, "deprecated", deprecated)  # noqa: B010 (mypy refuses to assign to a method)


_drop_notice(Display())


class FullNames:
    """Hand every task on under its module's full name.

    In a collection the roles name the collection's own modules by their short names, as everywhere. mitogen looks
    them up again, and finds a collection's module by its full name only.
    """

    def _queue_task(self, host: object, task: Task, *rest: object) -> None:
        if task.resolved_action and not task.resolved_action.startswith("ansible."):
            task.action = task.resolved_action
        super()._queue_task(host, task, *rest)  # type: ignore[misc] # the next class in the strategy's order has it


_BASES = (LinearStrategy,) if StrategyMixin is None else (FullNames, StrategyMixin, LinearStrategy)

# Ansible's plugin loader looks for a class of this name.
StrategyModule = type("StrategyModule", _BASES, {"__module__": __name__, "__doc__": __doc__})
