"""A terminal on a guest's serial console."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty
from pathlib import Path

from kmodlab.errors import LabError
from kmodlab.paths import socket_within_reach

LEAVE = b"\x1d"  # Ctrl-]


def attach(directory: Path) -> None:
    """Join this terminal to the console socket in a guest's directory until Ctrl-] or the guest's end.

    Args:
        directory: the guest's state directory.

    Raises:
        LabError: nobody listens on the socket.
    """
    with socket_within_reach(directory, "console.sock") as path, socket.socket(socket.AF_UNIX) as console:
        try:
            console.connect(path)
        except OSError as error:
            raise LabError("nobody listens on the guest's console", hint="is the guest up?") from error
        sys.stderr.write("connected; Ctrl-] leaves\r\n")
        _relay(console)


def _relay(console: socket.socket) -> None:
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        console.sendall(b"\n")
        while True:
            ready, _, _ = select.select([sys.stdin, console], [], [])
            if console in ready:
                if not (data := console.recv(4096)):
                    return
                os.write(sys.stdout.fileno(), data)
            if sys.stdin in ready:
                data = os.read(sys.stdin.fileno(), 1024)
                if not data or LEAVE in data:
                    return
                console.sendall(data)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
