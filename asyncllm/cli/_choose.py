"""Which model is asked when none is named."""

from __future__ import annotations

import os

from ..backends import VENDORS
from ..events import NotFoundError
from ._local import ollama_model
from ._models import list_models


async def choose(*, base_url: str | None = None, api_key: str | None = None) -> tuple[str, str]:
    """A model, and why it.

    The first provider whose key is in the environment and whose row names a model; a model server on this machine; the
    demo. A `base_url` is asked for its own models, without any key from the environment: nobody said whose it would be.
    """
    if base_url is not None:
        models = await list_models("openai-compatible", base_url=base_url, api_key=api_key)
        if not models:
            raise NotFoundError(f"{base_url} has no models: name one with -m")
        return f"openai-compatible/{models[0]}", f"the first model at {base_url}"
    for vendor in VENDORS:
        found = next((name for name in vendor.env if os.environ.get(name)), None)
        if found and vendor.default_model and not vendor.local:
            return f"{vendor.name}/{vendor.default_model}", f"{found} is set"
    if (model := await ollama_model()) is not None:
        return f"ollama/{model}", "no key is set, and an Ollama answers on this machine"
    return "demo/echo", "no key is set, and no Ollama answers: this is a demo that repeats what it is told"
