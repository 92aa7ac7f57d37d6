"""How long a test waits for what must come."""

from __future__ import annotations

import os

#: Seconds. What is awaited is an event: this only ends a test that would hang, on the slowest machine, too.
SECONDS = float(os.environ.get("KMODLAB_TEST_SECONDS", "300"))
