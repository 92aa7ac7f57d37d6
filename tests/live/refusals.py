"""For schemathesis: a request that keeps to the description is refused for what that cannot say, and only so."""

from __future__ import annotations

import re
from typing import Any

import schemathesis

_TIME, _PLACE = "^begin has to be before end$", "is no place in a list"
_FILTER = "^the filter has |^there is no status | is no number$"
REASONS = {
    "control": ".",  # whatever the tracer says of a command
    "listBlocked": f"{_PLACE}|{_TIME}",
    "listChanges": _TIME,
    "listEvents": f"{_PLACE}|{_TIME}|{_FILTER}",
    "listRates": _TIME,
    "listTaskRates": _TIME,
    "listTasks": f"{_FILTER}|is there in a tree alone$",
    "listTop": _TIME,
}
"""operationId -> what the detail of an answer 400 says then."""


@schemathesis.check
def refused_for_a_reason(ctx: Any, response: Any, case: Any) -> bool | None:
    """Take the place of `positive_data_acceptance`, which takes no 400 or every one."""
    del ctx
    good = case.meta is not None and case.meta.generation.mode == schemathesis.GenerationMode.POSITIVE
    if response.status_code != 400 or not good:
        return None
    name = case.operation.definition.raw["operationId"]
    detail = response.json()["detail"]
    assert re.search(REASONS.get(name, "^$"), detail), f"{name} refuses what is described: {detail}"
    return None
