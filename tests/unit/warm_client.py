"""`python -I -S warm_client.py PLACE WORD...` stands for `python WORD...`: the server in warm.py runs it.

It imports as little as it can: this is what each program takes longer than the server's fork.
"""

import marshal
import os
import signal
import socket
import sys


def is_open(descriptor: int) -> bool:
    """Whether a file descriptor is one: a shell's `>&-` closes it."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def umask() -> int:
    """Return the mask of new files, which can be read only by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def ask(place: str, words: list[str]) -> int:
    """Have the server run `python WORD...`; return its status, or minus the signal that it died of."""
    channels = [one for one in (0, 1, 2) if is_open(one)]  # before there is a socket, which takes the first free number
    said = marshal.dumps((words, channels, os.getcwd(), umask(), dict(os.environ)))  # noqa: PTH109  # no pathlib
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.connect(place)
        socket.send_fds(server, [b"%8d" % len(said)], channels)
        server.sendall(said)
        return int(server.recv(16) or b"70")


def end_as(status: int) -> None:
    """End with a status, or of a signal."""
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    end_as(ask(sys.argv[1], sys.argv[2:]))
