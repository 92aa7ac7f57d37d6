"""How a machine is reached by ssh: the user's lab key, an ssh_config a machine, and the shell that it gives."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from kmodlab import paths
from kmodlab.host import HOST, Host
from kmodlab.process import as_input, locked, run
from kmodlab.vm.shell import UNBOUNDED, ConnectionLost, Done, Watch


def lab_key() -> Path:
    """Return the private key that opens this user's guests; made on first use, never leaves the state directory."""
    key = paths.key_dir() / "id_ed25519"
    public = key.with_suffix(".pub")
    if not public.exists():
        with locked(key.parent / ".lock", "making the lab's ssh key"):
            if not public.exists():  # ssh-keygen writes it last
                key.parent.chmod(0o700)
                key.unlink(missing_ok=True)
                run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "kmodlab", "-f", key])
    return key


def lab_public_key() -> str:
    """Return the lab key's public half, the base64 blob alone."""
    return lab_key().with_suffix(".pub").read_text().split()[1]


#: bytes that the path of a control socket may have: of the 107 of a socket's, ssh takes 17 for a name in between
CONTROL_PATH = 107 - 17
#: %C is a hash of 40 digits
_CONTROL_NAME = "kmodlab-%C"
#: bytes that the directory of control sockets may have
CONTROL_DIR = CONTROL_PATH - len("/kmodlab-") - 40


def _control_dirs(host: Host) -> Iterator[Path]:
    """Yield where the shared connections' sockets may be, the best place first."""
    # XDG_RUNTIME_DIR may be another user's, or name nothing at all: `su` and cron pass it on as it is.
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.is_absolute() and host.writable(runtime):
        yield runtime
    with contextlib.suppress(OSError):
        (own := host.near / f"kmodlab-{host.user}").mkdir(mode=0o700, exist_ok=True)
        yield own
    yield paths.state_dir()


def control_dir(host: Host = HOST) -> Path | None:
    """Return the directory of control sockets, private to this user and near; None where there is no such place."""
    for directory in _control_dirs(host):
        fits = len(os.fsencode(directory)) <= CONTROL_DIR
        if fits and (directory == paths.state_dir() or _is_private(directory, host.user)):
            return directory
    return None


def _is_private(directory: Path, user: int) -> bool:
    owner = directory.stat()
    return owner.st_uid == user and not owner.st_mode & 0o077


def _control_path(host: Host) -> str:
    """Return the pattern of a shared connection's socket; `none`, so that none is shared, where it has no place."""
    directory = control_dir(host)
    return f"{_literal(directory)}/{_CONTROL_NAME}" if directory else "none"


def _literal(path: Path) -> str:
    """Return a path as it has to stand in a value of ssh_config(5) in which `%` begins something."""
    return str(path).replace("%", "%%")


#: cheap to compute under emulation, on which the first connection waits
_QUICK = "  KexAlgorithms curve25519-sha256\n  Ciphers chacha20-poly1305@openssh.com\n"


def write_config(
    directory: Path, name: str, port: int, host_key: str, *, quick: bool = False, host: Host = HOST
) -> Path:
    """Write what `ssh -F` needs to reach a guest, and return its path.

    The host key came with the image, so the very first connection is already verified.

    Args:
        directory: the guest's state directory.
        name: the guest's name, the `Host` of the file.
        port: on the loopback address, forwarded to the guest's ssh.
        host_key: the guest's public host key, type and base64.
        quick: connect with what costs the guest least, and keep the shared connection's socket in `directory`.
        host: that ssh runs on.
    """
    own = directory / "ssh"
    beside = quick and len(os.fsencode(own)) <= CONTROL_PATH
    control = _literal(own) if beside else _control_path(host)
    (directory / "known_hosts").write_text(f"kmodlab-{name} {host_key}\n")
    config = directory / "ssh_config"
    config.write_text(
        f"# Written by kmodlab for the guest {name}: ssh -F {config} {name}\n"
        f"Host {name}\n"
        "  HostName 127.0.0.1\n"
        f"  Port {port}\n"
        "  User root\n"
        f"  HostKeyAlias kmodlab-{name}\n"
        f'  IdentityFile "{_literal(lab_key())}"\n'
        "  IdentitiesOnly yes\n"
        f'  UserKnownHostsFile "{_literal(directory / "known_hosts")}"\n'
        "  StrictHostKeyChecking yes\n"
        "  PreferredAuthentications publickey\n"
        "  LogLevel ERROR\n"
        "  ServerAliveInterval 15\n"
        "  ServerAliveCountMax 8\n"
        "  ControlMaster auto\n"
        f'  ControlPath "{control}"\n'
        f"  ControlPersist 3600\n{_QUICK if quick else ''}"
    )
    return config


