"""The daemon in a guest, as a deployment leaves it: what it sees, what it refuses, and how it comes back."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import postgres
from patience import SECONDS
from unit.terminal import Terminal

from kmodlab import dashboard
from kmodlab.guest import Guest
from kmodlab.image.archive import HOST_FROM_GUEST
from kmodlab.image.plan import planned

from .page import Page, session, wait
from .test_lab import play, recap, start

SERVICES = ("kmodlab-recorder", "kmodlab-dashboard")
SOCKETS = ("/run/kmodlab/recorder/socket", "/run/kmodlab/dashboard/socket")
EXPOSED = {"kmodlab-recorder": 2.0, "kmodlab-dashboard": 2.0}
"""What `systemd-analyze security` may say of each at most."""


@pytest.fixture(scope="module")
def deployed(lab: Guest) -> Guest:
    """A guest with both modules and the dashboard, by the playbook."""
    lab.up(image=planned("debian-12"))
    done = play("deploy.yml")
    assert done.returncode == 0, done.stdout
    return lab


@pytest.fixture(scope="module")
def page(deployed: Guest) -> Iterator[Page]:
    """A session with the guest's own page."""
    with session(deployed, dashboard.HOST) as one:
        yield one


def pid(guest: Guest, service: str) -> str:
    """Return the main process of a service; 0 where there is none."""
    return guest.succeed(f"systemctl show -P MainPID {service}").strip()


def test_a_call_is_seen_with_its_arguments(deployed: Guest, page: Page) -> None:
    wait(lambda: page.get("machine")["state"] == "recording")
    deployed.succeed("cat /srv/kmodlab-seen 2>/dev/null; true")
    begun = time.monotonic()
    (row,) = wait(lambda: page.rows("events", "/srv/kmodlab-seen"))
    print(f"a call was among the events {time.monotonic() - begun:.1f} s after ssh had returned")
    assert (row["call"], row["comm"]) == ("openat", "cat")
    assert page.books()["closes"]


def test_its_own_calls_are_no_records(deployed: Guest, page: Page) -> None:
    """Neither process is seen at its work, of which there is some: it writes, answers, and looks at the tasks."""
    begun = time.time()
    deployed.succeed("cat /srv/kmodlab-another 2>/dev/null; true")
    wait(lambda: page.rows("events", "/srv/kmodlab-another"))
    for service in SERVICES:
        asked = f"events?begin={begun}&end={begun + 600}&limit=5&filter=pid%3D{pid(deployed, service)}"
        assert page.get(asked)["rows"]["call"] == [], service


def test_a_filter_is_set_and_a_blocked_call_is_seen(deployed: Guest, page: Page) -> None:
    status, machine = page.control("unlink block path=/srv/kmodlab-kept")
    assert status == 200, machine
    deployed.succeed("touch /srv/kmodlab-kept; rm /srv/kmodlab-kept")
    (row,) = wait(lambda: page.rows("blocked", "/srv/kmodlab-kept"))
    assert (row["call"], row["status"], row["enforced"]) == ("unlinkat", "BLOCKED", False)
    wait(lambda: page.get("machine")["filters"] == ["unlink: BLOCK path=/srv/kmodlab-kept"])
    assert deployed.succeed("kmodlab trace filter list") == "unlink: BLOCK path=/srv/kmodlab-kept\n"


def test_enforcing_is_switched_by_the_page_and_seen_when_others_do(deployed: Guest, page: Page) -> None:
    assert page.control("enforce=1")[0] == 200
    wait(lambda: page.get("machine")["mode"] == "enforcing")
    assert deployed.execute("touch /srv/kmodlab-kept; rm /srv/kmodlab-kept").status == 1
    deployed.succeed("echo 0 >/sys/module/syscall_tracer/parameters/enforce; kmodlab trace filter clear")
    wait(lambda: (page.get("machine")["mode"], page.get("machine")["filters"]) == ("permissive", []))
    # What is counted is written within a second, and told of then.
    asked = f"changes?begin={time.time() - 600}&end={time.time() + 600}"
    wait(lambda: {"root", "elsewhere"} <= set(page.get(asked)["who"]))


def test_a_refusal_is_the_kernels_own_sentence(page: Page) -> None:
    status, told = page.control("getpid block path=/x")
    assert status in (400, 409, 422), told
    assert "it takes no path" in told["detail"]


