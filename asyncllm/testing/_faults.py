"""What can go wrong between a server and a client, byte by byte: each fault rewrites the plan of one response.

Faults are applied in the order in which an answer lists them, each to what the ones before left:
`[Gzip(), Cut(40)]` cuts the compressed bytes. Positions in events count the answer's events that put bytes on the wire
(the words of a text, one by one); positions in bytes count the body, without the framing of HTTP.
A wrong content type or any other header needs no fault: `Answer(headers={"content-type": "text/html"})`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Literal, Protocol

from ..events import LLMError
from ._waits import Delay, Wait, Waitable

Kind = Literal["chunk", "finish", "done", "comment", "body", "inserted"]
End = Literal["complete", "fin", "reset", "truncated"]


@dataclass(frozen=True)
class Frame:
    """Bytes that leave together: one HTTP chunk. `event` counts the answer's events from 1; 0 is none of them."""

    data: bytes
    kind: Kind = "chunk"
    event: int = 0


@dataclass(frozen=True)
class Hold:
    """Nothing is sent until `until` happens, except a comment every `comment_every` seconds."""

    until: Waitable
    comment_every: float | None = None


@dataclass
class Plan:
    """One response, as far as it is known before it is sent.

    Attributes:
        status, headers: of the head, which the server writes; `headers` None means that `steps` hold the head too.
        chunked: `transfer-encoding: chunked`, else a content-length.
        lost: bytes that the content-length counts and that are not sent.
        before_head: what to wait for before anything is sent.
        end: `complete` as HTTP wants it; `fin` or `reset` without the end of the body; `truncated` inside a chunk.
        error_frames: an error as the wire says it inside a stream.
        comment: a text as what clients of the framing pass over.
        sizes: the sizes of the writes, in turn; None writes each frame by itself.
    """

    status: int
    headers: dict[str, str] | None
    steps: list[Frame | Hold]
    chunked: bool = True
    lost: int = 0
    before_head: Waitable | None = None
    end: End = "complete"
    sizes: Iterator[int] | None = None
    error_frames: Callable[[LLMError], list[bytes]] | None = None
    comment: Callable[[str], bytes] = lambda text: f": {text}\n\n".encode()

    def after(self, events: int) -> int:
        """The position in `steps` right after so many events."""
        return max(
            (at + 1 for at, step in enumerate(self.steps) if isinstance(step, Frame) and 0 < step.event <= events),
            default=0,
        )

    def without(self, kind: Kind) -> list[Frame | Hold]:
        return [step for step in self.steps if not (isinstance(step, Frame) and step.kind == kind)]


class Fault(Protocol):
    def apply(self, plan: Plan) -> None: ...


@dataclass(frozen=True)
class ErrorAfter:
    """An in-band error after so many events (0: first of all) instead of the rest; no `[DONE]` follows."""

    events: int
    error: LLMError

    def apply(self, plan: Plan) -> None:
        if plan.error_frames is None:
            raise ValueError("ErrorAfter is for an answer that is streamed")
        plan.steps[plan.after(self.events) :] = [Frame(data, "inserted") for data in plan.error_frames(self.error)]


@dataclass(frozen=True)
class Cut:
    """The connection ends after `at` bytes of the body, before the body does: with FIN, or with RST.

    A reset may overtake bytes that the client has not read yet; that is what resets do.
    """

    at: int
    reset: bool = False

    def apply(self, plan: Plan) -> None:
        kept: list[Frame | Hold] = []
        left = self.at
        for step in plan.steps:
            if isinstance(step, Frame):
                if len(step.data) > left:
                    kept += [replace(step, data=step.data[:left])] * (left > 0)
                    break
                left -= len(step.data)
            kept.append(step)
        plan.lost += _size(plan.steps) - _size(kept)
        plan.steps = kept
        plan.end = "reset" if self.reset else "fin"


@dataclass(frozen=True)
class TruncatedChunk:
    """After the body one more chunk is announced, and the connection ends inside it. After a Cut, it does so early."""

    def apply(self, plan: Plan) -> None:
        plan.end = "truncated"


