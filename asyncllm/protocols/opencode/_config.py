"""What opencode is configured with: JSON for OPENCODE_CONFIG_CONTENT, which it merges over the files that it reads.

Source: https://opencode.ai/config.json, and the behaviour of 1.18.33.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from ...events import InvalidRequestError

OWN_TOOLS = "asyncllm"
"""What the names of our MCP servers begin with, and so the names of our tools."""

STRUCTURED = "StructuredOutput"
"""The tool with which opencode has a model answer in JSON."""

TOOL_TIMEOUT = 24 * 3600 * 1000
"""Milliseconds that opencode waits for the answer of a tool of ours."""

BUILTIN = (
    "bash",
    "edit",
    "glob",
    "grep",
    "list",
    "lsp",
    "question",
    "read",
    "skill",
    "task",
    "todowrite",
    "webfetch",
    "websearch",
)
"""Permissions of its own tools; `edit` is that of all that change files."""

READING = {"*": "allow", "*.env": "deny", "*.env.*": "deny", "*.env.example": "allow"}

LOOKING = ("read", "glob", "grep", "list", "lsp", "skill", "task", "todowrite", "todoread")

READ_ONLY: dict[str, object] = {
    "*": "deny",
    **{name: "deny" for name in BUILTIN if name not in LOOKING},
    **dict.fromkeys(LOOKING, "allow"),
    "read": READING,
}
"""Looking at what is in the work directory, and nothing else. Each is named: what is not, a user's configuration may allow."""

OWN_KINDS = frozenset({"anthropic", "openai"})
"""Providers whose API opencode speaks as it is, wherever it is; what is at another address is taken to speak the chat API."""


class Access(Struct, frozen=True):
    """Where the models of a provider are, other than opencode itself knows."""

    provider: str
    model: str
    base_url: str | None = None
    api_key: str | None = None
    headers: Mapping[str, str] = {}

    def __repr__(self) -> str:
        """Without its secrets."""
        return f"Access({self.provider}/{self.model}, {self.base_url})"


def model_of(name: str) -> tuple[str, str]:
    """The provider and the model. Raises :class:`InvalidRequestError`."""
    provider, slash, model = name.partition("/")
    if not (provider and slash and model):
        raise InvalidRequestError(f"opencode: write the model as opencode/<provider>/<model>, not {name!r}")
    return provider, model


def provider_entry(access: Access) -> dict[str, object]:
    options: dict[str, object] = {}
    if access.base_url is not None:
        options["baseURL"] = access.base_url
    if access.api_key is not None:
        options["apiKey"] = access.api_key
    if access.headers:
        options["headers"] = dict(access.headers)
    entry: dict[str, object] = {"options": options}
    if access.base_url is not None:
        model: dict[str, object] = {}
        if access.provider not in OWN_KINDS:
            entry |= {"npm": "@ai-sdk/openai-compatible", "name": access.provider}
            model = {
                "name": access.model,
                "tool_call": True,
                "attachment": True,
                "modalities": {"input": ["text", "image", "pdf"], "output": ["text"]},
            }
        entry["models"] = {access.model: model}
    return {access.provider: entry}


def permissions(
    given: str | Mapping[str, object] | None,
    builtin: Sequence[str] | None,
    directories: Sequence[str] = (),
    servers: Sequence[str] = (),
) -> dict[str, object]:
    """What opencode may do; the last rule that fits counts. `builtin`: the only tools of its own that it has. `directories`:
    where it may work besides its work directory; `servers`: MCP servers whose tools it may call."""
    rules: dict[str, object]
    if given is None:
        rules = dict(READ_ONLY)
        if builtin is not None:
            rules = {"*": "deny", **dict.fromkeys(BUILTIN, "deny"), **dict.fromkeys(builtin, "allow")}
        rules |= {f"{name}_*": "allow" for name in servers}
    elif isinstance(given, str):
        rules = {"*": given}
    else:
        rules = dict(given)
    if builtin is not None and given is not None:
        rules |= {name: "deny" for name in BUILTIN if name not in builtin}
    if directories:
        outside = rules.get("external_directory")
        kept = outside if isinstance(outside, Mapping) else {"*": outside or rules.get("*") or "ask"}
        rules["external_directory"] = {
            **kept,
            **{at: "allow" for d in directories for at in (d, f"{d.rstrip('/')}/**")},
        }
    return rules


