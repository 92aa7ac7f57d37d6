"""Each broken module, in the kernel and by the step of the campaign that has to find it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mutants.mutant import Mutant

from kmodlab.sanitize.campaign import run_campaign
from kmodlab.sanitize.kernels import build_kernel
from kmodlab.sanitize.steps import chosen
from sanitize import PATCHES, header


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_what_is_broken_is_found(patch: Path, tmp_path: Path) -> None:
    kernel, step, finding = header(patch)
    sources = Mutant.read(patch).sources(tmp_path).parent
    (outcome,) = run_campaign(build_kernel(kernel), chosen([step]), sources=sources)
    assert re.search(finding, "\n".join(outcome.findings)), outcome
