"""Every recording of the Codex CLI through its codecs, whole, in pieces, and cut."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest
from _codex import APP, EXEC, FOLDER, Row, agrees, exec_decoder, exit_of, fed, lines_of, told, turn_decoder, turns_of
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import Finish, Retrying, StreamError, StreamEvent, fold
from asyncllm.protocols.agents._exit import Exit

pytestmark = [pytest.mark.req("seed-A10"), pytest.mark.recordings("codex")]

TURNS = [(name, number) for name, rows in APP.items() for number in range(len(rows))]


@pytest.fixture(autouse=True, scope="module")
def _utc() -> Iterator[None]:
    """Codex tells times of day in the zone of its machine: that of the recordings was this one."""
    with pytest.MonkeyPatch.context() as there:
        there.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def test_no_recording_is_left_out() -> None:
    recorded = {path.stem for path in FOLDER.glob("*.stdout")}
    assert recorded == {*EXEC, *APP}


@pytest.mark.req("I4")
@pytest.mark.parametrize("name", EXEC)
def test_exec(name: str) -> None:
    agrees(told(exec_events(name)), EXEC[name])


def exec_events(name: str, cuts: list[int] | None = None) -> list[StreamEvent]:
    lines, _ = lines_of(name)
    decoder, exit = exec_decoder(EXEC[name]), exit_of(name)
    decoder.hear(exit.stderr)
    return fed(decoder, pieces(lines, cuts or [])) + decoder.close(exit)


def pieces(lines: list[bytes], cuts: list[int]) -> list[list[bytes]]:
    ends = sorted({0, len(lines), *(cut % (len(lines) + 1) for cut in cuts)})
    return [lines[start:end] for start, end in itertools.pairwise(ends)]


@pytest.mark.parametrize(("name", "number"), TURNS)
def test_app_server(name: str, number: int) -> None:
    thread, lines = turns_of(lines_of(name)[0])[number]
    row = APP[name][number]
    assert row.thread in ("", thread)
    decoder = turn_decoder(thread)
    agrees(told(fed(decoder, [lines]) + decoder.close(exit_of(name))), row)


@pytest.mark.req("F12")
def test_the_usage_of_each_turn_is_its_own() -> None:
    """The counts of a thread are cumulative: four runs of one thread have used the same each."""
    names = ("resume_1", "resume_2", "resume_otherdir", "resume_new_home_copied_rollout")
    used = [fold(exec_events(name)).usage for name in names]
    assert [(usage.input_tokens, usage.output_tokens) for usage in used if usage] == [(2112, 42)] * 4
    totals = [exec_decoder(EXEC[name]) for name in names]
    for decoder, name in zip(totals, names, strict=True):
        decoder.decode_lines(lines_of(name)[0])
    assert [decoder.totals and decoder.totals["input_tokens"] for decoder in totals] == [2112, 4224, 6336, 8448]


@pytest.mark.req("F12")
def test_without_the_counts_before_there_is_no_usage() -> None:
    row = EXEC["resume_2"]
    decoder = exec_decoder(row)
    decoder._before = None
    assert not fold(decoder.decode_lines(lines_of("resume_2")[0])).usage


@given(cuts=st.lists(st.integers(0, 10_000), max_size=6), turn=st.sampled_from(TURNS))
def test_however_the_lines_of_the_server_come(turn: tuple[str, int], cuts: list[int]) -> None:
    """In one piece, line by line, or in between: a turn that stands still does so where it did."""
    name, number = turn
    thread, lines = turns_of(lines_of(name)[0])[number]
    if name == "appserver_dynamic_tool":  # by whom it is answered decides where its step ends
        cuts = list(range(len(lines)))
    decoder, events = turn_decoder(thread), list[StreamEvent]()
    for piece in pieces(lines, cuts):
        events += decoder.decode_lines(piece)
        if decoder.asked:
            decoder.asked.clear()
            events += decoder.park()
    events += decoder.close(exit_of(name))
    one_by_one = turn_decoder(thread)
    assert without_errors(events) == without_errors(fed(one_by_one, [lines]) + one_by_one.close(exit_of(name)))


@pytest.mark.parametrize("name", ["text", "tool_mcp", "unicode", "appserver_text", "appserver_tool_mcp"])
def test_byte_by_byte(name: str) -> None:
    """Lines are what is between newlines, and nothing else: whatever bytes come, the decoder sees these."""
    data = (FOLDER / f"{name}.stdout").read_bytes()
    lines, held = list[bytes](), b""
    for at in range(len(data)):
        *whole, held = (held + data[at : at + 1]).split(b"\n")
        lines += whole
    assert lines == lines_of(name)[0]
    if name in EXEC:
        decoder = exec_decoder(EXEC[name])
        one_by_one = [event for line in lines for event in decoder.decode_lines([line])]
        agrees(told(one_by_one + decoder.close(exit_of(name))), EXEC[name])


@given(cuts=st.lists(st.integers(0, 10_000), max_size=6), name=st.sampled_from(sorted(EXEC)))
def test_however_the_lines_come(name: str, cuts: list[int]) -> None:
    assert without_errors(exec_events(name, cuts)) == without_errors(exec_events(name))


def without_errors(events: list[StreamEvent]) -> list[object]:
    """Errors are compared by what they say."""
    return [event.error.to_dict() if isinstance(event, StreamError | Retrying) else event for event in events]


@pytest.mark.parametrize("name", EXEC)
def test_exec_cut_after_any_line(name: str) -> None:
    lines, _ = lines_of(name)
    whole = fold(exec_events(name))
    for end in range(len(lines)):
        decoder = exec_decoder(EXEC[name])
        events = decoder.decode_lines(lines[:end])
        if not decoder.done:
            cut(events + decoder.close(Exit(None if end % 2 else -15)), whole.text, EXEC[name])


@pytest.mark.parametrize(("name", "number"), TURNS)
def test_app_server_cut_after_any_line(name: str, number: int) -> None:
    thread, lines = turns_of(lines_of(name)[0])[number]
    row = APP[name][number]
    for end in range(len(lines)):
        decoder = turn_decoder(thread)
        events = fed(decoder, [lines[:end]])
        if not decoder.done:
            cut(events + decoder.close(Exit(-9)), row.text, row)


def cut(events: list[StreamEvent], text: str, row: Row) -> None:
    last = events[-1]
    assert isinstance(last, StreamError)
    name = type(last.error).__name__
    assert name == "IncompleteStreamError" or (row.fault is not None and name == row.fault.name)
    assert not [event for event in events if isinstance(event, Finish) and event.reason == "stop"]
    assert row.steps > 1 or text.startswith(fold(events).text)


@pytest.mark.parametrize("name", ["text", "tool_mcp", "unicode"])
def test_cut_inside_of_any_line(name: str) -> None:
    """The last line is no whole line: it was cut, whatever the exit code says."""
    data = (FOLDER / f"{name}.stdout").read_bytes()
    for end in range(1, len(data), 37):
        *lines, tail = data[:end].split(b"\n")
        decoder = exec_decoder(EXEC[name])
        events = decoder.decode_lines(lines)
        if not decoder.done:
            last = (events + decoder.close(Exit(0, "", tail)))[-1]
            assert isinstance(last, StreamError)
            assert type(last.error).__name__ in ("IncompleteStreamError", "ProtocolError")