def denied(rules: Mapping[str, object]) -> dict[str, object]:
    """What is denied by name: the same for its sub-agents, which may have rules of their own."""
    return {name: rule for name, rule in rules.items() if rule == "deny" and name != "*"}


def last_word(rules: Mapping[str, object]) -> dict[str, object]:
    """What of the rules is said again where it outweighs the user's configuration: that of an agent, too. Not what holds for
    everything else, unless that is allowed: opencode itself lets models read what it has put aside for them."""
    named: dict[str, object] = {}
    for name, rule in rules.items():
        if name == "external_directory" and isinstance(rule, Mapping):
            named[name] = {at: action for at, action in rule.items() if at != "*" or action == "allow"}
        elif name not in ("*", "external_directory") or rule == "allow":
            named[name] = rule
    return named


Rule = dict[str, str]
"""As sessions have them: `permission`, `pattern` and `action`. The last that fits counts."""


def session_rules(number: int, rules: Mapping[str, object], earlier: Sequence[Rule] = ()) -> list[Rule]:
    """What a session is told in addition to `earlier`, the rules that it has: opencode forgets none of them. Where it was
    allowed something else before, or on another machine, that ends.

    Of all the tools of ours, it has those of its own server, `number` (0: none). The tool that takes an answer in JSON needs
    permission, too.
    """
    named = _flat(last_word(rules))
    own = _flat(
        {f"{OWN_TOOLS}*": "deny", STRUCTURED: "allow", **({f"{OWN_TOOLS}{number}_*": "allow"} if number else {})}
    )
    others = [rule for rule in earlier if not rule["permission"].startswith((OWN_TOOLS, STRUCTURED))]
    anew = _flat({name: rule for name, rule in rules.items() if name == "*"}) + named
    if others == named or (others and others[-len(anew) :] == anew):
        return [] if list(earlier[-len(own) :]) == own else own
    return (anew if others else named) + own


def _flat(rules: Mapping[str, object]) -> list[Rule]:
    return [
        {"permission": name, "pattern": pattern, "action": str(action)}
        for name, rule in rules.items()
        for pattern, action in (rule.items() if isinstance(rule, Mapping) else (("*", rule),))
    ]


def tool_server(url: str, headers: Mapping[str, str]) -> dict[str, object]:
    """An MCP server of ours."""
    return {
        "type": "remote",
        "url": url,
        "headers": dict(headers),
        "enabled": True,
        "oauth": False,
        "timeout": TOOL_TIMEOUT,
    }


def configuration(
    *,
    rules: Mapping[str, object],
    servers: Mapping[str, Mapping[str, object]],
    access: Access | None,
    more: Mapping[str, object],
) -> dict[str, Any]:
    """All of it; `more` is the user's, and has the last word."""
    config: dict[str, Any] = {"autoupdate": False, "share": "disabled", "permission": dict(rules)}
    if servers:
        config["mcp"] = {name: dict(server) for name, server in servers.items()}
    if access is not None:
        config["provider"] = provider_entry(access)
    return merged(config, more)


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Objects are merged, everything else is replaced."""
    result = dict(base)
    for name, value in more.items():
        held = result.get(name)
        result[name] = merged(held, value) if isinstance(held, Mapping) and isinstance(value, Mapping) else value
    return result


QUIET = {
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_SHARE": "1",
}
"""Variables with which opencode fetches nothing but answers of models."""
