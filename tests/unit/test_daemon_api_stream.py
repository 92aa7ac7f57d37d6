"""The live stream of the daemon's server: what comes, in which order, and that every sum comes out."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kmodlab.daemon.api import frames
from kmodlab.daemon.api.hub import MOST_CLIENTS, MOST_WAITING, Client, Hub
from kmodlab.daemon.api.resources import stream as resource
from kmodlab.daemon.api.sessions import Role
from kmodlab.daemon.tick import BLOCKED_A_SECOND, STATUSES, Filter
from unit.live_server import Live, running
from unit.live_source import FakeSource, row, terms, tick


def test_who_asks_for_the_head_alone_gets_no_stream(live: Live) -> None:
    answer = live.ask("HEAD", "/api/v1/stream", live.log_in())
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert live.ask("GET", "/api/v1/ledger", live.log_in()).json["server"]["clients"] == 0


def closes(frame: dict[str, Any]) -> bool:
    """Whether what a frame says of itself comes out."""
    sums = frame["sums"]
    return (
        frame["events"] == sum(frame["calls"]["n"])
        and frame["events"] >= frame["examined"]
        and all(
            frame["examined"] >= view["matched"] >= view["shown"] == len(view["rows"]["seq"]) for view in frame["views"]
        )
        and sums["offered"] >= sums["sent"] + sums["coalesced"]
    )


def test_a_new_client_gets_the_state_and_then_what_happens(live: Live) -> None:
    live.tell(tick(1, more=10))
    events = live.stream()
    kind, state, name = events.next()
    assert (kind, state["machine"]["host"], state["base"]["number"]) == ("state", "lab", 1)
    assert name == f"{live.hub.run_id}.1.1"
    live.tell(tick(2, [row(5), row(6, "unlink", "BLOCKED")], more=8))
    kind, frame, name = events.next()
    assert (kind, frame["number"], frame["events"], name) == ("tick", 2, 10, f"{live.hub.run_id}.1.2")
    assert closes(frame)
    assert frame["blocked"]["seq"] == [6]
    assert frame["views"][0]["rows"]["arguments"][0] == ["AT_FDCWD", '"/etc/file-5"', "0x0", "00"]


def test_a_client_that_comes_first_waits_for_the_first_tick(live: Live) -> None:
    events = live.stream()
    assert events.next()[1]["base"] is None
    live.tell(tick(1, more=3))
    assert events.next()[1]["events"] == 3


def test_rows_are_filtered_for_each_view_by_the_server(live: Live) -> None:
    events = live.stream("?view=call%3Dunlink&view=status%3Dblocked+pid%3D7&view=/etc/file-3")
    events.next()
    rows = [row(1), row(2, "unlink"), row(3), row(4, "unlink", "BLOCKED"), row(5, "chmod", "BLOCKED", pid=7)]
    live.tell(tick(1, rows))
    views = events.next()[1]["views"]
    assert {view["filter"]: view["rows"]["seq"] for view in views} == {
        "call=unlink": [2, 4],
        "status=blocked pid=7": [5],
        "/etc/file-3": [3],
    }


def test_fifty_rows_are_shown_and_the_rest_is_counted(live: Live) -> None:
    events = live.stream()
    events.next()
    live.tell(tick(1, [row(n) for n in range(80)], more=20))
    frame = events.next()[1]
    view = frame["views"][0]
    assert (frame["events"], frame["examined"], view["matched"], view["shown"]) == (100, 80, 80, 50)
    assert view["rows"]["seq"] == list(range(30, 80)), "the newest"


def test_blocked_rows_are_all_there_whatever_a_view_wants(live: Live) -> None:
    events = live.stream("?view=call%3Dnothing")
    events.next()
    live.tell(tick(1, [row(n, "unlink", "BLOCKED") for n in range(BLOCKED_A_SECOND)], blocked_more=17))
    frame = events.next()[1]
    assert frame["blocked"]["seq"] == list(range(BLOCKED_A_SECOND))
    assert (frame["blocked_more"], frame["views"][0]["shown"]) == (17, 0)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("?view=status%3Dodd", "there is no status 'odd'"),
        ("?" + "&".join(f"view=pid%3D{n}" for n in range(9)), "a stream may have 8 views"),
        ("?view=" + "x" * 513, "a filter may have 512 letters"),
        ("?after=" + "x" * 200, "after may have 128 letters"),
    ],
)
def test_a_stream_that_makes_no_sense_is_refused(live: Live, query: str, detail: str) -> None:
    answer = live.ask("GET", f"/api/v1/stream{query}", live.log_in())
    assert (answer.status, answer.json["detail"]) == (400, detail)


# -- going on where one was ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["header", "query"])
def test_a_client_goes_on_where_it_was(live: Live, by: str) -> None:
    live.tell(*(tick(number, more=number) for number in range(1, 6)))
    last = f"{live.hub.run_id}.1.3"
    headers = {**live.log_in(), "last-event-id": last} if by == "header" else live.log_in()
    events = live.stream("" if by == "header" else f"?after={last}", headers)
    assert [events.next()[1]["number"] for _ in range(2)] == [4, 5]
    live.tell(tick(6, more=6))
    frame = events.next()[1]
    assert (frame["number"], frame["sums"]) == (6, {"offered": 3, "sent": 3, "coalesced": 0})


@pytest.mark.parametrize("last", ["other.1.3", "{run}.1.2", "{run}.1.99", "nonsense", "{run}.1.-1", "{run}.1.\u0663"])
def test_a_client_that_has_missed_too_much_begins_anew(live: Live, last: str) -> None:
    live.tell(*(tick(number, more=1) for number in range(4, 70)))
    live.run(lambda: live.source.kept.__delitem__(slice(0, 5)))
    headers = {**live.log_in(), "last-event-id": last.format(run=live.hub.run_id).encode().decode("latin-1")}
    assert live.stream("", headers).next()[0] == "state"


def test_who_has_seen_all_misses_nothing(live: Live) -> None:
    live.tell(tick(1, more=1))
    events = live.stream("", {**live.log_in(), "last-event-id": f"{live.hub.run_id}.1.1"})
    live.wait_until(lambda: len(live.hub.clients) == 1)
    live.tell(tick(2, more=2))
    assert (events.next()[1]["number"]) == 2


# -- slow clients --------------------------------------------------------------------------------------------------


def test_what_waits_for_a_slow_client_is_one_tick_with_all_sums() -> None:
    client = Client()
    for number in range(1, 101):
        client.offer(tick(number, [row(number)], more=9, blocked_more=1))
    found = client.take()
    assert found
    assert client.take() is None
    frame = frames.frame(found, {"": Filter()}, client.sums)
    assert (frame["number"], frame["events"], frame["blocked_more"]) == (100, 1000, 100)
    assert frame["seconds"] == 25
    assert frame["sums"] == {"offered": 100, "sent": 1, "coalesced": 99}
    assert frame["views"][0]["rows"]["seq"][-1] == 100


def test_ticks_of_another_boot_are_not_added_to_these() -> None:
    client = Client()
    for number, epoch in enumerate((1, 1, 2, 2, 3), 1):
        client.offer(tick(number, more=number, epoch=epoch))
    taken = []
    while found := client.take():
        taken.append((found.epoch, sum(count.n for count in found.calls.values())))
    assert taken == [(1, 3), (2, 7), (3, 5)]
    assert (client.sums.offered, client.sums.sent, client.sums.coalesced) == (5, 3, 2)


def test_a_client_that_misses_many_boots_begins_anew() -> None:
    client = Client()
    for number in range(MOST_WAITING + 1):
        client.offer(tick(number, more=1, epoch=number))
    assert client.overrun
    client.drop()
    assert client.take() is None
    assert client.sums.offered == client.sums.coalesced == MOST_WAITING + 1


def test_a_browser_that_does_not_read_holds_nobody_up_and_loses_no_sum(live: Live) -> None:
    slow, fast = live.stream(), live.stream()
    slow.next(), fast.next()
    wide = [row(n, arguments=("x" * 4000,)) for n in range(50)]
    numbers = range(1, 121)
    seen = 0
    for number in numbers:
        live.tell(tick(number, wide, more=50))
        seen += fast.next()[1]["events"]
    assert seen == 120 * 100
    total, last, frame = 0, 0, {}
    while last < numbers[-1]:
        frame = slow.next()[1]
        assert closes(frame)
        total, last = total + frame["events"], frame["number"]
    assert total == 120 * 100, "no sum is lost"
    assert frame["sums"]["coalesced"] > 0, "it was slow"
    assert frame["sums"]["offered"] == frame["sums"]["sent"] + frame["sums"]["coalesced"] == 120


def test_streams_are_bounded(live: Live) -> None:
    headers = live.log_in()
    live.run(lambda: live.hub.clients.update(Client() for _ in range(MOST_CLIENTS)))
    answer = live.ask("GET", "/api/v1/stream", headers)
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    live.run(live.hub.clients.clear)


# -- quiet times, and the end --------------------------------------------------------------------------------------


def test_a_quiet_machine_is_told_of_once_a_second(live: Live) -> None:
    events = live.stream()
    events.next()
    live.tell(*(tick(number) for number in range(1, 5)))
    frame = events.next()[1]
    assert (frame["number"], frame["sums"]["coalesced"]) == (4, 3)


def test_what_happens_ends_the_quiet_at_once(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "QUIET_SECONDS", 3600.0)
    events = live.stream()
    events.next()
    live.tell(tick(1), tick(2), tick(3, more=5))
    frame = events.next()[1]
    assert (frame["number"], frame["events"]) == (3, 5)


def test_a_heart_beats_where_nothing_comes(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "HEARTBEAT_SECONDS", 0.02)
    events = live.stream()
    events.next()
    assert events._response.readline() == b": heartbeat\n"


def test_a_stream_ends_with_its_session(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "HEARTBEAT_SECONDS", 0.02)
    headers = live.log_in(Role.READER)
    events = live.stream("", headers)
    events.next()
    assert live.ask("DELETE", "/api/v1/session", headers).status == 204
    assert events.next()[:2] == ("closed", {"reason": "the session has ended"})
    with pytest.raises(EOFError):
        events.next()


def test_the_server_ends_without_waiting_for_streams(tmp_path: Path) -> None:
    with running(tmp_path) as live:
        events = live.stream()
        events.next()
        live.serving.should_exit = True
        assert events.next()[:2] == ("closed", {"reason": "the server ends"})


def test_who_has_gone_is_forgotten_and_their_sums_are_kept(live: Live) -> None:
    events = live.stream()
    events.next()
    live.tell(tick(1, more=1))
    events.next()
    events.close()
    live.tell(tick(2, more=1))
    live.wait_until(lambda: not live.hub.clients)
    sums = live.hub.sums()
    assert sums.offered == sums.sent + sums.coalesced >= 1


def test_a_stream_is_not_kept_by_anybody_on_the_way(live: Live) -> None:
    _, response = live._open("GET", "/api/v1/stream", live.log_in(), None, False)
    assert response.getheader("content-type").startswith("text/event-stream")
    assert (response.getheader("cache-control"), response.getheader("x-accel-buffering")) == ("no-store", "no")
    response.close()


# -- the ledger ----------------------------------------------------------------------------------------------------


def test_a_sum_that_does_not_close_is_told_with_every_frame_until_it_does(live: Live) -> None:
    events = live.stream()
    events.next()
    live.tell(tick(1, more=5, cpus={(1, 0): terms(5), (1, 1): terms(7, stored=6)}))
    assert [text.partition(":")[0] for text in events.next()[1]["open"]] == ["epoch 1 CPU 1"] * 2
    live.tell(tick(2, more=5, cpus={(1, 0): terms(10)}))
    assert len(events.next()[1]["open"]) == 2, "CPU 1 said nothing new"
    assert len(live.stream().next()[1]["base"]["open"]) == 2, "who comes later is told, too"
    live.tell(tick(3, more=5, cpus={(1, 1): terms(8)}))
    assert events.next()[1]["open"] == []


def test_a_histogram_goes_without_the_zeros_at_its_end(live: Live) -> None:
    events = live.stream()
    events.next()
    live.tell(tick(1, more=3))
    assert events.next()[1]["calls"]["histogram"] == [[0] * 11 + [3]]


def test_every_status_has_a_word() -> None:
    assert set(STATUSES) == {"LOGGED", "BLOCKED", "FAILED"}


def test_the_hub_ends_with_the_collector() -> None:
    class Ended(FakeSource):
        async def subscribe(self) -> Any:
            yield tick(1, more=2)

    hub = Hub(Ended())
    asyncio.run(hub.run())
    assert hub.latest
    assert hub.totals["openat", "LOGGED"].n == 2


def test_the_collector_is_told_whether_anybody_looks() -> None:
    class Ended(FakeSource):
        async def subscribe(self) -> Any:
            yield tick(1)

    source = Ended()
    hub = Hub(source)
    asyncio.run(hub.run())
    first, second = hub.join(), hub.join()
    hub.leave(first)
    hub.leave(second)
    assert source.attended == [False, True, True, True, False]


def test_a_collector_that_breaks_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeSource):
        async def subscribe(self) -> Any:
            yield tick(1, more=2)
            raise OSError("the disk is gone")

    hub = Hub(Broken())
    asyncio.run(hub.run())
    assert hub.latest
    assert "ticks are not followed any more" in caplog.text
    assert "the disk is gone" in caplog.text
