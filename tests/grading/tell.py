"""Writes told.json: what a student reads of each fixture in the small lab, for a test that looks for jargon in it.

`PYTHONPATH=tests .venv/bin/python tests/grading/tell.py` takes some minutes: each fixture is graded in a machine.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from grading.good import make_good
from unit.jargon import told

from kmodlab.grading.grader import make_grader
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab

HERE = Path(__file__).parent


def main() -> None:
    """Grade them all, and write what is said of each."""
    grader, _ = make_grader(Lab.load(HERE / "lab"), 1)
    words: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        good = make_good(Path(temporary) / "good")
        for folder in [good, *sorted(path for path in (HERE / "submissions").iterdir() if path.name != "good")]:
            result = grader(Submission(folder.name, folder.name, folder, digest=folder.name))
            words[folder.name] = [f"{result.verdict} {result.score}", *filter(None, told(result))]
            print(folder.name, *words[folder.name][:2], flush=True)
    (HERE / "told.json").write_text(json.dumps(words, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
