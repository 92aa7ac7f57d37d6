"""The lab from end to end, as its users run it: `kmodlab lab`, then each playbook, in order, on one guest."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kmodlab.guest import Guest
from kmodlab.paths import project_dir

BIN = Path(sys.executable).parent
#: some of what `kmodlab lab` checks, for a run of which something else is asked
FEW = "quick and task_lister and not syscall_tracer"


def start(*argv: str | Path, **env: str) -> subprocess.Popen[str]:
    """Start a command of the project at its root, in a session of its own; its two output streams come as one."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        [str(word) for word in argv],
        cwd=project_dir(),
        env={**os.environ, "PATH": path, "ANSIBLE_NOCOLOR": "1", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )


def run(*argv: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run such a command to its end."""
    with start(*argv, **env) as process:
        output, _ = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, "")


def play(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook."""
    return run("ansible-playbook", *arguments, **env)


def recap(done: subprocess.CompletedProcess[str], host: str = "lab") -> dict[str, int]:
    """Return the counts of a host in the recap, `changed` and `failed` for instance."""
    found = re.search(rf"(?m)^{host} +: (.*)$", done.stdout)
    assert found, done.stdout
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", found.group(1))}


def test_interrupted_while_it_deploys(tmp_path: Path) -> None:
    """Ctrl-C in the middle of the playbooks ends them, and the guest that this run had brought up."""
    with start("kmodlab", "lab", KMODLAB_STATE_DIR=str(tmp_path / "state")) as process:
        assert process.stdout
        seen = ""
        while "kernel_headers : " not in seen:
            line = process.stdout.readline()
            assert line, seen
            seen += line
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate()
    assert process.returncode == 130, seen + rest
    assert "kmodlab: interrupted" in rest
    assert "Traceback" not in rest
    assert not (tmp_path / "state" / "guests" / "lab").exists()
    assert str(tmp_path) not in subprocess.check_output(["ps", "-ww", "-eo", "args"], text=True)


def check_summary(output: str) -> None:
    """Assert what the end of `kmodlab lab` must show."""
    summary = output[output.rindex("/proc/syscall_tracer ─") :]
    for shown in ("System Call Tracer Log", "Total entries: ", "LINUX KERNEL TASK LISTER", "TASK STATISTICS"):
        assert shown in summary
    assert re.search(r"(?m)^unlinkat +\d+ +\d+ +ALLOWED .* kmw-", summary), summary
    assert "syscall_tracer: loaded" in summary
    checks = re.findall(r"(?m)^(PASS|FAIL|SKIP)  \S.*$", summary)
    assert checks.count("PASS") == len(checks) > 10, summary
    assert f"{len(checks)} of {len(checks)} checks passed" in summary
    command = re.search(r"ssh -F (\S+) lab", summary)
    assert command
    assert subprocess.check_output(["ssh", "-F", command.group(1), "lab", "uname", "-n"], text=True).strip() == "lab"


@pytest.mark.usefixtures("lab")
def test_lab_twice_at_once() -> None:
    """`kmodlab lab` goes from no guest to a summary and a verdict; a second one waits for it, and uses its guest."""
    one, other = ("kmodlab", "lab"), ("kmodlab", "lab", "--select", FEW)
    with start(*one) as first, start(*other) as second, ThreadPoolExecutor() as pool:
        outputs = [done[0] for done in pool.map(subprocess.Popen.communicate, (first, second))]
    for process, output in zip((first, second), outputs, strict=True):
        assert process.returncode == 0, output
        check_summary(output)
    assert sum("waiting for another kmodlab" in output for output in outputs) == 1
    assert sum("guest lab: already up" in output for output in outputs) == 1


def test_second_deploy_changes_nothing(lab: Guest) -> None:
    """With no argument, deploy.yml takes the guest that is up; after `kmodlab lab` it changes nothing."""
    done = play("deploy.yml")
    assert done.returncode == 0, done.stdout
    counts = recap(done)
    assert counts["changed"] == counts["failed"] == counts["unreachable"] == 0, done.stdout
    assert lab.succeed("ls /sys/module | grep -cxE 'syscall_tracer|task_lister'").strip() == "2"
    assert "execve(" in lab.execute("kmodlab trace run -- true").stderr


@pytest.mark.usefixtures("lab")
def test_check_mode_on_a_deployed_machine() -> None:
    """`--check` foresees no change where there is none to make."""
    done = play("deploy.yml", "--check")
    assert done.returncode == 0, done.stdout
    assert recap(done)["changed"] == 0


@pytest.fixture(scope="module")
def unwatched(lab: Guest) -> Iterator[Guest]:
    """The guest without what records its calls, whose deployment was looked at: an emulated one is twice as fast."""
    lab.succeed("systemctl disable --now kmodlab-recorder kmodlab-dashboard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANSIBLE_SKIP_TAGS", "lab_dashboard")
        yield lab


def test_deploying_the_filters_alone(unwatched: Guest) -> None:
    """With `--tags filters` the machines are found, the filters set and enforced, and the rest is left alone."""
    wanted = {
        "syscall_tracer_filters": ["unlink block path=/root/kept errno=13"],
        "syscall_tracer_enforce": True,
        "syscall_tracer_enforce_timeout": 3600,
    }
    first = play("deploy.yml", "--tags", "filters", "-e", json.dumps(wanted))
    assert recap(first)["changed"] > 0, first.stdout
    assert "Permission denied" in unwatched.execute("touch /root/kept && rm -f /root/kept").stderr
    assert recap(play("deploy.yml", "--tags", "filters", "-e", json.dumps(wanted)))["changed"] == 0
    # What is not asked for any more ends, from the command line's text too.
    play("deploy.yml", "--tags", "filters", "-e", "syscall_tracer_enforce=false")
    unwatched.succeed("rm /root/kept && grep -qx N /sys/module/syscall_tracer/parameters/enforce")


def test_parameters_and_filters_are_back_after_a_restart(unwatched: Guest) -> None:
    """The modules are loaded at boot, with the parameters and the filters that were deployed."""
    wanted = {"syscall_tracer_log_entries": 2048, "syscall_tracer_filters": ["unlink block"]}
    done = play("deploy.yml", "-e", json.dumps(wanted))
    assert done.returncode == 0, done.stdout
    unwatched.reboot()
    unwatched.settle()
    assert unwatched.succeed("cat /sys/module/syscall_tracer/parameters/log_entries").strip() == "2048"
    page = unwatched.succeed("head -n 1 /proc/task_lister >/dev/null && cat /proc/syscall_tracer")
    assert page[page.rindex("Active Filters:") :].splitlines()[2:] == ["unlink: BLOCK"]


def test_own_inventory_is_managed_as_it_stands(unwatched: Guest, tmp_path: Path) -> None:
    """With -i my-hosts that host is deployed to by its own variables."""
    # To compile takes minutes under emulation: test_vagrant.py has a machine that builds both modules for itself.
    mine = {
        "ansible_host": unwatched.name,
        "ansible_user": "root",
        "ansible_ssh_common_args": f"-F {unwatched.ssh_config}",
        "kernel_module_builder": [f"{BIN}/kmodlab", "guest", "build", unwatched.name],
        "syscall_tracer_log_entries": 512,
    }
    hosts = tmp_path / "my-hosts.json"
    hosts.write_text(json.dumps({"all": {"hosts": {"mine": mine}}}))
    done = play("-i", hosts, "deploy.yml")
    assert done.returncode == 0, done.stdout
    assert recap(done, "mine")["changed"] > 0
    assert "Start the guest" not in done.stdout
    assert unwatched.succeed("cat /sys/module/syscall_tracer/parameters/log_entries").strip() == "512"


@pytest.mark.usefixtures("lab")
def test_own_inventory_never_touches_qemu(tmp_path: Path) -> None:
    """A host that does not answer is reported, and no guest is brought up in its place."""
    hosts = tmp_path / "my-hosts"
    hosts.write_text("gone ansible_host=127.0.0.1 ansible_port=1 ansible_user=nobody\n")
    state = tmp_path / "state"
    done = play("-i", hosts, "deploy.yml", KMODLAB_STATE_DIR=str(state))
    assert done.returncode == 4, done.stdout
    assert recap(done, "gone")["unreachable"] == 1
    assert not state.exists()


def test_scripts_beside_the_modules(lab: Guest) -> None:
    """By hand on the machine: the self tests, and one look of each monitor."""
    lab.copy_to(project_dir() / "kernel", "/root/kernel")
    for module, self_test, monitor in (
        ("syscall_tracer", "test_tracer.sh", "monitor.sh"),
        ("task_lister", "test_task_lister.sh", "monitor_tasks.sh"),
    ):
        inside = f"cd /root/kernel/{module} &&"
        assert "FAIL" not in lab.succeed(f"{inside} bash {self_test}")
        assert lab.succeed(f"{inside} bash {monitor} -c 1").strip()


def test_teardown_leaves_nothing(lab: Guest) -> None:
    """No module, no /proc entry, no file; a second teardown changes nothing, and the scripts say what is missing."""
    done = play("playbooks/teardown.yml", ANSIBLE_SKIP_TAGS="")
    assert done.returncode == 0, done.stdout
    left = lab.succeed(
        "ls -d /sys/module/syscall_tracer /sys/module/task_lister /proc/syscall_tracer /proc/task_* 2>/dev/null;"
        "find /etc /lib/modules /usr/src /var/lib /usr/local /opt -xdev"
        r" \( -name '*syscall_tracer*' -o -name '*task_lister*' -o -name '*kmodlab-workload*'"
        r" -o -path /usr/local/bin/kmodlab \) -print"
    )
    assert left == ""
    again = play("playbooks/teardown.yml", ANSIBLE_SKIP_TAGS="")
    assert again.returncode == 0, again.stdout
    assert recap(again)["changed"] == 0
    for script in ("syscall_tracer/test_tracer.sh", "task_lister/test_task_lister.sh"):
        result = lab.execute(f"bash /root/kernel/{script}")
        assert result.status != 0
        assert re.search("not loaded", result.stdout + result.stderr)


def test_kernel_that_refuses_the_module(unwatched: Guest) -> None:
    """Where the kernel enforces signatures the deployment names the reason and what to do; nothing is loaded."""
    unwatched.succeed("echo 1 >/sys/module/module/parameters/sig_enforce")
    done = play("deploy.yml")
    assert done.returncode == 2, done.stdout
    message = re.sub(r"\s+", " ", done.stdout)
    assert "refused the kernel module syscall_tracer" in message
    assert "sign" in message.lower()
    assert unwatched.succeed("ls /proc/syscall_tracer 2>&1 || true").strip().endswith("No such file or directory")
