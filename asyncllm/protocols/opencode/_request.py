"""A turn as opencode takes it: the body of a prompt, or a command line and what is written to its standard input."""

from __future__ import annotations

from typing import Any

from ...events import Audio, File, Image, InvalidRequestError, Session, Text
from .._history import schema_prompt
from .._request import Request
from ..agents._turn import Turn, check_choice
from ._config import model_of
from ._errors import NAME


def check(request: Request) -> tuple[str, ...]:
    """Raises :class:`InvalidRequestError` for what opencode cannot do; gives warnings of what is left out, harmlessly."""
    check_choice(request, NAME)
    for name in ("extra_headers", "extra_body"):
        if getattr(request, name):
            raise InvalidRequestError(f"opencode knows no {name} of a single call: put them into its config=")
    warnings = []
    if request.max_tokens is not None:
        warnings.append("opencode has its own limit of tokens: max_tokens is left out")
    if isinstance(request.reasoning, int):
        warnings.append("opencode knows efforts of reasoning, no budgets: left out")
    return tuple(warnings)


def prompt(turn: Turn, *, agent: str | None, variant: str | None) -> dict[str, Any]:
    """The body of `POST /session/{id}/prompt_async`."""
    request = turn.request
    body: dict[str, Any] = {"parts": [_part(part) for part in turn.parts]}
    if request.model:
        provider, model = model_of(request.model)
        body["model"] = {"providerID": provider, "modelID": model}
    if turn.system:
        body["system"] = turn.system
    if agent:
        body["agent"] = agent
    if (effort := effort_of(request, variant)) is not None:
        body["variant"] = effort
    if request.output is not None:
        body["format"] = {"type": "json_schema", "schema": dict(request.output.schema)}
    return body


def effort_of(request: Request, variant: str | None) -> str | None:
    """What opencode calls the variant of a model."""
    return request.reasoning if isinstance(request.reasoning, str) else variant


def _part(part: object) -> dict[str, Any]:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Image(media_type=mime):
            return {"type": "file", "mime": mime, "url": part.as_url}
        case File(data=bytes(), media_type=mime, name=name):
            return {"type": "file", "mime": mime, "filename": name, "url": part.as_url}
        case Audio() | File():
            raise InvalidRequestError(f"opencode: a prompt takes no {type(part).__name__.lower()} of this kind")
        case _:
            raise InvalidRequestError(f"opencode: {type(part).__name__} is nothing that a user says")


def run_arguments(
    turn: Turn, *, session: Session | None, agent: str | None, variant: str | None, title: str, plain: bool = False
) -> list[str]:
    """The arguments of `opencode run`, without the prompt."""
    request = turn.request
    arguments = ["run"] if plain else ["run", "--format", "json", "--thinking"]
    if request.model:
        model_of(request.model)
        arguments += ["--model", request.model]
    if session is not None:
        arguments += ["--session", session.id, *(["--fork"] if session.fork else [])]
    else:
        arguments += ["--title", title]
    if agent:
        arguments += ["--agent", agent]
    if (effort := effort_of(request, variant)) is not None:
        arguments += ["--variant", effort]
    return arguments


def run_prompt(turn: Turn) -> str:
    """What is written to its standard input. Raises :class:`InvalidRequestError` for what is no text."""
    if any(not isinstance(part, Text) for part in turn.parts):
        raise InvalidRequestError('opencode: interface="run" takes text alone; the others take images, too')
    output = turn.request.output
    return turn.text if output is None else f"{turn.text}\n\n{schema_prompt(output)}"
