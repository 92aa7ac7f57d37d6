"""The questions to a fleet's database: the tests of the host's own history, run once more over a copy of it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from unit import test_daemon_history, test_daemon_store, test_daemon_sums, test_daemon_tasks
from unit.test_daemon_history import (
    test_an_export_runs_beside_the_recording,
    test_every_cell_of_a_csv_is_inert,
    test_json_lines_say_the_same_as_the_kernel,
)
from unit.test_daemon_store import (
    test_a_place_that_is_none_is_refused,
    test_a_process_is_found_by_its_index_and_rows_by_any_condition,
    test_a_search_that_is_out_of_time_says_where_to_go_on,
    test_a_time_beyond_what_a_database_can_count_is_empty,
    test_a_time_that_is_none_is_refused,
    test_pages_of_events_are_each_row_once_newest_first,
)
from unit.test_daemon_sums import (
    test_a_clock_that_is_set_leaves_neither_hole_nor_overlap,
    test_a_module_that_is_loaded_again_keeps_the_names_of_its_calls,
    test_a_pid_that_is_used_again_is_another_process,
    test_blocked_calls_are_all_there_and_paged,
    test_changes_say_who_and_what_before_and_after,
    test_latencies_are_counted_by_their_powers_of_two,
    test_rates_by_process_are_bounded,
    test_sums_by_call_and_status_are_exact,
    test_sums_by_process_are_bounded_and_lose_nothing,
    test_time_that_the_machine_slept_is_there_as_a_gap,
)
from unit.test_daemon_tasks import (
    test_a_clock_that_is_set_moves_what_is_kept_and_another_boot_is_another,
    test_samples_are_summed_by_second_minute_and_hour,
    test_the_snapshot_that_is_nearest,
    test_there_is_no_snapshot_or_a_damaged_one,
)

from kmodlab.daemon import fleet, queries
from kmodlab.daemon.postgres import Address
from live.postgres import Postgres, copied

__all__ = [
    "test_a_clock_that_is_set_leaves_neither_hole_nor_overlap",
    "test_a_clock_that_is_set_moves_what_is_kept_and_another_boot_is_another",
    "test_a_module_that_is_loaded_again_keeps_the_names_of_its_calls",
    "test_a_pid_that_is_used_again_is_another_process",
    "test_a_place_that_is_none_is_refused",
    "test_a_process_is_found_by_its_index_and_rows_by_any_condition",
    "test_a_search_that_is_out_of_time_says_where_to_go_on",
    "test_a_time_beyond_what_a_database_can_count_is_empty",
    "test_a_time_that_is_none_is_refused",
    "test_an_export_runs_beside_the_recording",
    "test_blocked_calls_are_all_there_and_paged",
    "test_changes_say_who_and_what_before_and_after",
    "test_every_cell_of_a_csv_is_inert",
    "test_json_lines_say_the_same_as_the_kernel",
    "test_latencies_are_counted_by_their_powers_of_two",
    "test_pages_of_events_are_each_row_once_newest_first",
    "test_rates_by_process_are_bounded",
    "test_samples_are_summed_by_second_minute_and_hour",
    "test_sums_by_call_and_status_are_exact",
    "test_sums_by_process_are_bounded_and_lose_nothing",
    "test_the_snapshot_that_is_nearest",
    "test_there_is_no_snapshot_or_a_damaged_one",
    "test_time_that_the_machine_slept_is_there_as_a_gap",
]
MODULES: tuple[ModuleType, ...] = (test_daemon_history, test_daemon_store, test_daemon_sums, test_daemon_tasks)


@pytest.fixture(autouse=True)
def of_the_copy(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the tests ask the database wherever they would ask a folder."""
    where: dict[Path, Address] = {}

    def opened(folder: Path, seconds: float) -> fleet.Fleet:
        if folder not in where:
            where[folder] = server.address(f"q{abs(hash(folder))}")
        return copied(folder, where[folder], seconds)

    for module in MODULES:
        monkeypatch.setattr(module, "History", opened)
    # What one of them changes of a search is to be the search that there is here.
    there = SimpleNamespace(_Search=fleet._Search, Deadline=queries.Deadline)
    monkeypatch.setattr(test_daemon_store, "queries", there)