def test_another_load_is_another_epoch_and_the_books_close(deployed: Guest, page: Page) -> None:
    before = page.get("machine")["epoch"]
    deployed.succeed("modprobe -r syscall_tracer")
    wait(lambda: page.get("machine")["state"] == "no module")
    status, told = page.control("clear")
    assert (status, told["detail"]) == (503, "the module syscall_tracer is not loaded on this machine")
    deployed.succeed("modprobe syscall_tracer")
    wait(lambda: page.get("machine")["state"] == "recording")
    wait(lambda: page.get("machine")["epoch"] == before + 1)
    deployed.succeed("cat /srv/kmodlab-anew 2>/dev/null; true")
    (row,) = wait(lambda: page.rows("events", "/srv/kmodlab-anew"))
    assert row["call"] == "openat"
    assert page.books()["closes"]


def test_tasks_are_seen_as_the_lister_shows_them(deployed: Guest, page: Page) -> None:
    deployed.succeed(
        "cp /bin/sleep '/tmp/<b>\\a b'; nohup '/tmp/<b>\\a b' 600 >/dev/null 2>&1 & echo $! >/tmp/kmodlab-sleeper"
    )
    sleeper = int(deployed.succeed("cat /tmp/kmodlab-sleeper"))
    found = wait(lambda: (one := page.get(f"tasks?filter=pid%3D{sleeper}"))["matched"] and one)
    listed = deployed.succeed(f"grep '^{sleeper} ' /proc/task_lister").split()
    titles = ("pid", "ppid", "comm", "state", "vm", "rss", "threads", "uid", "gid")
    assert {name: str(found["rows"][name][0]) for name in titles} == dict(zip(titles, listed, strict=True))
    assert found["rows"]["comm"] == [r"<b>\134a\040b"]
    tree = page.get("tasks?shape=tree&limit=1000")
    rows = dict(zip(tree["rows"]["pid"], tree["rows"]["tasks"], strict=True))
    assert rows[1] + rows[2] == tree["n"]
    deployed.succeed(f"kill {sleeper}")


def test_what_tasks_were_is_kept(page: Page) -> None:
    def told() -> bool:
        rates = page.get(f"tasks/rates?begin={time.time() - 120}&end={time.time() + 60}&step=1")
        known = [at for at, one in enumerate(rates["rss"]) if one]
        return len(known) > 5 and all(rates["states"]["sleeping"][at] for at in known)

    wait(told)
    wait(lambda: page.get(f"tasks?at={time.time()}&filter=pid%3D1")["rows"].get("comm") == ["systemd"])


def test_a_task_lister_that_is_unloaded_is_said_and_calls_go_on(deployed: Guest, page: Page) -> None:
    deployed.succeed("modprobe -r task_lister")
    said = wait(lambda: page.get("tasks")["trouble"])
    assert said["detail"] == "the module task_lister is not loaded on this machine"
    deployed.succeed("cat /srv/kmodlab-without-a-lister 2>/dev/null; true")
    wait(lambda: page.rows("events", "/srv/kmodlab-without-a-lister"))
    deployed.succeed("modprobe task_lister")
    wait(lambda: page.get("tasks")["n"] > 20)
    assert page.get("tasks")["trouble"] is None
    assert page.books()["closes"]


def test_who_serves_has_the_listers_files_from_who_records(deployed: Guest, page: Page) -> None:
    wait(lambda: page.get("tasks")["n"])
    recorder, dashboard_ = (pid(deployed, each) for each in SERVICES)
    assert deployed.execute(f"nsenter -t {dashboard_} -m test -e /proc/task_lister").status == 1
    assert "/proc/task_lister" in deployed.succeed(f"readlink /proc/{dashboard_}/fd/*")
    assert "/proc/task_" not in deployed.succeed(f"readlink /proc/{recorder}/fd/*")


@pytest.mark.parametrize("service", SERVICES)
def test_killed_it_comes_back_alone(deployed: Guest, page: Page, service: str) -> None:
    before = {each: pid(deployed, each) for each in SERVICES}
    deployed.succeed(f"cat /srv/kmodlab-before-{service} 2>/dev/null; sync; kill -9 {before[service]}")
    wait(lambda: pid(deployed, service) not in ("0", before[service]))
    deployed.succeed(f"systemctl start {service}", seconds=SECONDS)  # returns when it is ready
    assert all(pid(deployed, each) == before[each] for each in SERVICES if each != service)
    if service == "kmodlab-dashboard":  # sessions are kept in memory alone
        assert page.ask("GET", "machine")[0] == 401
        page.token = dashboard.invite(deployed).token
        page.log_in()
    wait(lambda: page.get("machine")["state"] == "recording")
    deployed.succeed(f"cat /srv/kmodlab-after-{service} 2>/dev/null; true")
    wait(lambda: page.rows("events", f"/srv/kmodlab-after-{service}"))
    assert page.books()["closes"]


