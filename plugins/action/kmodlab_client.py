"""Ansible action: read the sources of the client on the controller and hand them to the module `kmodlab_client`."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

MAIN = '''"""The program kmodlab of a machine with the tracer."""

from kmodlab.modules.cli import program

program()
'''
PACKAGE = '"""The part of kmodlab that a machine with the tracer needs."""\n'
# What only a checkout has a use for.
_GENERATORS = ("spec_c.py",)


def files(package: Path, spec: Path) -> dict[str, str]:
    """Return what the client consists of: the readers of the package, the errors, and the specification as JSON.

    Raises:
        OSError: some of it is not there.
    """
    readers = sorted(path for path in (package / "modules").glob("*.py") if path.name not in _GENERATORS)
    found = {"__main__.py": MAIN, "kmodlab/__init__.py": PACKAGE}
    for path in [package / "errors.py", *readers]:
        found[str(Path("kmodlab") / path.relative_to(package))] = path.read_text(encoding="utf-8")
    tree = yaml.safe_load(spec.read_text(encoding="utf-8"))
    found[f"kmodlab/modules/{spec.stem}.json"] = json.dumps(tree, separators=(",", ":"))
    return found


class ActionModule(ActionBase):  # type: ignore[misc] # Ansible has no types
    """Read on the controller, put together on the target."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module of the same name returns."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = self._task.args
        arguments = {"dest": given.get("dest", "/usr/local/bin/kmodlab"), "state": given.get("state", "present")}
        if arguments["state"] == "present":
            arguments.update(self._packed(Path(given["src"]), Path(given["spec"])))
        result.update(self._execute_module(module_name=self._task.action, module_args=arguments, task_vars=task_vars))
        result.pop("invocation", None)
        return result

    def _packed(self, package: Path, spec: Path) -> dict[str, str]:
        try:
            text = json.dumps(files(package, spec), sort_keys=True).encode()
        except OSError as error:
            raise AnsibleActionFail(
                f"the sources of the client are not on the controller: {error}. "
                "`syscall_tracer_client: false` does without the client; syscall_tracer_client_source is where it lies."
            ) from error
        return {"digest": hashlib.sha256(text).hexdigest(), "files": base64.b64encode(text).decode("ascii")}
