"""Everything at once: readers, writers, processes that come and go."""

from __future__ import annotations

import pytest

from .machine import Machine
from .readers.task_pages import parse_list
from .readers.tracer_page import page_of
from .readers.wording import listed, require_none, require_that, text_of
from .script import LISTER, TRACER, Answer, read, step, write

MILLISECONDS = 2500


def check_workers(answer: Answer) -> None:
    """Every worker has come round, and none has found fault with what it read."""
    seen = [f"{worker['what']}: {worker['error']}" for worker in answer["workers"] if worker["error"]]
    seen += [
        f"{worker['what']}: no more than {worker['rounds']} rounds"
        for worker in answer["workers"]
        if worker["rounds"] < 3
    ]
    require_none(seen, "Readers at the same time, while processes come and go, see whole pages.")


@pytest.mark.syscall_tracer
def test_concurrent_readers_and_writers_of_the_tracer(tracer: Machine) -> None:
    """Pages read while filters change and calls are made: no torn row, no step back in time, no half transaction."""
    answer, page, _ = tracer.play(step("stress", "tracer", MILLISECONDS), read(TRACER), write("clear"))
    check_workers(answer)
    left = page_of(page).filters
    asked = "Of writers at the same time none undoes what another one did: each deletes its own filters."
    require_that(left == (), asked, f"In the end there are {listed(left)}.", "a lock around each write")


@pytest.mark.task_lister
def test_concurrent_readers_of_the_task_files(machine: Machine) -> None:
    """Task files read while processes come and go ascend, add up, and have every process that lives on."""
    answer, page = machine.play(step("stress", "tasks", MILLISECONDS), read(LISTER))
    check_workers(answer)
    require_that(parse_list(text_of(page, LISTER)).tasks, "The list has processes.", "It has none.")
