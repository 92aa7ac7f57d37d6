"""Which submissions are alike: copydetect's fingerprints (winnowing) over each student's C code, without the starter's.

A likeness is a reason to look, and no proof. The page is our own: copydetect's shows file names as markup, and takes
its style sheet from the network.
"""

from __future__ import annotations

import importlib
import io
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kmodlab.errors import LabError
from kmodlab.grading.intake import Submission
from kmodlab.grading.report.pages import render
from kmodlab.grading.report.text import fit

#: characters of filtered code: shorter sequences are chance, longer ones are found for certain (copydetect's defaults)
_NOISE, _GUARANTEE = 25, 30
_CODE = 200_000
_PAIRS = 60


@dataclass(frozen=True)
class Pair:
    """Two submissions that are alike.

    Attributes:
        students: whose they are.
        shares: of each one's code that is in the other's, 0 to 1.
        code: of each, with what they share marked.
    """

    students: tuple[str, str]
    shares: tuple[float, float]
    code: tuple[Markup, Markup]


def _copydetect() -> Any:  # noqa: ANN401  # it has no types
    try:
        return importlib.import_module("copydetect.detector")
    except ImportError as error:
        raise LabError("copydetect is not installed", hint="pip install 'kmodlab[similarity]'") from error


def code_of(folder: Path) -> str:
    """Return all C code of a folder, in the order of the files' names."""
    files = sorted(file for suffix in ("*.c", "*.h") for file in folder.rglob(suffix) if file.is_file())
    return "\n".join(fit(file.read_bytes().decode(errors="replace")) for file in files)[:_CODE]


def compare(submissions: Iterable[Submission], starter: Path | None, least: float = 0.5) -> list[Pair]:
    """Return the pairs of submissions that are alike, the most alike first.

    Args:
        submissions: those with problems are left out.
        starter: code that everyone has.
        least: the share of one's code from which on a pair counts.

    Raises:
        LabError: copydetect is not installed.
    """
    detector = _copydetect()
    common = _fingerprint(detector, code_of(starter), ()).hashes if starter else ()
    prints = [
        (submission.student, _fingerprint(detector, code, common))
        for submission in submissions
        if not submission.problems and (code := code_of(submission.files)).strip()
    ]
    pairs = []
    for (one, first), (other, second) in itertools.combinations(prints, 2):
        _, shares, slices = detector.compare_files(first, second)
        if max(shares) >= least:
            marked = (_marked(first.raw_code, slices[0]), _marked(second.raw_code, slices[1]))
            pairs.append(Pair((one, other), (min(1.0, float(shares[0])), min(1.0, float(shares[1]))), marked))
    return sorted(pairs, key=lambda pair: (-max(pair.shares), -min(pair.shares), pair.students))


def _fingerprint(detector: Any, code: str, common: Any) -> Any:  # noqa: ANN401
    window = _GUARANTEE - _NOISE + 1
    common = list(common)
    return detector.CodeFingerprint("code.c", _NOISE, window, boilerplate=common, fp=io.StringIO(code))


def _marked(code: str, slices: Any) -> Markup:  # noqa: ANN401
    out, place = Markup(), 0
    for start, end in zip(*(map(int, side) for side in slices), strict=True):
        out += Markup("{}<mark>{}</mark>").format(code[place:start], code[max(place, start) : end])
        place = max(place, end)
    return out + Markup("{}").format(code[place:])


def page(pairs: Sequence[Pair], lab: str) -> str:
    """Return the page that shows pairs side by side."""
    return render("similarity.html.j2", lab=lab, pairs=pairs[:_PAIRS], left_out=max(0, len(pairs) - _PAIRS))
