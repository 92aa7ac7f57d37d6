"""Opening a page in the user's browser."""

from __future__ import annotations

import html
import os
import webbrowser
from pathlib import Path

_REDIRECT = (
    '<!doctype html><meta charset="utf-8"><title>kmodlab</title><meta http-equiv="refresh" content="0; url={}">\n'
)


def show(address: str, folder: Path) -> bool:
    """Open an address in the user's browser, where there is a desktop: by a file, for command lines can be read by all.

    Returns:
        Whether a browser was started.
    """
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    page = folder / "open.html"
    page.touch(mode=0o600)
    page.write_text(_REDIRECT.format(html.escape(address)))
    return webbrowser.open(page.as_uri())
