"""What a user's environment may hold, and what the lab's programs get of it; Ansible itself is asked."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kmodlab import environment, paths

ANSIBLE = Path(sys.executable).with_name("ansible-playbook")
#: every way in which a machine or a login can name a locale that Ansible does not take
LOCALES: tuple[dict[str, str], ...] = (
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX"},
    {"LC_ALL": "de_DE.UTF-8"},
    {"LANG": "de_DE.ISO-8859-1"},
    {"LC_CTYPE": "UTF-8", "LANG": "C"},
    {"LANG": "nonsense", "LANGUAGE": "de:fr"},
    {},
)
#: settings of another project, each of which hides a part of this one
FOREIGN = {
    "ANSIBLE_CONFIG": "/nonexistent/ansible.cfg",
    "ANSIBLE_ROLES_PATH": "/nonexistent",
    "ANSIBLE_INVENTORY": "/nonexistent",
    "ANSIBLE_LIBRARY": "/nonexistent",
    "ANSIBLE_ACTION_PLUGINS": "/nonexistent",
    "ANSIBLE_STRATEGY_PLUGINS": "/nonexistent",
    "ANSIBLE_VAULT_PASSWORD_FILE": "/nonexistent",
    "ANSIBLE_BECOME_ASK_PASS": "1",
    "PYTHONHOME": "/nonexistent",
    "PYTHONOPTIMIZE": "2",
    "PYTEST_ADDOPTS": "-k nothing",
    "CDPATH": "/usr",
}


def _user(**more: str) -> dict[str, str]:
    """The environment of a user who has set nothing else."""
    return {"HOME": os.environ["HOME"], "PATH": os.environ["PATH"], **more}


def _syntax(env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Have Ansible read the deployment, for which it needs roles, modules and inventory of the project."""
    argv = [str(ANSIBLE), "--syntax-check", str(paths.project_dir() / "deploy.yml")]
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Ansible, in what becomes of the environment of a user who has set nothing."""
    return _syntax(environment.settled(_user()), tmp_path_factory.mktemp("elsewhere"))


@pytest.mark.parametrize("locale", LOCALES, ids=lambda locale: " ".join(locale.values()) or "none")
def test_ansible_works_in_every_locale(locale: dict[str, str], read: subprocess.CompletedProcess[str]) -> None:
    """Of each there is left what is left of none, and in that it works."""
    assert environment.settled(_user(**locale)) == environment.settled(_user())
    assert read.returncode == 0, read.stderr


#: says something, as one that waits for somebody does, and goes on only once that was seen
TALKING = """
import pathlib, time
from ansible.plugins.action import ActionBase
class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        self._display.display("it is shown")
        while not pathlib.Path(self._task.args["until"]).exists():
            time.sleep(0.1)
        return {}
"""


def test_ansible_shows_in_a_pipe_what_it_does_when_it_does_it(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    for folder, content in (("action_plugins", TALKING), ("library", "")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "talk.py").write_text(content)
    play = f"- hosts: all\n  gather_facts: false\n  tasks:\n    - talk:\n        until: {seen}\n"
    (tmp_path / "play.yml").write_text(play)
    env = environment.settled(_user(ANSIBLE_STRATEGY="ansible.builtin.linear"))
    argv = [str(ANSIBLE), "-i", "here,", "-c", "local", str(tmp_path / "play.yml")]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout
        impatient = threading.Timer(60, running.kill)
        impatient.start()
        shown = next((line for line in running.stdout if "it is shown" in line), "")
        seen.touch()
        rest = running.stdout.read()
        impatient.cancel()
    assert shown, rest
    assert running.returncode == 0, rest


def test_ansible_does_not_by_itself(tmp_path: Path) -> None:
    """What the others are for: each would fail, were the environment handed on as it is."""
    for broken in ({"LC_ALL": "de_DE.UTF-8"}, FOREIGN):
        assert _syntax(_user(**broken), tmp_path).returncode


def test_settings_of_another_project_are_left_out(read: subprocess.CompletedProcess[str]) -> None:
    assert environment.settled(_user(**FOREIGN)) == environment.settled(_user())
    assert read.returncode == 0, read.stderr


def test_what_the_user_may_decide_stays() -> None:
    own = {"ANSIBLE_VERBOSITY": "2", "ANSIBLE_NOCOLOR": "1", "http_proxy": "http://proxy:3128", "TERM": "dumb"}
    kept = environment.settled(_user(**own))
    assert {name: kept[name] for name in own} == own


def test_a_user_who_names_no_folder_for_temporary_files() -> None:
    assert "TMPDIR" not in environment.settled({})


@pytest.mark.parametrize("wrong", ["", "relative", "/nonexistent"])
def test_a_folder_for_temporary_files_that_is_none(wrong: str) -> None:
    assert "TMPDIR" not in environment.settled({"TMPDIR": wrong})


def test_a_folder_for_temporary_files_in_which_no_socket_can_be(near: Path) -> None:
    for length, kept in ((environment._LONGEST_TEMPORARY, True), (environment._LONGEST_TEMPORARY + 1, False)):
        place = near / ("x" * (length - len(str(near)) - 1))
        place.mkdir()
        assert ("TMPDIR" in environment.settled({"TMPDIR": str(place)})) is kept


@pytest.mark.parametrize(("umask", "mode"), [(0o000, 0o644), (0o002, 0o644), (0o077, 0o600)])
def test_nobody_else_may_write_what_is_made(umask: int, mode: int, tmp_path: Path) -> None:
    program = "from kmodlab import environment; environment.settle(); open('made', 'w')"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, umask=umask, check=True)
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == mode


def test_settling_changes_what_children_get() -> None:
    mine = {"LC_ALL": "C", "LANGUAGE": "de", "CDPATH": "/usr", "HOME": "/root"}
    before = os.umask(0o022)
    try:
        environment.settle(mine)
    finally:
        os.umask(before)
    assert mine["LC_ALL"] == "C.UTF-8"
    assert mine["HOME"] == "/root"
    assert not {"LANGUAGE", "CDPATH"} & set(mine)


@pytest.mark.parametrize(("command", "seen"), [("trace", "/usr"), ("doctor", "/usr"), ("image", "None")])
def test_a_traced_program_and_the_doctor_have_the_users_environment(command: str, seen: str) -> None:
    """`kmodlab trace` runs a program of the user's; `kmodlab doctor` looks at what the user has set."""
    show = (
        "import atexit, os; from kmodlab import cli; atexit.register(lambda: print(os.environ.get('CDPATH')));"
        f"cli.app(['{command}', '--help'])"
    )
    env = {**os.environ, "CDPATH": "/usr"}
    done = subprocess.run([sys.executable, "-c", show], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == [seen], done.stderr


def test_programs_of_file_systems_are_found_in_the_search_path_of_an_ordinary_user() -> None:
    settled = environment.settled({"PATH": "/usr/local/bin:/usr/bin:/bin"})
    assert settled["PATH"] == "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    assert environment.settled(settled)["PATH"] == settled["PATH"]
    assert environment.settled({"PATH": "/sbin:/bin"})["PATH"] == "/sbin:/bin:/usr/sbin"
