"""User namespaces, without which an ordinary user can neither build images nor grade: are there any, and why not.

Root needs none, but root of a container may be such a user. Also here: how bubblewrap is told to keep a program that
is not to be trusted apart, with and without them.
"""

from __future__ import annotations

import random
import subprocess

from kmodlab.host import HOST, Host

#: setting -> the value that refuses, what that means, the value to set. The first that refuses is the cause.
#: Source: Ubuntu's release notes of 23.10 and 24.04; Debian's kernel patch; namespaces(7)
_SETTINGS = {
    "kernel.unprivileged_userns_clone": ("0", "this system keeps them from ordinary users", "1"),
    "user.max_user_namespaces": ("0", "none are allowed on this system", "15000"),
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "AppArmor keeps them from ordinary users (Ubuntu)", "0"),
}
#: what begins the command of a sandbox
BWRAP = ("bwrap", "--die-with-parent", "--new-session")
#: how what is said begins where the sandbox itself does not start
OURS = ("bwrap: ", "setpriv: ", "prlimit: ", "unshare: ", "mount: ", "chroot: ")
#: user ids that no host gives to anyone, one for each sandbox at a time: the kernel counts processes by user
_USERS = range(0x7000_0000, 0x7FFF_0000)
_IN_A_CONTAINER = (
    "in a container: start it with `--security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined`; elsewhere: run the command as root"
)


def is_root(host: Host = HOST) -> bool:
    """Whether this user is root over all user ids, and not only in a namespace that has a few of them."""
    if host.user:
        return False
    try:
        rows = [line.split() for line in (host.proc / "self" / "uid_map").read_text().splitlines()]
    except OSError:
        return True
    return any(int(first) == 0 and int(length) >= (1 << 32) - 1 for first, _, length in rows)


def in_a_chroot(host: Host = HOST) -> bool:
    """Whether "/" is no mount point, as in a chroot: what is mounted there cannot be kept from the system around it."""
    try:
        places = [line.split()[4] for line in (host.proc / "self" / "mountinfo").read_text().splitlines()]
    except OSError:
        return False
    return "/" not in places


def with_root_mounted(argv: list[str], host: Host = HOST) -> list[str]:
    """Return the command that runs another one where "/" is a mount point, as far as this user can have it so.

    In a chroot bubblewrap cannot leave its root behind. /proc is a mount point there, and its own: what is mounted
    upon one of its directories once it is private is seen by nobody else.
    """
    if not is_root(host) or not in_a_chroot(host):
        return argv
    enter = 'mount --make-rprivate /proc && mount --rbind / /proc/fs && exec chroot /proc/fs "$@"'
    return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", enter, "sh", *argv]


def isolated(host: Host = HOST) -> list[str]:
    """Return the options that give a program in bubblewrap namespaces of its own, and no power over this host."""
    if not is_root(host):
        return ["--unshare-user", "--unshare-all", "--uid", "65534", "--gid", "65534"]
    # Root's processes are not counted, in whatever namespace: bubblewrap as root hands over to a user that is nobody's.
    kept = [word for name in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{name}")]
    spaces = [f"--unshare-{name}" for name in ("ipc", "pid", "net", "uts", "cgroup-try")]
    return [*spaces, "--cap-drop", "ALL", *kept]


def as_nobody(host: Host = HOST) -> list[str]:
    """Return the command, inside, that runs another one as a user that is nobody's; bubblewrap does so but for root."""
    if not is_root(host):
        return []
    user = random.choice(_USERS)  # noqa: S311  # not a secret
    ids = [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    return ["/usr/bin/setpriv", *ids, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]


def refused(host: Host = HOST) -> str:
    """Return why this user gets no user namespace, one sentence; empty where he gets one, or needs none."""
    if is_root(host):
        return ""
    try:
        argv = ["unshare", "--user", "--map-root-user", "true"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return ""  # the doctor names the program
    if not done.returncode:
        return ""
    return cause(host)[0] or f"user namespaces are refused: {done.stderr.strip()}"


def cause(host: Host = HOST) -> tuple[str, str]:
    """Return which setting of the system refuses user namespaces, and the way out; where none does, only the latter."""
    for name, (bad, meaning, good) in _SETTINGS.items():
        try:
            value = (host.proc / "sys" / name.replace(".", "/", 1)).read_text().strip()
        except OSError:
            continue
        if value == bad:
            keep = f"to keep it over a restart: echo {name}={good} | sudo tee /etc/sysctl.d/60-kmodlab.conf"
            return f"{meaning}: {name} is {bad}", f"sudo sysctl -w {name}={good} ({keep})"
    if in_a_chroot(host) and not is_root(host):
        return "in a chroot the kernel gives none", "run the command as root, or outside"
    if not (host.proc / "self" / "ns" / "user").exists():
        return "this kernel has no user namespaces", "run the command as root"
    return "", _IN_A_CONTAINER
