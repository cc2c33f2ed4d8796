"""What is asked of a model, whatever the wire: one Request, which each codec encodes in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from ..events import Message, Session

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
CacheTTL = Literal["5m", "1h"]


class Timeout(Struct, frozen=True):
    """Four independent limits in seconds, and one for the transport. None is no limit.

    Attributes:
        connect: to a connection, TLS included.
        first_token: from the request to the first content of the answer.
        inter_token: between two pieces of the answer. Keep-alive comments do not count as pieces.
        total: the whole call, retries included.
        idle: between any two reads of bytes, keep-alive comments included: how long a silent connection is believed in.
    """

    connect: float | None = 10.0
    first_token: float | None = 300.0
    inter_token: float | None = 120.0
    total: float | None = 1800.0
    idle: float | None = 300.0


class Tool(Struct, frozen=True):
    """A function the model may call. `parameters` is a JSON Schema of an object."""

    name: str
    description: str = ""
    parameters: Mapping[str, object] = {}
    strict: bool | None = None


class OutputSchema(Struct, frozen=True):
    """The JSON Schema that the answer must satisfy."""

    name: str
    schema: Mapping[str, object]
    strict: bool = True


class Request(Struct, frozen=True, kw_only=True):
    """One call. `model` is the provider's own name of it; what is None is left to the provider."""

    model: str
    messages: tuple[Message, ...]
    system: str | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None
    """`auto`, `none`, `required`, or the name of a tool."""
    output: OutputSchema | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning: ReasoningEffort | int | None = None
    """An effort, or a budget of tokens; each wire says it in its own way (see ``_reasoning``)."""
    cache: CacheTTL | None = None
    """Mark the prompt for the provider's cache, where that has to be asked for; elsewhere caching needs no asking."""
    extra_body: Mapping[str, object] = {}
    extra_headers: Mapping[str, str] = {}
    timeout: Timeout = Timeout()
    session: Session | None = None
    """Where to go on, for a coding agent; of another backend it says nothing."""
    raw: bool = False
    """Whether what is not understood is wanted as RawEvents."""

    def __repr__(self) -> str:
        """Without what may hold secrets or pages of text."""
        return f"Request(model={self.model!r}, messages={len(self.messages)}, tools={len(self.tools)})"
