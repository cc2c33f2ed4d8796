"""Every recording of opencode through the codecs: whole, in pieces, and cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from _opencode import FOLDER, NAMES, OTHERS, RUNS, SERVED, exit_of, expected, output, plain, row_of, served, sessions
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncllm.events import (
    Finish,
    IncompleteStreamError,
    Session,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    event_to_json,
)
from asyncllm.protocols.agents._exit import Exit
from asyncllm.protocols.opencode import _serve
from asyncllm.protocols.opencode._run import PlainDecoder, RunDecoder
from asyncllm.protocols.opencode._serve import ServeDecoder
from asyncllm.protocols.opencode._state import joined, read_messages, read_state
from asyncllm.transports import SSEFramer

pytestmark = [pytest.mark.req("seed-A11"), pytest.mark.recordings("opencode")]

MODEL = "emu/emu-1"


@pytest.fixture(autouse=True)
def _then(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the recordings of a retry."""
    monkeypatch.setattr(_serve.time, "time", lambda: 1795230199.0)


def test_each_recording_has_a_row() -> None:
    assert {*RUNS, *SERVED, *OTHERS} == set(NAMES)


def decode_run(name: str, data: bytes, cuts: Iterable[int], exit: Exit | None = None) -> list[StreamEvent]:
    """As lines, which a process gives whole, in the batches that come of cuts in the bytes."""
    decoder = PlainDecoder(None, model=MODEL) if plain(name) else RunDecoder(None, model=MODEL)
    events: list[StreamEvent] = []
    held, at = b"", 0
    for cut in [*sorted(cuts), len(data)]:
        *lines, held = (held + data[at:cut]).split(b"\n")
        at = cut
        events += _batch(decoder.decode_lines(lines))
    given = exit or exit_of(name)
    return events + decoder.close(Exit(given.code, given.stderr, held))


def as_json(events: list[StreamEvent]) -> list[bytes]:
    """Errors are not equal to each other."""
    return [event_to_json(event) for event in events]


def _batch(events: list[StreamEvent]) -> list[StreamEvent]:
    """A Finish that is the last of a batch would be taken for the end."""
    assert not events or not isinstance(events[-1], Finish)
    return events


@pytest.mark.parametrize("name", RUNS)
def test_run(name: str) -> None:
    events = decode_run(name, output(name), ())
    assert row_of(events) == expected(RUNS[name])
    _check_session(name, events)


def _check_session(name: str, events: list[StreamEvent]) -> None:
    if plain(name) or not isinstance(events[-1], Finish):
        return
    lines = [json.loads(line) for line in output(name).split(b"\n") if line]
    last = events[-2]
    assert isinstance(last, Session)
    assert (last.id, last.turn) == (lines[0]["sessionID"], lines[-1]["part"]["messageID"])
    mark = events[-3]
    assert isinstance(mark, TextDelta)
    assert mark.state is not None
    assert (mark.state.data["session"], mark.state.data["turn"]) == (last.id, last.turn)
    assert isinstance(events[1], Session)
    assert events[1].id == last.id


@pytest.mark.parametrize("name", [name for name in RUNS if "composed" not in RUNS[name]])
def test_run_byte_by_byte(name: str) -> None:
    data = output(name)[:70_000]
    whole = decode_run(name, data, (), exit_of(name))
    assert as_json(decode_run(name, data, range(len(data)), exit_of(name))) == as_json(whole)


@given(name=st.sampled_from(sorted(RUNS)), share=st.lists(st.floats(0, 1), max_size=6))
@settings(max_examples=60, deadline=None)
def test_run_in_random_pieces(name: str, share: list[float]) -> None:
    data = output(name)
    pieces = decode_run(name, data, [int(x * len(data)) for x in share])
    assert as_json(pieces) == as_json(decode_run(name, data, ()))


@pytest.mark.parametrize("name", [name for name in RUNS if not plain(name)])
def test_run_cut_after_each_line(name: str) -> None:
    """What was said before the cut is said, and then that it was cut, or the error that the run had named before."""
    lines = output(name).split(b"\n")[:-1]
    for kept in range(len(lines)):
        data = b"".join(line + b"\n" for line in lines[:kept])
        events = decode_run(name, data, (), Exit(0, "", b""))
        last = events[-1]
        assert isinstance(last, StreamError)
        named = RUNS[name].get("error")
        assert type(last.error).__name__ in ("IncompleteStreamError", named)


def test_cut_inside_a_line() -> None:
    data = output("text")
    for at in range(1, len(data) - 1):
        if data[at - 1 : at] == b"\n":
            continue
        last = decode_run("text", data[:at], (), Exit(0, "", b""))[-1]
        assert isinstance(last, StreamError), at
        assert isinstance(last.error, IncompleteStreamError), at


# ---- serve


