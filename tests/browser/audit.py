"""What axe has to say against a page: nothing."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
_COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"], "resultTypes": ["violations"]}
#: look -> what is asked. Light has dark's elements, at their places: a phone has places of its own.
_OF = {"dark": _RULES, "light": _COLOURS, "phone": _RULES}
#: rows of a table are made by one template: some of them stand for all
FEW_ROWS: dict[str, Any] = {"exclude": [["tbody tr:nth-child(n + 5)"]]}


def is_clean(page: Page, look: str = "dark", context: dict[str, Any] | None = None) -> None:
    """Hold a page, or the part of it that `context` says, against what there is to say of a look."""
    found = Axe().run(page, context=context, options=_OF.get(look, _RULES))
    assert found.response["violations"] == [], found.generate_report()
