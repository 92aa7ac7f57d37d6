"""What a service tells systemd: that it is ready, and that it still lives. One datagram each.

Source: sd_notify(3), sd_watchdog_enabled(3)
"""

from __future__ import annotations

import contextlib
import os
import socket

SIGN_SECONDS = 30.0
"""No sign of life is later than that after another, whatever somebody would wait for."""


def notify(*lines: str) -> bool:
    """Tell systemd; return whether there is one to tell.

    Args:
        lines: such as `READY=1`.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one, contextlib.suppress(OSError):
        one.sendto("\n".join(lines).encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
        return True
    return False


def period() -> float | None:
    """Return the seconds from one sign of life to the next, SIGN_SECONDS at most; None where nobody waits for any."""
    pid = os.environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None
    text = os.environ.get("WATCHDOG_USEC", "")
    return min(int(text) / 2e6, SIGN_SECONDS) if text.isdecimal() and int(text) else None