@dataclass(frozen=True)
class Stall:
    """Silence after so many events, for ever or until `until`; with `keep_alive`, a comment every so many seconds."""

    after: int
    until: Waitable = field(default_factory=Wait)
    keep_alive: float | None = None

    def apply(self, plan: Plan) -> None:
        plan.steps.insert(plan.after(self.after), Hold(self.until, self.keep_alive))


@dataclass(frozen=True)
class HoldOpen:
    """Everything was sent, but the body does not end: for ever or until `until`."""

    until: Waitable = field(default_factory=Wait)
    keep_alive: float | None = None

    def apply(self, plan: Plan) -> None:
        plan.steps.append(Hold(self.until, self.keep_alive))


@dataclass(frozen=True)
class SlowHeaders:
    """Not even the status line comes until `until`."""

    until: Waitable

    def apply(self, plan: Plan) -> None:
        plan.before_head = self.until


@dataclass(frozen=True)
class Split:
    """The response, head included, leaves in writes of these sizes in turn, wherever its frames and characters end.

    Each write is a segment of its own, and a client on the same loop gets to read between two of them.
    """

    sizes: int | Sequence[int] = 1

    def apply(self, plan: Plan) -> None:
        sizes = [self.sizes] if isinstance(self.sizes, int) else list(self.sizes)
        if not sizes or min(sizes) < 1:
            raise ValueError(f"sizes of writes are positive: {self.sizes!r}")
        plan.sizes = cycle(sizes)


@dataclass(frozen=True)
class Malformed:
    """These bytes, by default two frames glued into one, after so many events."""

    after: int
    data: bytes = b'data: {"choices":[{"delta":{"role":"adata: {"id":"chatcmpl-1"}\n\n'

    def apply(self, plan: Plan) -> None:
        plan.steps.insert(plan.after(self.after), Frame(self.data, "inserted"))


@dataclass(frozen=True)
class KeepAlive:
    """Comments: `before` the first event, and `between` each two, with `interval` seconds after each."""

    before: int = 0
    between: int = 0
    interval: float = 0.0
    text: str = "keep-alive"

    def apply(self, plan: Plan) -> None:
        comment: list[Frame | Hold] = [Frame(plan.comment(self.text), "comment")]
        if self.interval:
            comment.append(Hold(Delay(self.interval)))
        steps = comment * self.before
        last = 0
        for step in plan.steps:
            if isinstance(step, Frame) and step.event:
                if last and step.event != last:
                    steps += comment * self.between
                last = step.event
            steps.append(step)
        plan.steps = steps


@dataclass(frozen=True)
class NoDone:
    """The stream ends without `[DONE]`."""

    def apply(self, plan: Plan) -> None:
        plan.steps = plan.without("done")


@dataclass(frozen=True)
class NoFinish:
    """No chunk has a finish_reason."""

    def apply(self, plan: Plan) -> None:
        plan.steps = plan.without("finish")


@dataclass(frozen=True)
class Trailing:
    """These bytes after everything, `[DONE]` included."""

    data: bytes = b'data: {"choices":[{"index":0,"delta":{"content":"after the end"}}]}\n\n'

    def apply(self, plan: Plan) -> None:
        plan.steps.append(Frame(self.data, "inserted"))


@dataclass(frozen=True)
class Gzip:
    """`content-encoding: gzip`, flushed after each frame, whatever the client accepts."""

    def apply(self, plan: Plan) -> None:
        squeeze = zlib.compressobj(wbits=31)
        steps: list[Frame | Hold] = []
        for step in plan.steps:
            if isinstance(step, Frame):
                step = replace(step, data=squeeze.compress(step.data) + squeeze.flush(zlib.Z_SYNC_FLUSH))
            steps.append(step)
        plan.steps = [*steps, Frame(squeeze.flush(), "inserted")]
        if plan.headers is not None:
            plan.headers["content-encoding"] = "gzip"


def _size(steps: Sequence[Frame | Hold]) -> int:
    return sum(len(step.data) for step in steps if isinstance(step, Frame))