def test_the_port_takes_a_session_and_its_own_name(page: Page) -> None:
    nobody = Page(page.port, "")
    for path in ("machine", "events", "ledger", "changes"):
        assert nobody.ask("GET", path)[0] == 401
    assert nobody.control("clear")[0] == 401
    assert page.ask("GET", "machine", Host="evil.example")[0] == 421
    assert page.ask("POST", "control", {"command": "clear"}, origin="http://evil.example")[0] == 403


AS_OTHER = """
import socket, sys, urllib.request, urllib.error
for path in sys.argv[2:]:
    try: socket.socket(socket.AF_UNIX).connect(path)
    except OSError as error: print(path, type(error).__name__)
try: urllib.request.urlopen("http://127.0.0.1:%s/api/v1/machine" % sys.argv[1])
except urllib.error.HTTPError as error: print(error.code)
try: open("/var/lib/kmodlab/index.db")
except OSError as error: print(type(error).__name__)
"""


def test_another_local_user_gets_nothing(deployed: Guest) -> None:
    deployed.succeed("cat >/tmp/other.py", stdin=AS_OTHER.encode())
    port = dashboard.invite(deployed).port
    other = "setpriv --reuid nobody --regid nogroup --clear-groups"
    said = deployed.succeed(f"{other} python3 /tmp/other.py {port} {' '.join(SOCKETS)}").splitlines()
    assert said == [f"{path} PermissionError" for path in SOCKETS] + ["401", "PermissionError"]
    done = deployed.execute(f"{other} kmodlabd invite")
    assert (done.status, "Permission denied" in done.stderr) == (3, True), done.stderr


AS_MEMBER = """
import http.client, socket, sys
for method, path, body in (("GET", "machine", None), ("POST", "control", '{"command": "clear"}')):
    one = http.client.HTTPConnection("localhost")
    one.sock = socket.socket(socket.AF_UNIX)
    one.sock.connect(sys.argv[1])
    one.request(method, "/api/v1/" + path, body, {"content-type": "application/json"})
    print(one.getresponse().status)
"""


def test_the_group_may_read_and_change_nothing(deployed: Guest) -> None:
    deployed.succeed("cat >/tmp/member.py", stdin=AS_MEMBER.encode())
    member = "setpriv --reuid nobody --regid kmodlab --clear-groups"
    assert deployed.succeed(f"{member} python3 /tmp/member.py {SOCKETS[1]}").split() == ["200", "403"]


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_is_exposed_to(deployed: Guest, service: str) -> None:
    said = deployed.succeed(f"systemd-analyze security --no-pager {service}.service")
    found = re.search(r"exposure level for \S+: ([\d.]+)", said)
    assert found, said
    print(f"{service}: {found.group(1)}")
    assert float(found.group(1)) <= EXPOSED[service], said


def test_who_serves_has_no_right_and_who_records_no_network(deployed: Guest) -> None:
    held = deployed.succeed(f"grep CapEff /proc/{pid(deployed, SERVICES[1])}/status").split()[1]
    assert int(held, 16) == 0
    inside = f"nsenter -t {pid(deployed, SERVICES[0])} -m"
    assert deployed.execute(f"{inside} touch /etc/kmodlab-written").status == 1
    denied = deployed.succeed(f"systemctl show -P IPAddressDeny {SERVICES[0]}")
    assert set(denied.split()) == {"::/0", "0.0.0.0/0"}


@pytest.mark.usefixtures("deployed")
def test_a_second_deployment_changes_nothing() -> None:
    done = play("deploy.yml")
    assert (done.returncode, recap(done)["changed"]) == (0, 0), done.stdout


