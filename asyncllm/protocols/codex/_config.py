"""The configuration of one run, laid over the user's own, which is not changed: dotted keys and their values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ...events import InvalidRequestError
from .._json import to_json

PROVIDER = "asyncllm"
"""Our entry among the model providers, where a base URL or a key is given."""

KEY_VARIABLE = "ASYNCLLM_CODEX_KEY"
"""The variable of the agent's environment that holds the key of that entry."""

OPENAI = "https://api.openai.com/v1"

BUILT_IN = frozenset({"openai", "ollama", "ollama-chat", "lmstudio", "oss", "amazon-bedrock"})
"""Providers whose settings Codex does not let anybody change: their retries are its own."""

NO_TOOLS: Mapping[str, object] = {
    "features.shell_tool": False,
    "features.unified_exec": False,
    "features.multi_agent": False,
    "features.goals": False,
    "features.apps": False,
    "features.plugins": False,
    "features.view_image": False,
    "web_search": "disabled",
    "include_environment_context": False,
    "include_permissions_instructions": False,
    "include_apps_instructions": False,
    "skills.bundled.enabled": False,
    "skills.include_instructions": False,
    "project_doc_max_bytes": 0,
}
"""What leaves hardly any of its own tools, and says nothing to the model about them."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SECRET_TABLES = ("http_headers", "env")


def provider_config(base_url: str, *, key: bool, headers: Mapping[str, str], retries: int) -> dict[str, object]:
    """Our model provider. `headers`: the variable of the environment that holds the value of each."""
    entry: dict[str, object] = {
        "name": PROVIDER,
        "base_url": base_url,
        "wire_api": "responses",
        **({"env_key": KEY_VARIABLE} if key else {}),
        **({"env_http_headers": dict(headers)} if headers else {}),
        **retries_of(retries),
    }
    return {"model_provider": PROVIDER, f"model_providers.{PROVIDER}": entry}


def retries_of(retries: int) -> dict[str, object]:
    return {"request_max_retries": 0, "stream_max_retries": retries}


def flat(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """With dotted keys down to the values, so that each replaces one value of the user's and nothing beside it."""
    found: dict[str, object] = {}
    for name, value in config.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value and all(_BARE.fullmatch(str(key)) for key in value):
            found |= flat({str(key): inner for key, inner in value.items()}, f"{path}.")
        elif value is not None:
            found[path] = value
    return found


def toml(value: object) -> str:
    """A value as Codex reads it after `-c key=`."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            return to_json(value).replace("\x7f", "\\u007f")  # a JSON string is a TOML string, but for DEL
        case Mapping():
            return "{" + ", ".join(f"{to_json(str(key))} = {toml(inner)}" for key, inner in value.items()) + "}"
        case Sequence():
            return "[" + ", ".join(toml(inner) for inner in value) + "]"
        case _:
            raise InvalidRequestError(f"codex: config cannot hold {type(value).__name__}")


def hidden(servers: Mapping[str, Mapping[str, object]]) -> tuple[dict[str, object], dict[str, str]]:
    """MCP servers for a command line, which others on the machine can read: their headers and variables go through the
    environment, which is the second of the two."""
    config: dict[str, object] = {}
    variables: dict[str, str] = {}
    for name, server in servers.items():
        entry = {key: value for key, value in server.items() if key not in _SECRET_TABLES}
        headers, env = (server.get(table) for table in _SECRET_TABLES)
        if isinstance(headers, Mapping) and headers:
            given = entry.get("env_http_headers")
            through = dict(given) if isinstance(given, Mapping) else {}
            for header, value in headers.items():
                variable = f"ASYNCLLM_MCP_{len(variables)}"
                through[str(header)], variables[variable] = variable, str(value)
            entry["env_http_headers"] = through
        if isinstance(env, Mapping) and env:
            listed = entry.get("env_vars")
            names = list(listed) if isinstance(listed, Sequence) and not isinstance(listed, str) else []
            entry["env_vars"] = [*names, *map(str, env)]
            variables |= {str(key): str(value) for key, value in env.items()}
        config[name] = entry
    return config, variables
