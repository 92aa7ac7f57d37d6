"""What a service tells systemd: that it is ready, and that it still lives. One datagram each.

Source: sd_notify(3), sd_watchdog_enabled(3)
"""

from __future__ import annotations

import contextlib
import os
import socket


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
    """Return how many seconds there may be between two signs of life; None where nobody waits for any."""
    pid = os.environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return None
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2e6 if text.isdecimal() and int(text) else None
