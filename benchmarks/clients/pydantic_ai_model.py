"""pydantic-ai: the events of its model for OpenAI, below the agent."""

# pyright: reportMissingImports=false
# (the library is in an environment of its own, see benchmarks/peers)

from __future__ import annotations

from typing import Any

from pydantic_ai.messages import (
    ModelRequest,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    ToolCallPartDelta,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from ._client import SYSTEM, USER


class PydanticAIClient:
    def __init__(self, base_url: str) -> None:
        self._provider = OpenAIProvider(base_url=base_url, api_key="x")
        self._models: dict[str, Any] = {}
        self._messages = [ModelRequest(parts=[SystemPromptPart(SYSTEM), UserPromptPart(USER)])]

    async def open(self, model: str) -> Any:
        chat = self._models.get(model)
        if chat is None:
            chat = self._models[model] = OpenAIChatModel(model, provider=self._provider)
        manager = chat.request_stream(self._messages, None, ModelRequestParameters())
        return manager, await manager.__aenter__()

    async def consume(self, stream: Any) -> int:
        manager, events = stream
        seen = 0
        async for event in events:
            # the first delta of a text is said by the event that begins the part
            if (isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta | ToolCallPartDelta)) or (
                isinstance(event, PartStartEvent) and isinstance(event.part, TextPart)
            ):
                seen += 1
        await manager.__aexit__(None, None, None)
        return seen
