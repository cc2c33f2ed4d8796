"""The clients that are compared, by the names of their rows. Each lives in a worker process of its own."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal, NamedTuple

from ._client import BenchmarkClient, Blocking


class Row(NamedTuple):
    """`client` is "module:class" in this package; `library` the distribution whose version is told, "" for the floors.

    `peer` names the virtual environment of its own (see `benchmarks/peers`), "" is the one that runs the benchmarks.
    `slow` is how many times fewer events it is given in a round, so that a round of its is about as long as the others'.
    """

    client: str
    library: str = ""
    peer: str = ""
    loop: Literal["asyncio", "uvloop", "blocking"] = "asyncio"
    slow: int = 1


ROWS = {
    "raw": Row("raw:RawClient"),
    "raw on uvloop": Row("raw:RawClient", "uvloop", loop="uvloop"),
    "raw blocking": Row("raw_blocking:BlockingRawClient", loop="blocking"),
    "asyncllm": Row("ours:AsyncLLMClient", "asyncllm"),
    "asyncllm on uvloop": Row("ours:AsyncLLMClient", "asyncllm", loop="uvloop"),
    "asyncllm stream.text": Row("ours:TextClient", "asyncllm"),
    "asyncllm stream.batches()": Row("ours:BatchesClient", "asyncllm"),
    "asyncllm anthropic": Row("ours:AnthropicClient", "asyncllm"),
    "asyncllm openai-responses": Row("ours:ResponsesClient", "asyncllm"),
    "asyncllm gemini": Row("ours:GeminiClient", "asyncllm"),
    "asyncllm ollama-native": Row("ours:OllamaClient", "asyncllm"),
    "asyncllm over AsyncOpenAI": Row("ours_over_openai:OverOpenAIClient", "asyncllm", slow=5),
    "asyncllm over AsyncOpenAI with our transport": Row("ours_over_openai:OverOpenAIAndUsClient", "asyncllm"),
    "asyncllm SyncClient": Row("ours_blocking:SyncClient", "asyncllm", loop="blocking"),
    "raw loop": Row("raw_loop:RawLoopClient"),
    "asyncllm run": Row("ours_loop:RunClient", "asyncllm"),
    "asyncllm loop by hand": Row("ours_loop:ByHandClient", "asyncllm"),
    "httpx2": Row("httpx2_sse:Httpx2Client", "httpx2", slow=5),
    "aiohttp": Row("aiohttp_sse:AiohttpClient", "aiohttp"),
    "openai": Row("openai_sdk:OpenAIClient", "openai", slow=20),
    "openai .stream()": Row("openai_sdk:OpenAIHelperClient", "openai", slow=40),
    "openai responses": Row("openai_responses_sdk:OpenAIResponsesClient", "openai", slow=20),
    "anthropic": Row("anthropic_sdk:AnthropicSDKClient", "anthropic", slow=5),
    "google-genai": Row("google_genai_sdk:GoogleGenAIClient", "google-genai", slow=20),
    "pydantic-ai": Row("pydantic_ai_model:PydanticAIClient", "pydantic-ai-slim", "pydantic-ai", slow=20),
    "pydantic-ai agent": Row("pydantic_ai_agent:PydanticAIAgentClient", "pydantic-ai-slim", "pydantic-ai", slow=10),
    "openai-agents": Row("openai_agents_run:OpenAIAgentsClient", "openai-agents", "openai-agents", slow=10),
    "langchain-openai": Row("langchain_chat:LangChainClient", "langchain-openai", "langchain-openai", slow=20),
    "any-llm": Row("any_llm_sdk:AnyLLMClient", "any-llm-sdk", "any-llm", slow=20),
    "liter-llm": Row("liter_llm_rust:LiterLLMClient", "liter-llm", "liter-llm", slow=20),
    "litellm": Row("litellm_sdk:LiteLLMClient", "litellm", "litellm", slow=40),
}


def make_client(name: str, base_url: str) -> BenchmarkClient:
    """Imports nothing but that client's library."""
    row = ROWS[name]
    module, _, attribute = row.client.partition(":")
    client: Any = getattr(import_module(f"{__name__}.{module}"), attribute)(base_url)
    made: BenchmarkClient = Blocking(client) if row.loop == "blocking" else client
    return made


__all__ = ["ROWS", "BenchmarkClient", "Row", "make_client"]
