"""The clients that are compared, by name. Each lives in a worker process of its own."""

from __future__ import annotations

from importlib import import_module

from ._client import BenchmarkClient

CLIENTS = {
    "raw": "raw:RawClient",
    "asyncllm": "ours:AsyncLLMClient",
    "httpx2": "httpx2_sse:Httpx2Client",
    "openai": "openai_sdk:OpenAIClient",
}


def make_client(name: str, base_url: str) -> BenchmarkClient:
    """Imports nothing but that client's library."""
    module, _, attribute = CLIENTS[name].partition(":")
    client: BenchmarkClient = getattr(import_module(f"{__name__}.{module}"), attribute)(base_url)
    return client


__all__ = ["CLIENTS", "BenchmarkClient", "make_client"]