def turns_of(name: str, feed: Callable[[ServeDecoder, list[bytes]], list[StreamEvent]]) -> list[list[StreamEvent]]:
    """Each turn of each session; the decoder of each is told all that the server sent."""
    found = []
    for session in sessions(name):
        after = ""
        while True:
            decoder = ServeDecoder(Session(backend="opencode", id=session), model="", after=after)
            events = feed(decoder, served(name))
            if not decoder.user:
                break
            found.append(events)
            after = max(decoder.user, *decoder.messages)
    return found


def _whole(decoder: ServeDecoder, lines: list[bytes]) -> list[StreamEvent]:
    return decoder.decode_lines(lines)


def _one_by_one(decoder: ServeDecoder, lines: list[bytes]) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    for line in lines:
        new = decoder.decode_lines([line])
        events += new if decoder.done else _batch(new)
    return events


@pytest.mark.parametrize("name", SERVED)
@pytest.mark.parametrize("feed", [_whole, _one_by_one])
def test_serve(name: str, feed: Any) -> None:
    assert [row_of(events) for events in turns_of(name, feed)] == SERVED[name]


@pytest.mark.req("I5")
def test_serve_says_each_delta_once() -> None:
    [events] = turns_of("serve_tool_mcp", _whole)
    pieces = [event.text for event in events if isinstance(event, TextDelta) and event.text]
    assert pieces == ["Let me", " use the", " tool.", "The tool", " returned ", '"42"']
    starts = [event for event in events if isinstance(event, StreamStart)]
    assert [start.model for start in starts] == [MODEL, MODEL]


def test_serve_knows_where_the_turn_ended() -> None:
    first, second = turns_of("serve_text_2turns", _whole)
    messages = [
        json.loads(line)["properties"]["info"]["id"]
        for line in served("serve_text_2turns")
        if b'"message.updated"' in line and b'"assistant"' in line
    ]
    ids = list(dict.fromkeys(messages))
    assert [events[-2].turn for events in (first, second) if isinstance(events[-2], Session)] == ids


@given(name=st.sampled_from(sorted(SERVED)), sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_serve_in_random_pieces(name: str, sizes: list[int]) -> None:
    def feed(decoder: ServeDecoder, lines: list[bytes]) -> list[StreamEvent]:
        data = b"".join(b"data: " + line + b"\n\n" for line in lines)
        framer, events, at, turn = SSEFramer(), [], 0, 0
        while at < len(data):
            piece = data[at : at + sizes[turn % len(sizes)]]
            at, turn = at + len(piece), turn + 1
            found = [frame.data.encode() for frame in framer.feed(piece)]
            events += decoder.decode_lines(found)
        return events

    assert [len(events) for events in turns_of(name, feed)] == [len(events) for events in turns_of(name, _whole)]
    assert [row_of(events) for events in turns_of(name, feed)] == SERVED[name]


@pytest.mark.parametrize("name", SERVED)
def test_serve_cut_after_each_event(name: str) -> None:
    lines, session = served(name), sessions(name)[0]
    for kept in range(len(lines)):
        decoder = ServeDecoder(Session(backend="opencode", id=session), model="")
        events = decoder.decode_lines(lines[:kept])
        if decoder.done:
            break
        assert not events or not isinstance(events[-1], Finish)
        last = decoder.fail(IncompleteStreamError("cut"))[-1]
        assert isinstance(last, StreamError)
        assert type(last.error).__name__ in ("IncompleteStreamError", SERVED[name][0].get("error"))
    else:
        pytest.fail("the turn did not end")


# ---- sessions


@pytest.mark.parametrize("name", ["export", "export_long_pipe"])
def test_exported(name: str) -> None:
    data = output(name)
    state = read_state(data)
    whole = json.loads(data)
    assert state is not None
    assert state.info.id == json.loads((FOLDER / f"{name}.cmd").read_text())["argv"][-1]
    assert state.info.directory == "/work-dir/work-opencode"
    assert state.ids == [message["info"]["id"] for message in whole["messages"]]
    parts = json.dumps(whole["info"]).encode(), json.dumps(whole["messages"]).encode()
    assert json.loads(joined(*parts)) == whole
    assert read_messages(parts[1]) == state.ids


def test_imported() -> None:
    assert output("import_new_home") == b"Imported session: ses_e03eeb021ffe3YzFTD9RpLYNY4\n"
    assert exit_of("import_new_home").code == 0
    assert read_state(output("import_new_home")) is None


def test_a_session_comes_in_pieces_as_it_is_exported() -> None:
    """The server gives the messages of a session in the form of an export."""
    calls = [json.loads(line) for line in (FOLDER / "serve_text_2turns.http").read_text().split("\n") if line]
    made = next(call["response"] for call in calls if call["path"] == "/session")
    state = read_state(joined(made.encode(), b"[]"))
    assert state is not None
    assert state.info.id == sessions("serve_text_2turns")[0]
