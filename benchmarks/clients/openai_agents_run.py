"""openai-agents: `Runner.run_streamed` over chat completions, every event iterated, no tracing."""

# pyright: reportMissingImports=false
# (the library is in an environment of its own, see benchmarks/peers)

from __future__ import annotations

from typing import Any

import openai
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, RunConfig, Runner, function_tool

from ._client import SYSTEM, USER
from ._functions import FUNCTIONS


class OpenAIAgentsClient:
    def __init__(self, base_url: str) -> None:
        self._openai = openai.AsyncOpenAI(api_key="x", base_url=base_url)
        self._config = RunConfig(tracing_disabled=True)
        self._tools: list[Any] = [function_tool(function) for function in FUNCTIONS.values()]
        self._agents: dict[str, Any] = {}

    async def open(self, model: str) -> Any:
        agent = self._agents.get(model)
        if agent is None:
            agent = self._agents[model] = Agent(
                name="agent",
                instructions=SYSTEM,
                model=OpenAIChatCompletionsModel(model=model, openai_client=self._openai),
                model_settings=ModelSettings(include_usage=True),
                tools=self._tools,
            )
        return Runner.run_streamed(agent, USER, run_config=self._config)

    async def consume(self, stream: Any) -> int:
        seen = 0
        async for event in stream.stream_events():
            if event.type == "raw_response_event":
                seen += event.data.type == "response.output_text.delta"
            elif event.type == "run_item_stream_event":
                seen += event.name == "tool_output"
        return seen
