"""What the server answers: scripts of events or bytes, and how one becomes the plan of a response."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from itertools import pairwise
from typing import Any

from ..events import (
    Finish,
    InvalidRequestError,
    LLMError,
    ReasoningDelta,
    StreamError,
    StreamEvent,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from ..protocols import Request, ServerSide, classify
from ._faults import Fault, Frame, Hold, Plan
from ._waits import Delay, Waitable
from ._wires import CHAT, COMMENTS, CONTENT_TYPES, FRAMES, wire, wire_of

_SECRET_HEADERS = frozenset(
    {
        "authorization",
        "api-key",
        "x-api-key",
        "x-goog-api-key",
        "x-amz-security-token",
        "cookie",
        "proxy-authorization",
    }
)

_STREAM_HEADERS = {
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}

Step = StreamEvent | str | Waitable
"""An event, a text (said word by word), or a barrier."""


@dataclass(frozen=True, repr=False)
class ReceivedRequest:
    """A request as the server got it: `headers` with lower-case names, `json` the parsed body, None if it is not JSON.

    The credentials are there for tests to look at, and are not in the repr.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    json: Any = None
    keep_alive: bool = True

    @property
    def asked(self) -> Request:
        """What the body asks for, whatever wire it came on. Raises :class:`asyncllm.InvalidRequestError`."""
        path = self.path.partition("?")[0]
        if not isinstance(self.json, Mapping):
            raise InvalidRequestError(
                "We could not parse the JSON body of your request: it must be a JSON object.", status=400
            )
        return (wire_of(path) or wire(CHAT)).read(path, self.json)

    def __repr__(self) -> str:
        shown = {name: "***" if name in _SECRET_HEADERS else value for name, value in self.headers.items()}
        path = re.sub(r"([?&]key=)[^&]*", r"\1***", self.path)
        return f"<{self.method} {path} headers={shown} json={self.json!r}>"


