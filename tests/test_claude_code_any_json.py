"""Whatever Claude Code says, its decoder raises nothing, keeps the order of events, and says one end."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from _claude import NOW, PLAIN, ROWS, recorded
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import Finish, LLMError, Session, StreamError, StreamEvent, check_order
from asyncllm.protocols import Tool
from asyncllm.protocols.agents._exit import Exit
from asyncllm.protocols.claude_code import Desk, OutputDecoder, StreamDecoder

pytestmark = [pytest.mark.req("seed-A9")]

NAMES = [name for name in ROWS if not name.startswith("long_output") and name not in PLAIN]
TOOLS = [Tool("add", "Add", {"type": "object"})]
ODD: list[Any] = [
    None,
    True,
    -1,
    10**400,
    1.5,
    "",
    "x",
    "\ud800",
    [],
    [None],
    {},
    {"type": "text"},
    [{"type": 3}],
    1e308,
]
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
any_json = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def decoder() -> StreamDecoder:
    return StreamDecoder(Session(backend="claude-code", id=""), desk=Desk(TOOLS), raw=True, clock=lambda: NOW)


def one_end(decoder: StreamDecoder, lines: list[bytes]) -> list[StreamEvent]:
    """All that these lines are, with results of our tools where it waits for them."""
    events = decoder.decode_lines(lines)
    while decoder.parked:
        assert isinstance(events[-1], Finish)
        decoder.answer([])
        decoder.desk.take()
        events += decoder.decode_lines(())
    events += decoder.close(Exit(0))
    assert decoder.done
    assert isinstance(events[-1], Finish | StreamError)
    assert sum(isinstance(event, StreamError) for event in events) <= 1
    check_order(events)
    return events


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a message."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in inner for place in [(*path, key), *places(item, (*path, key))]]


def spoiled(event: Any, choice: random.Random) -> Any:
    """The same with something else in one place."""
    event = copy.deepcopy(event)
    *outer, last = choice.choice(places(event))
    inner = event
    for key in outer:
        inner = inner[key]
    if choice.random() < 0.2 and isinstance(inner, dict):
        del inner[last]
    else:
        inner[last] = choice.choice(ODD)
    return event


def dumped(event: Any) -> bytes:
    return json.dumps(event).encode()


@pytest.mark.parametrize("name", NAMES)
def test_spoiled_recordings(name: str) -> None:
    """One field of a few lines is something else."""
    events = [json.loads(line) for line in recorded(name).split(b"\n") if line.startswith(b"{")]
    choice = random.Random(name)
    for _ in range(60 if len(events) > 1 else 1):
        lines = [dumped(spoiled(event, choice) if choice.random() < 0.2 else event) for event in events]
        if choice.random() < 0.3:
            choice.shuffle(lines)
        one_end(decoder(), lines)


KINDS = ("assistant", "user", "system", "result", "stream_event", "control_request", "rate_limit_event")
FIELDS = (
    *("message", "event", "subtype", "request", "request_id", "usage"),
    *("rate_limit_info", "result", "errors", "permission_denials", "total_cost_usd"),
)
messages = st.fixed_dictionaries({"type": st.sampled_from(KINDS)}, optional=dict.fromkeys(FIELDS, any_json))


@given(st.lists(messages, max_size=6))
def test_any_messages(events: list[dict[str, Any]]) -> None:
    one_end(decoder(), [dumped(event) for event in events])


@given(st.lists(any_json.map(dumped) | st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"")), max_size=5))
def test_any_lines(lines: list[bytes]) -> None:
    last = one_end(decoder(), lines)[-1]
    assert isinstance(last, StreamError)
    assert isinstance(last.error, LLMError)


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"type":' + b'{"a":' * 100_000, b"\xff\xfe", b"1" * 5000, b"NaN"])
@pytest.mark.parametrize("form", ["json", "text"])
def test_odd_lines(line: bytes, form: Any) -> None:
    one_end(decoder(), [line])
    whole = OutputDecoder(Session(backend="claude-code", id=""), form, clock=lambda: NOW)
    events = [*whole.decode_lines([line]), *whole.close(Exit(0))]
    check_order(events)
    assert isinstance(events[-1], StreamError) or form == "text"


@given(st.binary(max_size=200), st.sampled_from(["json", "text"]), st.integers(-15, 255))
def test_any_output(data: bytes, form: Any, code: int) -> None:
    *lines, tail = data.split(b"\n")
    whole = OutputDecoder(Session(backend="claude-code", id=""), form, clock=lambda: NOW)
    events = [*whole.decode_lines(lines), *whole.close(Exit(code, "", tail))]
    check_order(events)
    assert isinstance(events[-1], Finish) <= (form == "text" and code == 0)
