"""Grading past one machine: submissions go to workers of dask.distributed, each with as many machines as it declares.

A worker has a checkout of the project of its own; the lab and the submission's files are sent to it. A worker that dies
takes no result along: the scheduler gives what it was doing to another one.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kmodlab.errors import LabError
from kmodlab.grading.intake import Submission
from kmodlab.grading.lab import Lab
from kmodlab.grading.result import GradingResult
from kmodlab.grading.unpack import unpack_own

#: does the work on a worker: what `here` returns, or a stand-in of a test's
Work = Callable[["WorkItem"], str]
_CONNECT_SECONDS = 30
_WORKER_HINT = "start one: `kmodlab worker ADDRESS --slots 2`, on each machine that is to take part"


@dataclass(frozen=True)
class WorkItem:
    """What a worker needs to examine a submission.

    Attributes:
        lab: the lab's folder, packed.
        name: the lab's.
        digest: the lab's: a worker whose checkout makes another lab of it refuses the work.
        submission: without its files.
        files: the submission's, packed.
        seed: of what tests choose by chance; None: a new one.
    """

    lab: bytes
    name: str
    digest: str
    submission: Submission
    files: bytes
    seed: int | None = None


class Cluster:
    """The workers of a scheduler.

    Args:
        address: of the scheduler, `tcp://host:8786`.
        lab: that is graded.
        work: what they do.
        patience: seconds to wait for the scheduler, and for a worker.
        seed: of what tests choose by chance; None: a new one for each submission.

    Raises:
        LabError: there is no such scheduler, or it has no workers.
    """

    def __init__(
        self,
        address: str,
        lab: Lab,
        work: Work | None = None,
        *,
        patience: float = _CONNECT_SECONDS,
        seed: int | None = None,
    ) -> None:
        from distributed import Client  # noqa: PLC0415  # it takes a second, and only who uses it needs it

        self._lab, self._seed = lab, seed
        self._packed = pack(lab.folder)
        self._work = work or examine_here
        try:
            self._client: Any = Client(address, timeout=patience)  # type: ignore[no-untyped-call]
            self._client.wait_for_workers(1, timeout=patience)
        except (OSError, TimeoutError, ValueError) as error:
            raise LabError(f"no workers at the scheduler {address}: {error}", hint=_WORKER_HINT) from error

    @property
    def slots(self) -> int:
        """Machines of all workers together."""
        return sum(self._client.nthreads().values())

    def images(self) -> str:
        """Return the image that the workers grade on, for the results' keys.

        Raises:
            LabError: they do not have the same one.
        """
        found = set(self._client.run(image_of, self._lab.images[0]).values())
        if len(found) != 1:
            raise LabError(
                f"the workers have different images: {', '.join(sorted(found))}",
                hint="results would differ: build the image on one of them, and copy the cache directory's `images`",
            )
        return " ".join([*found, *(self._lab.images[1:] if self._lab.older_images else ())])

    def examine(self, submission: Submission) -> GradingResult:
        """Return what a submission came to, on whatever worker.

        Raises:
            LabError: each worker that tried it has died.
        """
        from distributed import KilledWorker  # noqa: PLC0415

        bare, files = replace(submission, files=Path()), pack(submission.files)
        item = WorkItem(self._packed, self._lab.name, self._lab.digest, bare, files, self._seed)
        future = self._client.submit(self._work, item, pure=False)
        try:
            return GradingResult.from_json(future.result())
        except KilledWorker as error:
            raise LabError(f"the workers that graded it have died: {error}") from error

    def close(self) -> None:
        """Leave the scheduler; what it still does for this client ends."""
        self._client.close()


def pack(folder: Path) -> bytes:
    """Return a folder's files as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(folder, ".", filter=_plain)
    return buffer.getvalue()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in member.name or not (member.isfile() or member.isdir()) else member


def unpack(packed: bytes, folder: Path) -> Path:
    """Write the files of an archive that `pack` made.

    Raises:
        LabError: something else has made it, or it was damaged on its way.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            unpack_own(tar, folder)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise LabError(
            f"what was sent cannot be unpacked: {error}", hint="is it of this version of kmodlab?"
        ) from error
    return folder


# -- on a worker -----------------------------------------------------------------------------------------------

_machines = threading.Lock()
_pools: dict[str, object] = {}


def examine_here(item: WorkItem) -> str:
    """Examine a submission on this worker, and return its result as JSON.

    Raises:
        LabError: this worker's checkout makes another lab of it.
    """
    from kmodlab.grading.examine import examine  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="kmodlab-work-") as temporary:
        work = Path(temporary)
        lab = Lab.load(unpack(item.lab, work / item.name))
        if lab.digest != item.digest:
            raise LabError("a worker's checkout is not the controller's", hint="use the same commit on all machines")
        submission = replace(item.submission, files=unpack(item.files, work / "submission"))
        return examine(submission, lab, _pool(lab), seed=item.seed).to_json()


def _pool(lab: Lab) -> Any:  # noqa: ANN401  # a Pool, which is imported where there are machines
    from distributed import get_worker  # noqa: PLC0415

    from kmodlab.grading.machines import machines  # noqa: PLC0415
    from kmodlab.image.plan import planned  # noqa: PLC0415

    limits = lab.limits
    key = f"{lab.images[0]} {limits.memory} {limits.processors} {limits.disk} {limits.log}"
    with _machines:
        if key not in _pools:
            slots = get_worker().state.nthreads
            _pools[key] = machines(planned(lab.images[0]), slots, limits)
        return _pools[key]


def image_of(name: str) -> str:
    """Return what a worker grades on: workers that say the same give the same results.

    Args:
        name: a release, or `auto`, the worker's own.
    """
    from kmodlab.image.image import build_image  # noqa: PLC0415
    from kmodlab.image.plan import planned  # noqa: PLC0415

    # Each worker has a build of its own: they are alike where they are of one plan, and have the same kernel.
    plan = planned(name)
    return f"{plan.id} {build_image(plan).kernel_version}"


def serve(address: str, slots: int) -> None:
    """Work for a scheduler until it ends, or this process does.

    Args:
        address: the scheduler's.
        slots: machines at a time.

    Raises:
        LabError: there is no such scheduler.
    """
    # Without dask's own nanny: a process of multiprocessing's may not have children, and the tests run in some.
    asyncio.run(_serve(address, slots))


async def _serve(address: str, slots: int) -> None:
    from distributed import Worker  # noqa: PLC0415

    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            worker = await Worker(address, nthreads=slots, dashboard=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise LabError(f"no scheduler at {address}: {error}", hint="start one: `dask scheduler`") from error
    await worker.finished()