@dataclass(frozen=True)
class Answer:
    """One response.

    Attributes:
        events: events, texts (split into words) and barriers; a Finish is added where there is none, and no error.
        pace: seconds between two events, or a function of the number of events so far.
        status, headers: of the response; headers given here win over the server's own.
        faults: what goes wrong, applied in this order.
        stream: whether the body is a stream of chunks or one object; None does what the request asked for.
        count_usage: report a usage counted in words, marked `estimated`, unless `events` hold a Usage.
        body: exact bytes instead of events, or several pieces, each sent by itself, with barriers between them.
        chunked: with `body`, whether HTTP frames each piece as a chunk; else there is a content-length.
        has_head: with `body`, that it starts with the status line: nothing is added, and the connection ends after it.
        failure: an HTTP error instead of an answer, in the form of the wire that the request came on.
    """

    events: Sequence[Step] = ()
    pace: float | Callable[[int], float] | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    faults: Sequence[Fault] = ()
    stream: bool | None = None
    count_usage: bool = True
    body: Sequence[bytes | Waitable] | None = None
    chunked: bool = False
    has_head: bool = False
    failure: LLMError | None = None

    @classmethod
    def text(cls, text: str, *, reasoning: str = "", **options: Any) -> Answer:
        """A text, word by word, after its reasoning. `options` are the other fields of an Answer."""
        thoughts = [ReasoningDelta(word) for word in words(reasoning)]
        return cls([*thoughts, text], **options)

    @classmethod
    def tool_call(
        cls, name: str, arguments: Mapping[str, object] | str, *, id: str = "call_1", **options: Any
    ) -> Answer:
        """A call in fragments, as models send it. `arguments` as a string are sent as they are, valid or not."""
        raw = arguments if isinstance(arguments, str) else json.dumps(arguments, separators=(",", ":"))
        fragments = ["", *(raw[at : at + 8] for at in range(0, len(raw), 8))]
        return cls([ToolCallDelta(0, id, name, fragment) for fragment in fragments], **options)

    @classmethod
    def error(
        cls,
        error: LLMError | None = None,
        *,
        status: int = 500,
        message: str = "",
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Answer:
        """An error instead of an answer, in the form of the wire: a typed one, or the usual one of a status."""
        if error is None:
            error = classify({"error": {"message": message or f"scripted HTTP {status}"}}, status=status)
        return cls(failure=error, status=error.status or status, headers=headers or {}, **options)

    @classmethod
    def raw(
        cls,
        body: bytes | Sequence[bytes | Waitable],
        *,
        content_type: str = "text/event-stream",
        chunked: bool | None = None,
        **options: Any,
    ) -> Answer:
        """Exactly these bytes as the body: whole with a content-length, or a list of pieces, each one HTTP chunk."""
        whole = isinstance(body, bytes)
        pieces = [body] if isinstance(body, bytes) else body
        headers = {"content-type": content_type, **options.pop("headers", {})}
        return cls(body=pieces, chunked=not whole if chunked is None else chunked, headers=headers, **options)

    @classmethod
    def wire(cls, data: bytes, *, cuts: Iterable[int] = (), **options: Any) -> Answer:
        """A whole recorded HTTP response, byte for byte, in pieces cut at these offsets; then the connection ends."""
        borders = sorted({0, len(data), *(cut for cut in cuts if 0 < cut < len(data))})
        return cls(body=[data[start:end] for start, end in pairwise(borders)], has_head=True, **options)


Script = Answer | Sequence[Answer] | Callable[[ReceivedRequest], Answer | Awaitable[Answer]]
"""One answer for every request, one for each (the last repeats), or a function, sync or async."""


class Playbook:
    """A script with the place where it is."""

    def __init__(self, script: Script) -> None:
        if isinstance(script, Sequence) and not script:
            raise ValueError("a script needs at least one Answer")
        self._script = script
        self._used = 0

    async def answer(self, request: ReceivedRequest) -> Answer:
        script = self._script
        if isinstance(script, Answer):
            return script
        if isinstance(script, Sequence):
            self._used += 1
            return script[min(self._used, len(script)) - 1]
        made = script(request)
        answer: object = await made if isawaitable(made) else made
        if not isinstance(answer, Answer):
            raise TypeError(f"the script returned {type(answer).__name__}, not an Answer")
        return answer


def words(text: str) -> list[str]:
    """The text in pieces of a word each, with the space before it; joined they are the text."""
    return re.findall(r"\s*\S+|\s+", text)


def plan_response(answer: Answer, request: ReceivedRequest, asked: Request) -> Plan:
    """Everything that will be sent for `answer`, faults included, on the wire that the request came on."""
    path = request.path.partition("?")[0]
    side = wire_of(path) or wire(CHAT)
    body: Mapping[str, Any] = request.json if isinstance(request.json, Mapping) else {}
    failure = answer.failure
    if failure is None and answer.status >= 400 and answer.body is None and not answer.events:
        failure = Answer.error(status=answer.status).failure
    if failure is not None:
        plan = _plan_error(failure, side)
    elif answer.body is not None:
        plan = _plan_bytes(answer, answer.body)
    elif answer.stream or (answer.stream is None and side.streamed(path, body)):
        plan = _plan_stream(answer, side, asked, body)
    else:
        plan = _plan_object(answer, side, asked)
    if plan.headers is not None:
        plan.headers |= {name.lower(): value for name, value in answer.headers.items()}
    for fault in answer.faults:
        fault.apply(plan)
    return plan


def _plan_error(error: LLMError, side: ServerSide, holds: Sequence[Hold] = ()) -> Plan:
    status, body, headers = side.error(error)
    return Plan(status, dict(headers), [*holds, Frame(body, "body", 1)], chunked=False)


def _plan_bytes(answer: Answer, body: Sequence[bytes | Waitable]) -> Plan:
    steps: list[Frame | Hold] = []
    for piece in body:
        if isinstance(piece, bytes):
            steps.append(Frame(piece, "body", 1 + sum(isinstance(step, Frame) for step in steps)))
        else:
            steps.append(Hold(piece))
    if answer.has_head:
        return Plan(answer.status, None, steps, chunked=False, end="fin")
    return Plan(answer.status, {}, steps, chunked=answer.chunked)


def _plan_stream(answer: Answer, side: ServerSide, asked: Request, body: Mapping[str, Any]) -> Plan:
    encoder = side.encoder(asked, body)
    as_bytes = FRAMES[side.framing]
    steps: list[Frame | Hold] = []
    said = 0
    for event in _paced(answer, asked):
        if isinstance(event, Hold):
            steps.append(event)
            continue
        frames = encoder.encode(event)
        said += bool(frames)
        steps += [Frame(as_bytes(frame), frame.kind, said) for frame in frames]

    def error_frames(error: LLMError) -> list[bytes]:
        return [as_bytes(frame) for frame in side.encoder(asked, body).encode(StreamError(error))]

    headers = {"content-type": CONTENT_TYPES[side.framing], **_STREAM_HEADERS}
    plan = Plan(answer.status, headers, steps, error_frames=error_frames)
    plan.comment = COMMENTS.get(side.framing, plan.comment)
    return plan


def _plan_object(answer: Answer, side: ServerSide, asked: Request) -> Plan:
    steps = list(_paced(answer, asked))
    holds = [step for step in steps if isinstance(step, Hold)]
    events = [step for step in steps if not isinstance(step, Hold)]
    try:
        body = side.body(events, asked)
    except LLMError as error:
        return _plan_error(error, side, holds)
    return Plan(answer.status, {"content-type": "application/json"}, [*holds, Frame(body, "body", 1)], chunked=False)


def _paced(answer: Answer, asked: Request) -> Iterator[StreamEvent | Hold]:
    """The events of an answer, complete, with everything that is waited for between them."""
    events = list(_expanded(answer.events))
    said = [event for event in events if not isinstance(event, Hold)]
    if answer.count_usage:
        yield _counted(said, asked)  # a snapshot that any Usage of the script replaces
    if not any(isinstance(event, Finish | StreamError) for event in said):
        calls = any(isinstance(event, ToolCall | ToolCallDelta) for event in said)
        events.append(Finish("tool_calls" if calls else "stop"))
    count = 0
    for event in events:
        if not isinstance(event, Hold):
            if answer.pace is not None and count:
                yield Hold(Delay(answer.pace if isinstance(answer.pace, int | float) else answer.pace(count)))
            count += 1
        yield event


def _expanded(steps: Iterable[Step]) -> Iterator[StreamEvent | Hold]:
    for step in steps:
        if isinstance(step, str):
            yield from (TextDelta(word) for word in words(step))
        elif isinstance(step, StreamEvent):
            yield step
        else:
            yield Hold(step)


def _counted(events: Iterable[StreamEvent], asked: Request) -> Usage:
    """Words, which is all that a server without a tokenizer can count; so it is marked."""
    made = thought = 0
    for event in events:
        if isinstance(event, TextDelta | ReasoningDelta):
            count = len(event.text.split())
            made += count
            thought += count * isinstance(event, ReasoningDelta)
        elif isinstance(event, ToolCallDelta):
            made += 1
        elif isinstance(event, ToolCall):
            made += 1 + len(event.arguments or ())
    parts = [part for message in asked.messages for part in message.parts]
    given = sum(len(part.text.split()) for part in parts if isinstance(part, Text | ToolResult))
    return Usage(input_tokens=given, output_tokens=made, reasoning_tokens=thought, estimated=True)
