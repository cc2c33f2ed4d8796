"""What is asked of Codex: the parameters of threads and turns, and the command line of `codex exec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from ...events import Image, InvalidRequestError, Part, Text, ToolResult
from .._history import schema_prompt
from .._reasoning import effort_of
from .._request import Request, Tool
from ..agents._turn import Turn
from ._config import flat, toml

CLIENT = "asyncllm"


class Setup(Struct, frozen=True, kw_only=True):
    """What holds for a thread as long as it lives.

    Attributes:
        cwd: its work directory.
        sandbox, approval: what it may do, in Codex's words.
        config: laid over the user's configuration.
        system, append: instead of Codex's own instructions, and after them.
        tools: ours.
        ephemeral: it is kept nowhere.
        service_tier: of the requests.
    """

    cwd: str
    sandbox: str
    approval: str
    config: Mapping[str, object] = {}
    system: str | None = None
    append: str | None = None
    tools: tuple[Tool, ...] = ()
    ephemeral: bool = False
    service_tier: str | None = None


def initialize(version: str) -> dict[str, Any]:
    return {
        "clientInfo": {"name": CLIENT, "title": CLIENT, "version": version},
        "capabilities": {"experimentalApi": True},
    }


def start_params(setup: Setup, model: str) -> dict[str, Any]:
    """A new thread. Codex is asked to tell what the model says in the words of its API, too: only there it is told when an
    answer is whole, which calls belong to it, and which of them were refused."""
    tools: list[dict[str, Any]] = [dynamic_tool(tool) for tool in setup.tools]
    return {
        **_common(setup, model),
        "ephemeral": setup.ephemeral,
        "experimentalRawEvents": True,
        **({"dynamicTools": tools} if tools else {}),
    }


def resume_params(setup: Setup, model: str, thread: str) -> dict[str, Any]:
    """Going on with a thread; its tools are those that it was begun with. Its last turn is asked for."""
    page = {"limit": 1, "sortDirection": "desc", "itemsView": "notLoaded"}
    return {"threadId": thread, **_common(setup, model), "excludeTurns": True, "initialTurnsPage": page}


def fork_params(setup: Setup, model: str, thread: str, turn: str) -> dict[str, Any]:
    """A thread of its own that begins with what this one has said up to a turn, or to its end."""
    through = {"lastTurnId": turn} if turn else {}
    return {"threadId": thread, **_common(setup, model), **through, "excludeTurns": True, "ephemeral": setup.ephemeral}


def _common(setup: Setup, model: str) -> dict[str, Any]:
    return {
        **({"model": model} if model else {}),
        **({"modelProvider": provider} if (provider := setup.config.get("model_provider")) else {}),
        "cwd": setup.cwd,
        "approvalPolicy": setup.approval,
        "sandbox": setup.sandbox,
        "config": flat(setup.config),
        **({"baseInstructions": setup.system} if setup.system is not None else {}),
        **({"developerInstructions": setup.append} if setup.append is not None else {}),
        **({"serviceTier": setup.service_tier} if setup.service_tier is not None else {}),
    }


def turn_params(turn: Turn, thread: str, parts: Sequence[Part]) -> dict[str, Any]:
    """A turn: what the user says, and what may differ from turn to turn."""
    request = turn.request
    output = request.output
    return {
        "threadId": thread,
        "input": [_input(part) for part in with_schema(request, parts)],
        **({"model": request.model} if request.model else {}),
        **({"effort": effort} if (effort := effort_for(request)) else {}),
        **({"outputSchema": dict(output.schema)} if output is not None and output.strict else {}),
    }


def left_out(turn: Turn) -> tuple[str, ...]:
    """What is not said to Codex, harmlessly."""
    return () if turn.request.max_tokens is None else ("codex knows no max_tokens: left out",)


def effort_for(request: Request) -> str | None:
    """Codex knows efforts up to xhigh."""
    if request.reasoning is None:
        return None
    effort = effort_of(request.reasoning)
    return "xhigh" if effort == "max" else effort


def with_schema(request: Request, parts: Sequence[Part]) -> list[Part]:
    """A schema that has no strict form is asked for in words: Codex enforces strict ones only."""
    if request.output is None or request.output.strict:
        return list(parts)
    return [*parts, Text(schema_prompt(request.output))]


def _input(part: Part) -> dict[str, Any]:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text, "text_elements": []}
        case Image(detail=detail):
            return {"type": "image", "url": part.as_url, **({"detail": detail} if detail else {})}
        case _:
            raise InvalidRequestError(f"codex takes texts and images, not {type(part).__name__}")


def dynamic_tool(tool: Tool) -> dict[str, Any]:
    schema = {"type": "object", **tool.parameters}
    return {"type": "function", "name": tool.name, "description": tool.description, "inputSchema": schema}


def tool_response(result: ToolResult | None) -> dict[str, Any]:
    """What a call of ours is answered; None: nobody has a result for it."""
    if result is None:
        words = "this call was not run"
        return {"contentItems": [{"type": "inputText", "text": words}], "success": False}
    parts = [Text(result.content)] if isinstance(result.content, str) else result.content
    items = [
        {"type": "inputText", "text": part.text}
        if isinstance(part, Text)
        else {"type": "inputImage", "imageUrl": part.as_url}
        for part in parts
    ]
    return {"contentItems": items, "success": not result.is_error}


def exec_arguments(
    setup: Setup,
    request: Request,
    *,
    thread: str,
    bypass: bool,
    skip_git_check: bool,
    profile: str | None,
    instructions: str | None,
    schema: str | None,
    images: Sequence[str],
    extra: Sequence[str],
) -> list[str]:
    """The arguments of `codex exec`, whose prompt comes on standard input. `thread`: which is gone on with. `instructions`,
    `schema` and `images` are files."""
    config: dict[str, object] = {
        **flat(setup.config),
        "approval_policy": setup.approval,
        "sandbox_mode": setup.sandbox,
        **({"model_instructions_file": instructions} if instructions else {}),
        **({"model_reasoning_effort": effort} if (effort := effort_for(request)) else {}),
        **({"service_tier": setup.service_tier} if setup.service_tier is not None else {}),
    }
    if bypass:
        config = {key: value for key, value in config.items() if key not in ("approval_policy", "sandbox_mode")}
    return [
        "exec",
        *(("--profile", profile) if profile else ()),  # `resume` knows none
        *(("resume",) if thread else ()),
        "--json",
        *(("--skip-git-repo-check",) if skip_git_check else ()),
        *(("--dangerously-bypass-approvals-and-sandbox",) if bypass else ()),
        *(("--ephemeral",) if setup.ephemeral else ()),
        *(("--model", request.model) if request.model else ()),
        *(("--output-schema", schema) if schema else ()),
        *(argument for image in images for argument in ("--image", image)),
        *(argument for key, value in config.items() for argument in ("-c", f"{key}={toml(value)}")),
        *extra,
        *((thread,) if thread else ()),
        "-",
    ]
