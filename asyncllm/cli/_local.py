"""Model servers on this machine, and whether they answer."""

from __future__ import annotations

import asyncio

import httpx2
import msgspec

from ..backends import VENDORS, Vendor
from ..backends._registry import env_url
from ..transports import http_client

PATIENCE = 0.3
"""Seconds. A server on this machine that needs longer is not there."""

LOCAL = tuple(vendor for vendor in VENDORS if vendor.local)


def local_url(vendor: Vendor) -> str:
    return env_url(vendor) or vendor.base_url.rstrip("/")


async def answered(url: str) -> object:
    """The JSON there, "" for any other answer, None for no answer in time."""
    try:
        async with asyncio.timeout(PATIENCE), http_client(trust_env=False) as client:
            response = await client.get(url)
            return msgspec.json.decode(response.content)
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError):
        return None
    except msgspec.DecodeError:
        return ""


async def ollama_model() -> str | None:
    """The first model of an Ollama on this machine."""
    vendor = next(vendor for vendor in LOCAL if vendor.name == "ollama-native")
    tags = await answered(f"{local_url(vendor)}{vendor.models_path}")
    models = tags.get("models") if isinstance(tags, dict) else None
    first = models[0] if isinstance(models, list) and models else None
    name = first.get("name") if isinstance(first, dict) else None
    return name if isinstance(name, str) and name else None
