"""The lab on the machines that people have: paths, homes, locales, umasks and settings that nobody here would choose.

Each test is a machine with many oddities at once, and `make lab`'s command from nothing to its verdict.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patience import SECONDS

from kmodlab import paths
from kmodlab.image.buildroot import own_mounts
from kmodlab.image.image import find_image
from kmodlab.image.plan import planned

BIN = Path(sys.executable).parent
#: another project's, that Ansible would read in its place
FOREIGN = "[defaults]\nroles_path = /nonexistent\ninventory = /nonexistent\nstrategy = nonexistent\n"
#: some of the contract's tests: what is asked here is whether they are reached
CHECKS = "quick and task_lister and not syscall_tracer"


def checkout(place: Path) -> Path:
    """Copy what the lab needs of this checkout, and give it an environment whose programs lie below `place`."""
    wanted = (
        "ansible.cfg",
        "deploy.yml",
        "inventory",
        "kernel",
        "playbooks",
        "plugins",
        "pyproject.toml",
        "roles",
        "src",
    )
    place.mkdir(parents=True)
    for name in wanted:
        source = paths.project_dir() / name
        if source.is_dir():
            shutil.copytree(source, place / name, symlinks=True)
        else:
            shutil.copy(source, place / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / ".venv"], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / ".venv" / "lib" / version / "site-packages"
    # The copy's own package, as .config/setup has it, then the dependencies of this environment: installing them again
    # would take half a minute.
    (packages / "lab.pth").write_text(f"../../../../src\n{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    for name in ("kmodlab", "ansible-playbook", "ansible-inventory"):
        script = (BIN / name).read_text().partition("\n")[2]
        # As pip writes the first lines where the interpreter's path has blanks, or is long; the `$` is the shell's.
        interpreter = str(place / ".venv" / "bin" / "python").replace("$", "\\$")
        own = place / ".venv" / "bin" / name
        own.write_text(f"#!/bin/sh\n'''exec' \"{interpreter}\" \"$0\" \"$@\"\n' '''\n{script}")
        own.chmod(0o755)
    return place


def images(home: Path) -> None:
    """Let a home's cache have the image that this user's has, and the accelerator: neither is what is asked."""
    there = find_image(planned("auto"))
    assert there, "the lab's tests come first, and build it"
    place = home / ".cache" / "kmodlab" / "images"
    place.mkdir(parents=True)
    (place / there.id).symlink_to(there.directory)
    if (known := paths.cache_dir() / "accelerator.json").exists():
        shutil.copy(known, place.parent)


@contextmanager
def agent_with_keys(folder: Path, count: int) -> Iterator[dict[str, str]]:
    """An ssh-agent with so many keys, each of which ssh would offer before the right one; a server hangs up at six."""
    socket = folder / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL) as agent:
        try:
            env = {"SSH_AUTH_SOCK": str(socket)}
            for number in range(count):
                key = folder / f"key-{number}"
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
                add = ["sh", "-c", 'until ssh-add -q "$1" 2>"$1.log"; do test -e "$1"; done', "sh", str(key)]
                subprocess.run(add, env={**os.environ, **env}, check=True, timeout=SECONDS)
            yield env
        finally:
            agent.kill()


def lab(place: Path, *before: str, umask: int, env: dict[str, str]) -> str:
    """Run the lab from nothing to its end, with nothing in the environment but `env`, and return its output."""
    program = [*before, str(place / ".venv" / "bin" / "kmodlab")]
    whole = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **env}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *words],
            cwd=place,
            env=whole,
            umask=umask,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )

    try:
        done = run("lab", "--select", CHECKS)
    finally:
        ended = run("guest", "down", "lab")
    assert done.returncode == ended.returncode == 0, done.stdout + ended.stdout
    return done.stdout


def check(output: str) -> None:
    """Assert that all was done: nothing was passed over because a setting was not read."""
    assert "checks passed" in output
    assert "FAIL" not in output
    assert output.count("PASS") > 5, output
    assert "\x1b[" not in output


def test_a_home_and_a_checkout_with_blanks_signs_umlauts_and_long_paths(tmp_path: Path) -> None:
    """Locale C, a private umask, another project's ansible.cfg, a dumb terminal, eight keys in the agent."""
    odd = tmp_path / "100% Übung & 'mehr'"
    place = checkout(odd / ("x" * (200 - len(str(odd)) - 1)) / "kmodlab %h")
    home = odd / "Füße %d" / ("y" * 60)
    images(home)
    (odd / "ansible.cfg").write_text(FOREIGN)
    env = {"HOME": str(home), "LC_ALL": "C", "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "80"}
    env |= {"ANSIBLE_CONFIG": str(odd / "ansible.cfg"), "ANSIBLE_ROLES_PATH": "/nonexistent"}
    # A short path: others are not taken for temporary files.
    with tempfile.TemporaryDirectory(prefix="tmp of 100% ü ", dir="/tmp") as near, agent_with_keys(tmp_path, 8) as keys:
        check(lab(place, umask=0o077, env={**env, **keys, "TMPDIR": near}))
    others = [path for path in (home / ".local").rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077]
    assert not others


def test_a_checkout_that_everybody_may_write_behind_a_link_with_a_home_that_nobody_may() -> None:
    """A locale that was never generated, XDG variables that are wrong, /tmp for no programs."""
    # Not in /tmp, where the checkout's own programs could not run either.
    with tempfile.TemporaryDirectory(prefix="kmodlab-", dir="/var/tmp") as temporary:
        there = Path(temporary)
        place = checkout(there / "real")
        subprocess.run(["chmod", "-R", "a+rwX", place], check=True)
        (there / "link").symlink_to(place)
        images(there)
        (home := there / "home").mkdir()
        env = {"HOME": str(home), "LC_ALL": "de_DE.UTF-8", "LANGUAGE": "de", "XDG_RUNTIME_DIR": "/nonexistent"}
        env |= {"XDG_STATE_HOME": "state", "XDG_CACHE_HOME": "", "TMPDIR": "/nonexistent"}
        env |= {"KMODLAB_CACHE_DIR": str(there / ".cache" / "kmodlab"), "KMODLAB_STATE_DIR": "../state"}
        mounts = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && mount --bind /tmp /tmp'
        inside = f'{mounts} && mount -o remount,bind,noexec /tmp && ! touch "$0/x" 2>/dev/null && exec "$@"'
        check(lab(there / "link", "unshare", *own_mounts(), "sh", "-c", inside, str(home), umask=0, env=env))
        made = [path for path in (there / "state").rglob("*") if not path.is_symlink() and not path.is_socket()]
        assert made
        assert not [path for path in made if path.stat().st_mode & 0o002]