def fleet_play(tmp_path: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Deploy the dashboard of a fleet with a database that is on this machine, and with its hub on the guest."""
    file = tmp_path / "fleet.url"
    file.write_text(url + "\n")
    wanted = {
        "lab_dashboard_fleet": str(file),
        "lab_dashboard_fleet_networks": [HOST_FROM_GUEST],
        "lab_dashboard_hub": "lab",
    }
    return play("deploy.yml", "--tags", "lab_dashboard", "-e", json.dumps(wanted))


def test_a_fleets_database_has_the_history_and_a_hub_shows_it(deployed: Guest, page: Page, tmp_path: Path) -> None:
    port = dashboard.free_port(0)
    with postgres.running(port):
        done = fleet_play(tmp_path, f"postgresql://{postgres.USER}@{HOST_FROM_GUEST}:{port}/postgres")
        assert done.returncode == 0, done.stdout
        assert recap(done)["changed"] > 2
        assert deployed.succeed("stat -c '%U %G %a' /etc/kmodlab-fleet") == "root kmodlab 640\n"
        page.token = dashboard.invite(deployed).token
        page.log_in()
        deployed.succeed("cat /srv/kmodlab-in-a-fleet 2>/dev/null; systemctl start kmodlab-hub", seconds=SECONDS)
        with session(deployed, dashboard.HUB) as hub:
            (row,) = wait(lambda: hub.rows("events", "/srv/kmodlab-in-a-fleet"))
            assert (row["call"], row["comm"]) == ("openat", "cat")
            status, told = hub.control("clear")
            assert (status, "this is a copy" in told["detail"]) == (400, True), told
        said = deployed.succeed("systemd-analyze security --no-pager kmodlab-hub.service")
        assert float(re.findall(r"exposure level for \S+: ([\d.]+)", said)[0]) <= 2.0, said
    # The database is gone: the host records on, and says so.
    deployed.succeed("cat /srv/kmodlab-alone 2>/dev/null; true")
    wait(lambda: page.rows("events", "/srv/kmodlab-alone"))
    assert page.books()["closes"]


def test_a_fleet_that_is_not_asked_for_any_more_is_gone(deployed: Guest, page: Page) -> None:
    done = play("deploy.yml", "--tags", "lab_dashboard")
    assert done.returncode == 0, done.stdout
    gone = "/etc/kmodlab-fleet /etc/systemd/system/kmodlab-hub.service /run/kmodlab/hub"
    assert deployed.succeed(f"ls -d {gone} 2>/dev/null; true") == ""
    page.token = dashboard.invite(deployed).token
    page.log_in()
    assert page.books()["closes"]


@pytest.mark.usefixtures("page")
def test_the_command_prints_an_address_and_ends_with_ctrl_c() -> None:
    with start("kmodlab", "dashboard", "--no-browser") as process:
        assert process.stdout
        seen = ""
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/#token=(\S+)", seen)):
            line = process.stdout.readline()
            assert line, seen
            seen += line
        other = Page(int(found.group(1)), found.group(2))
        other.log_in()
        assert other.get("session")["role"] == "admin"
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate()
    assert process.returncode == 0, seen + rest
    assert "Traceback" not in rest


def test_top_shows_the_guest_and_comes_back(deployed: Guest, page: Page) -> None:
    """In a terminal of 80x24, over a tunnel of its own; a daemon that starts anew is asked for a session again."""
    with contextlib.closing(Terminal("lab")) as terminal:
        terminal.until("the books close")
        kernel = re.escape(page.get("machine")["kernel"])
        assert re.search(rf"^kmodlab  lab  {kernel}  permissive +live", terminal.text)
        terminal.type("2/seen-by-top\r")
        terminal.until("Filter: seen-by-top")
        for program in ("cat", "head"):
            make = f"{program} /srv/seen-by-top 2>/dev/null; true"
            seen = re.compile(rf"(?m)^\d\d:\d\d:\d\d openat +allowed +{program} ")
            # A call that is made before the server knows of the filter is one of many, which come as a sum.
            terminal.until(lambda make=make, seen=seen: deployed.succeed(make) or seen.search(terminal.text))  # type: ignore[misc]
            terminal.type("7")
            terminal.until(lambda: re.search(r"(?m)^\d+ tasks, \d+M of memory", terminal.text))
            deployed.succeed("systemctl restart kmodlab-dashboard")
            terminal.type("2")
            terminal.until("the books close")
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.restored


@pytest.mark.usefixtures("page")
def test_a_guest_whose_daemon_is_stopped(deployed: Guest) -> None:
    deployed.succeed("systemctl stop kmodlab-dashboard")
    with start("kmodlab", "dashboard", "--no-browser") as process:
        said, _ = process.communicate()
    assert process.returncode == 3
    assert "the daemon of the guest lab does not answer: it is inactive" in said


LEFT = (
    "ls -d /usr/local/sbin/kmodlabd /var/lib/kmodlab /run/kmodlab /etc/systemd/system/kmodlab-[dhr]* "
    "/etc/systemd/system/*.wants/kmodlab-[dhr]* 2>/dev/null; getent passwd kmodlab; getent group kmodlab; "
    "systemctl list-units --all --plain --no-legend 'kmodlab-[dhr]*'; true"
)


def test_torn_down_nothing_is_left(deployed: Guest) -> None:
    assert len(deployed.succeed(LEFT).splitlines()) > 5
    done = play("playbooks/teardown.yml")
    assert done.returncode == 0, done.stdout
    assert deployed.succeed(LEFT) == ""
    done = play("playbooks/teardown.yml")
    assert (done.returncode, recap(done)["changed"]) == (0, 0), done.stdout
    with start("kmodlab", "dashboard", "--no-browser") as process:
        said, _ = process.communicate()
    assert process.returncode == 2
    assert "the guest lab has no daemon\n  hint: `ansible-playbook deploy.yml` installs it" in said
