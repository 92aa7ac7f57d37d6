"""Ansible action: wait until nobody else installs packages, then run ansible.builtin.apt."""

from __future__ import annotations

import math
import re
import time
from typing import Any

from ansible.plugins.action import ActionBase

#: what apt and dpkg say where somebody else came first; Ansible has both speak English
_LOCKED = re.compile(r"Failed to lock|Could not get lock|Unable to (?:acquire|lock)|is another process using it")
#: what apt fetches and installs with: LANGUAGE, which PAM sets on a localised machine, counts even under C.UTF-8
_ENGLISH = {"LC_ALL": "C.UTF-8", "LANGUAGE": "en"}
#: seconds between two looks
_PAUSE = 5.0


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no types
    """Ask, wait, install; name who is in the way."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what ansible.builtin.apt returns, or who kept it from running."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = {key: value for key, value in self._task.args.items() if key != "locks"}
        seconds = int(given.pop("lock_timeout", 300))
        # The roles judge by what apt says.
        self._task.environment = [*(self._task.environment or []), _ENGLISH]
        started = time.monotonic()
        found: dict[str, Any] = {"holders": []} if self._task.check_mode else self._wait(seconds, task_vars)
        if found.get("failed") or found.get("unreachable") or found["holders"]:
            return {**result, **found, **self._refusal(found.get("holders", []), seconds)}
        # apt has a wait of its own, for who comes in between.
        left = max(math.ceil(seconds - (time.monotonic() - started)), 0)
        installed: dict[str, Any] = self._execute_module(
            module_name="ansible.builtin.apt", module_args={**given, "lock_timeout": left}, task_vars=task_vars
        )
        if installed.get("failed") and _LOCKED.search(str(installed.get("msg"))):
            installed |= self._refusal(self._holders(task_vars).get("holders", []), seconds)
        return {**result, **installed}

    def _wait(self, seconds: int, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Return the answer of the last look: nobody holds apt, or time is up."""
        found = self._holders(task_vars)
        if not found.get("holders"):
            return found
        host = (task_vars or {}).get("inventory_hostname", "the machine")
        self._display.display(
            f"{host}: waiting up to {seconds} s for {' and '.join(found['holders'])} to be done with apt"
        )
        deadline = time.monotonic() + seconds
        while found.get("holders") and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(_PAUSE, left))
            found = self._holders(task_vars)
        return found

    def _holders(self, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        arguments = {key: self._task.args[key] for key in ("locks",) if key in self._task.args}
        found: dict[str, Any] = self._execute_module(
            module_name=self._task.action, module_args=arguments, task_vars=task_vars
        )
        found.pop("invocation", None)
        return found

    def _refusal(self, holders: list[str], seconds: int) -> dict[str, Any]:
        if not holders:
            return {}
        msg = (
            f"apt is held by {' and '.join(holders)}, for longer than {seconds} s. "
            "Wait until that is done, or stop it, and run this again; kernel_headers_lock_timeout waits longer."
        )
        return {"failed": True, "changed": False, "msg": msg}