def greets(port: int, seconds: float = 5) -> bool:
    """Return whether an ssh server answers on a loopback port.

    QEMU accepts connections long before the guest does, so only the server's greeting is proof.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


class Ssh:
    """A shell by ssh, in a machine whose `ssh_config` is, or is going to be, in its directory.

    Args:
        directory: the machine's.
        name: the machine's, the `Host` of that file.
    """

    #: seconds that a login may take
    LOGIN = 60.0

    def __init__(self, directory: Path, name: str) -> None:
        self.config = directory / "ssh_config"
        self.name = name

    @property
    def port(self) -> int:
        """The loopback port that is forwarded to the machine's ssh; 0 while there is none."""
        found = re.search(r"^  Port (\d+)$", self.config.read_text(), re.MULTILINE) if self.config.exists() else None
        return int(found[1]) if found else 0

    def command(self, *words: str, options: Sequence[str] = ()) -> list[str]:
        """Return the ssh command line that runs `words` (or a login shell) in the machine.

        Args:
            words: the command, as one or several words that ssh joins with blanks.
            options: of ssh itself.
        """
        return ["ssh", "-F", str(self.config), *options, self.name, *words]

    def answer(self, watch: Watch) -> None:
        """Wait until the server greets, and open the connection that all later commands share."""
        while not greets(self.port):
            watch()
            time.sleep(0.05)
        self.open()

    def open(self) -> None:
        """Log in once for all later commands; without it each would log in for itself, which works as well."""
        null = subprocess.DEVNULL
        argv = self.command(options=("-M", "-N", "-f"))
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(argv, stdin=null, stdout=null, stderr=null, timeout=self.LOGIN, check=False)

    def close(self) -> None:
        """End the shared connection, if there is one."""
        if self.config.exists():
            subprocess.run(self.command(options=("-O", "exit")), capture_output=True, check=False)

    def run(self, words: str, watch: Watch, *, stdin: bytes = b"", most: int = UNBOUNDED) -> Done:
        """Run a command as root, and return what it did; see `Shell.run`.

        Raises:
            ConnectionLost: ssh itself failed.
        """
        # Never the command that turns into the shared connection's master: `open` started that one.
        argv = self.command(words, options=("-o", "ControlMaster=no"))
        with as_input(stdin) as source:
            started = subprocess.Popen(
                argv, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
            )
        with started as process:
            try:
                done = _followed(process, watch, most)
            except BaseException:
                _end(process)
                raise
        if done.status == 255:
            raise ConnectionLost("ssh connection", done.err.decode(errors="replace"), done.status)
        return done


def _followed(process: subprocess.Popen[bytes], watch: Watch, most: int) -> Done:
    """Return what a process did, as far as so many bytes of each of its outputs tell."""
    streams: dict[IO[bytes] | None, bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream, taken in streams.items():
            if stream:
                selector.register(stream, selectors.EVENT_READ, taken)
        while selector.get_map():
            _take_in(selector)
            if any(len(taken) >= most for taken in streams.values()):
                _end(process)
                break
            if selector.get_map():
                watch()
    status = _status(process, watch)
    out, err = (bytes(taken) for taken in streams.values())
    return Done(status, out, err) if status >= 0 else Done(128 - status, out, err, whole=False)


def _status(process: subprocess.Popen[bytes], watch: Watch) -> int:
    while True:
        try:
            return process.wait(0.2)
        except subprocess.TimeoutExpired:
            watch()


def _take_in(selector: selectors.BaseSelector) -> None:
    for key, _ in selector.select(0.2):
        if data := os.read(key.fd, 1 << 16):
            key.data.extend(data)
        else:
            selector.unregister(key.fileobj)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
