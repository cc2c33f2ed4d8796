"""What a server may ask back while it works: a question to the user (elicitation), an answer of a model (sampling)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..events import Message, Reply

if TYPE_CHECKING:
    from mcp import types
    from mcp.client.session import ClientRequestContext, ElicitationFnT, SamplingFnT

logger = logging.getLogger("asyncllm.mcp")

Elicit = Callable[[str, Mapping[str, object]], Awaitable[Mapping[str, object] | None]]
"""Answers a server's question: its words and the JSON Schema of the answer. None declines."""

SampleFunction = Callable[[list[Message], Mapping[str, Any]], Awaitable["str | Reply[Any]"]]
"""Answers a conversation. The options are named as those of `Client.complete`: system, max_tokens, temperature, stop."""


class Completes(Protocol):
    """What answers conversations: an :class:`asyncllm.Client`, for example."""

    async def complete(self, input: list[Message], **options: Any) -> Reply[Any]: ...


Sample = SampleFunction | Completes

_STOP_REASONS = {"stop": "endTurn", "length": "maxTokens"}


def elicitation(elicit: Elicit) -> ElicitationFnT:
    """The callback of the mcp package. URLs that the user should open are declined: nobody here could tell where they lead."""
    from mcp import types

    async def answer(
        context: ClientRequestContext, params: types.ElicitRequestParams
    ) -> types.ElicitResult | types.ErrorData:
        if params.mode != "form":
            return types.ElicitResult(action="decline")
        try:
            given = await elicit(params.message, params.requested_schema)
            if given is None:
                return types.ElicitResult(action="decline")
            return types.ElicitResult.model_validate({"action": "accept", "content": dict(given)})
        except Exception as error:  # noqa: BLE001 - a server is told that it failed, not how
            return _failed("elicit", error)

    return answer


def sampling(sample: Sample) -> SamplingFnT:
    """The callback of the mcp package."""
    from ._mcp_content import messages_of, options_of

    async def answer(
        context: ClientRequestContext, params: types.CreateMessageRequestParams
    ) -> types.CreateMessageResult | types.CreateMessageResultWithTools | types.ErrorData:
        try:
            messages, options = messages_of(params), options_of(params)
            complete = getattr(sample, "complete", None)
            said = await (complete(messages, **options) if complete is not None else sample(messages, options))  # type: ignore[operator]
            return _result(said)
        except Exception as error:  # noqa: BLE001 - as above
            return _failed("sample", error)

    return answer


def _result(said: str | Reply[Any]) -> types.CreateMessageResult:
    from mcp import types

    if isinstance(said, str):
        text, model, reason = said, "unknown", "endTurn"
    else:
        text, model = said.text, said.model or "unknown"
        reason = _STOP_REASONS.get(said.finish_reason or "", said.finish_reason or "endTurn")
    content = types.TextContent(text=text)
    return types.CreateMessageResult(role="assistant", content=content, model=model, stop_reason=reason)


def _failed(what: str, error: Exception) -> types.ErrorData:
    from mcp import types

    logger.warning("the callback %s= of an MCP server failed", what, exc_info=error)
    return types.ErrorData(code=types.INTERNAL_ERROR, message=f"the client's {what} failed: {type(error).__name__}")
