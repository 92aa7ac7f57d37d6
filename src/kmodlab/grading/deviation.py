"""Deviations: patches of a lab's solution, each with one fault, that say what this fault may cost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kmodlab.errors import UsageError
from kmodlab.grading.lab import Lab
from kmodlab.grading.result import Verdict

_LINE = re.compile(r"^(Costs|Verdict): (.+)$", re.MULTILINE)
_HINT = "above the diff of a deviation: `Costs: ID, ID` or `Costs: nothing`, and perhaps `Verdict: oops` or `leak|oops`"


@dataclass(frozen=True)
class Deviation:
    """One fault.

    Attributes:
        patch: the file.
        costs: ids of the tests that it may cost; empty where it is no fault in the lab's eyes.
        verdicts: what a submission with it may come to: where memory decides, more than one.
    """

    patch: Path
    costs: frozenset[str]
    verdicts: frozenset[Verdict]

    @property
    def name(self) -> str:
        """What `lab check` calls it."""
        return f"deviation-{self.patch.stem}"

    @classmethod
    def read(cls, patch: Path, lab: Lab) -> Deviation:
        """Read what stands above a patch.

        Raises:
            UsageError: it does not say what it costs, or names tests or verdicts that are none.
        """
        head = patch.read_text(encoding="utf-8").partition("\n--- ")[0]
        said = dict(_LINE.findall(head))
        costs = frozenset(re.split(r", *", said.get("Costs", ""))) - {"nothing"}
        if unknown := costs - {test.id for test in lab.tests}:
            raise UsageError(f"{patch.name} costs no test of {lab.name}: {', '.join(sorted(unknown))}", hint=_HINT)
        verdicts = frozenset(said.get("Verdict", "pass|fail").split("|"))
        if unknown := verdicts - {str(one) for one in Verdict}:
            raise UsageError(f"{patch.name}: there is no verdict {', '.join(sorted(unknown))}", hint=_HINT)
        return cls(patch, costs, frozenset(map(Verdict, verdicts)))

    def wrong(self, lost: set[str], verdict: Verdict) -> str:
        """Return what is wrong with what a submission with it came to, or nothing.

        Args:
            lost: ids of the tests that did not pass.
            verdict: what it came to.
        """
        if more := lost - self.costs:
            return f"it may not cost {', '.join(sorted(more))}"
        if self.costs and not lost:
            return "no test notices it"
        if verdict not in self.verdicts:
            return f"it should come to {' or '.join(sorted(self.verdicts, reverse=True))}"
        return ""
