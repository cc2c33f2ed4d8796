"""What opencode can be told, and how it is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ...events import InvalidRequestError
from ...protocols.opencode._config import QUIET, Access, configuration, merged, model_of, permissions
from .._registry import Settings
from ._options import AgentOptions, environment, find_executable

INTERFACES = ("serve", "run", "text")
INSTALL = "npm install -g opencode-ai"

KEYS = (
    "OPENCODE_API_KEY",
    "OPENCODE_AUTH_CONTENT",
    "OPENCODE_CONFIG",
    "OPENCODE_CONFIG_DIR",
    "ANTHROPIC_API_KEY",
    "OPENAI_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_GENERATIVE_AI_API_KEY",
    "OPENROUTER_API_KEY",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "XAI_API_KEY",
    "DEEPSEEK_API_KEY",
)
"""Variables in which opencode finds its configuration and the keys of providers."""


class OpencodeOptions(AgentOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of opencode, besides those of every agent.

    Attributes:
        agent: which of its agents answers; by default its own choice ("build").
        permission: what it may do, in its own form: "allow", or rules by name. By default it may read in its work directory,
            and nothing else. What is "ask" is denied: nobody is there.
        builtin_tools: the only tools of its own that it has, which are then allowed; () for none.
        variant: of the model, where `reasoning` says nothing.
        config: more of its configuration, which has the last word.
        title: of new sessions. Without one it asks a model for it.
        pure: no plugins.
    """

    agent: str | None = None
    permission: str | Mapping[str, Any] | None = None
    builtin_tools: tuple[str, ...] | None = None
    variant: str | None = None
    config: Mapping[str, Any] = {}
    title: str = "asyncllm"
    pure: bool = False


class Launch:
    """How the program is started, for a model."""

    def __init__(self, options: OpencodeOptions, settings: Settings) -> None:
        self.options = options
        self._settings = settings

    def access(self, model: str) -> Access | None:
        """What the client says of the model's provider."""
        settings = self._settings
        if settings.base_url is None and settings.api_key is None and not settings.headers:
            return None
        if not model:
            raise InvalidRequestError(
                "opencode: base_url, api_key and extra_headers are those of a model's provider: name the model"
            )
        provider, name = model_of(model)
        return Access(provider, name, settings.base_url, settings.api_key, settings.headers)

    def command(self) -> list[str]:
        return [find_executable("opencode", self.options, "opencode", INSTALL)]

    @property
    def rules(self) -> dict[str, object]:
        """What it may do."""
        options = self.options
        return permissions(options.permission, options.builtin_tools, options.add_dirs, tuple(options.mcp_servers))

    def environment(
        self,
        home: str | None,
        model: str,
        *,
        servers: Mapping[str, Mapping[str, object]] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> dict[str, str]:
        """`servers`: MCP servers of ours; `more` of the configuration."""
        options = self.options
        rules = self.rules | {f"{name}_*": "allow" for name in servers or ()}
        env = environment(options, home=home, keys=KEYS)
        config = configuration(
            rules=rules,
            servers={**options.mcp_servers, **(servers or {})},
            access=self.access(model),
            more=merged(_given(env.get("OPENCODE_CONFIG_CONTENT")), options.config),
        )
        quiet = dict(QUIET)
        if options.isolated:
            quiet["OPENCODE_DISABLE_PROJECT_CONFIG"] = "1"
        if options.pure:
            quiet["OPENCODE_PURE"] = "1"
        content = msgspec.json.encode(merged(config, more or {})).decode()
        return {**quiet, **env, "OPENCODE_CONFIG_CONTENT": content}


def _given(content: str | None) -> dict[str, Any]:
    if not content:
        return {}
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidRequestError(f"opencode: OPENCODE_CONFIG_CONTENT is no JSON object: {error}") from None


def plain(tools: Sequence[object]) -> bytes:
    """Tools as something to compare."""
    return msgspec.json.encode(tools)
