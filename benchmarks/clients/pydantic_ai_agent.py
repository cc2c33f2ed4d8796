"""pydantic-ai: a run of its agent with `Agent.iter` and the streams of its nodes, every event iterated.

`Agent.run_stream_events` gives the same events, and costs a little more.
"""

# pyright: reportMissingImports=false
# (the library is in an environment of its own, see benchmarks/peers)

from __future__ import annotations

from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import FunctionToolResultEvent, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from ._client import SYSTEM, USER
from ._functions import FUNCTIONS


class PydanticAIAgentClient:
    def __init__(self, base_url: str) -> None:
        self._provider = OpenAIProvider(base_url=base_url, api_key="x")
        self._agents: dict[str, Any] = {}

    async def open(self, model: str) -> Any:
        """Nothing is sent before the first event is asked for."""
        agent = self._agents.get(model)
        if agent is None:
            chat = OpenAIChatModel(model, provider=self._provider)
            agent = self._agents[model] = Agent(chat, instructions=SYSTEM, tools=[*FUNCTIONS.values()])
        return agent

    async def consume(self, stream: Any) -> int:
        seen = 0
        async with stream.iter(USER) as run:
            async for node in run:
                if Agent.is_model_request_node(node) or Agent.is_call_tools_node(node):
                    async with node.stream(run.ctx) as events:
                        async for event in events:
                            seen += _is_piece(event)
        return seen


def _is_piece(event: Any) -> bool:
    # the first delta of a text is said by the event that begins the part
    return (
        (isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta))
        or (isinstance(event, PartStartEvent) and isinstance(event.part, TextPart))
        or isinstance(event, FunctionToolResultEvent)
    )
