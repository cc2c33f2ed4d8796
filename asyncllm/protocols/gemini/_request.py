"""A Request as the body of POST models/M:streamGenerateContent.

Sources: the Gemini API and Vertex AI references (generateContent), the pages on thinking and structured output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...events import InvalidRequestError
from .._body import distinct_names, merge, written
from .._codec import Encoded
from .._history import schema_prompt
from .._reasoning import budget_of, effort_of
from .._request import ReasoningEffort, Request, Tool
from ._contents import Conversation
from ._quirks import GeminiQuirks, Thinking, generation
from ._schema import adapted_json_schema, openapi_schema
from ._wire import camel

TOOL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]*(/[A-Za-z0-9][A-Za-z0-9._@:-]*)*")
_PREFIXES = ("models/", "tunedModels/", "publishers/", "endpoints/", "projects/")

_LEVELS: dict[ReasoningEffort, str] = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "XHIGH",
}

_LOW_HIGH = {"MINIMAL": "LOW", "MEDIUM": "HIGH", "XHIGH": "HIGH"}

_GENERATION = frozenset(
    {"temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences", "seed", "presencePenalty"}
    | {"frequencyPenalty", "responseMimeType", "responseSchema", "responseJsonSchema", "responseModalities", "logprobs"}
    | {"responseLogprobs", "mediaResolution", "speechConfig", "thinkingConfig", "imageConfig", "audioTimestamp"}
    | {"routingConfig", "modelSelectionConfig", "enableEnhancedCivicAnswers"}
)
"""Fields of generationConfig, which `extra_body` may name without it."""


def encode_request(request: Request, quirks: GeminiQuirks, provider: str) -> Encoded:
    """Raises :class:`InvalidRequestError` for what cannot be said; what can be left out harmlessly becomes a warning."""
    warnings: list[str] = []
    conversation = Conversation(provider, request.model, warnings)
    conversation.add(request.messages)
    if not conversation.contents:
        raise InvalidRequestError("there is nothing to send: no messages with content")
    body: dict[str, Any] = {"contents": conversation.contents}
    system = [*([request.system] if request.system else []), *conversation.system]
    config: dict[str, Any] = {}
    _sampling(request, config)
    _thinking(request, quirks, config, warnings)
    _tools(request, quirks, body, warnings)
    _output(request, quirks, config, system, warnings)
    if system:
        body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    if config:
        body["generationConfig"] = config
    merge(body, _grouped(request.extra_body), joined=("tools",))
    if (body.get("generationConfig") or {}).get("candidateCount", 1) not in (None, 1):
        warnings.append("candidateCount > 1: only the first becomes events; the others are raw events (raw=True)")
    return Encoded(_path(request.model, quirks), written(body), warnings=tuple(warnings))


def _path(model: str, quirks: GeminiQuirks) -> str:
    if not _MODEL.fullmatch(model):
        raise InvalidRequestError(f"model {model!r} is no name that can stand in a path")
    if quirks.model_prefix != "models/":
        model = model.removeprefix("models/")
        if model.startswith("google/"):  # as the SDK takes it, too: publisher/model
            model = model.removeprefix("google/")
    if not model.startswith(_PREFIXES):
        model = quirks.model_prefix + model
    return f"/{model}:streamGenerateContent?alt=sse"


def _sampling(request: Request, config: dict[str, Any]) -> None:
    given = {
        "maxOutputTokens": request.max_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "stopSequences": list(request.stop) or None,
        "seed": request.seed,
    }
    config |= {name: value for name, value in given.items() if value is not None}


# ---- reasoning


def _thinking(request: Request, quirks: GeminiQuirks, config: dict[str, Any], warnings: list[str]) -> None:
    """A level since Gemini 3 (which cannot be told not to think at all), a budget of tokens for 2.5."""
    wanted = request.reasoning
    if wanted is None:
        return
    thinking: dict[str, Any] = {}
    match _means(request.model, quirks.thinking):
        case "none":
            if budget_of(wanted):
                warnings.append(f"{request.model} has no reasoning option: left out")
            return
        case "budget":
            least, most = _limits(request.model)
            budget = budget_of(wanted)
            thinking["thinkingBudget"] = limited = min(max(budget, least), most)
            if limited != budget and (isinstance(wanted, int) or wanted == "none"):
                warnings.append(
                    f"reasoning: {request.model} takes a budget of {least} to {most} tokens: {limited} is sent"
                )
        case _:
            effort = effort_of(wanted)
            level = _LEVELS[effort]
            thinking["thinkingLevel"] = level if quirks.levels == "all" else _LOW_HIGH.get(level, level)
            if effort == "none":
                warnings.append(f"reasoning cannot be turned off for {request.model}: the lowest level is sent")
    if quirks.include_thoughts and budget_of(wanted):
        thinking["includeThoughts"] = True
    config["thinkingConfig"] = thinking


def _means(model: str, quirk: Thinking) -> Thinking:
    if quirk != "auto":
        return quirk
    if "gemma" in model or generation(model) < (2, 5):
        return "none"
    return "budget" if generation(model) < (3, 0) else "level"


def _limits(model: str) -> tuple[int, int]:
    """The budgets that a 2.5 model takes: pro cannot be told not to think."""
    return (128, 32768) if "pro" in model else (0, 24576)


# ---- tools and structured output


def _tools(request: Request, quirks: GeminiQuirks, body: dict[str, Any], warnings: list[str]) -> None:
    tools, choice = request.tools, request.tool_choice
    if tools:
        distinct_names(tools)
        body["tools"] = [{"functionDeclarations": [_declaration(tool, quirks, warnings) for tool in tools]}]
    if quirks.server_tools:
        body["tools"] = [*body.get("tools", ()), *quirks.server_tools]
    calling: dict[str, Any] = {}
    if choice in ("auto", "none"):
        calling["mode"] = choice.upper()
    elif choice == "required":
        if not tools:
            raise InvalidRequestError("tool_choice 'required' needs tools")
        calling["mode"] = "ANY"
    elif choice is not None:
        if not any(tool.name == choice for tool in tools):
            known = ", ".join(tool.name for tool in tools) or "there are none"
            raise InvalidRequestError(
                f"tool_choice {choice!r} is not auto, none, required or the name of a tool ({known})"
            )
        calling |= {"mode": "ANY", "allowedFunctionNames": [choice]}
    if strict := [tool.name for tool in tools if tool.strict]:
        if choice in (None, "auto") and len(strict) == len(tools):
            calling["mode"] = "VALIDATED"  # what strict means here, for all tools or none
        elif choice in (None, "auto"):
            warnings.append(f"strict is for all tools or none: {', '.join(strict)} sent without strict")
    if quirks.stream_arguments and tools:
        calling["streamFunctionCallArguments"] = True
    if calling:
        body["toolConfig"] = {"functionCallingConfig": calling}


def _declaration(tool: Tool, quirks: GeminiQuirks, warnings: list[str]) -> dict[str, Any]:
    if not TOOL_NAME.fullmatch(tool.name):
        raise InvalidRequestError(
            f"tool name {tool.name!r}: a letter or _, then up to 63 letters, digits, _ . : and - are allowed"
        )
    declared: dict[str, Any] = {"name": tool.name}
    if tool.description:
        declared["description"] = tool.description
    if quirks.schema == "json_schema":
        if tool.parameters:
            declared["parametersJsonSchema"] = adapted_json_schema(tool.parameters)
    elif (schema := openapi_schema(tool.parameters, f"tool {tool.name}", warnings)).get("properties"):
        declared["parameters"] = schema  # an object without properties is refused: no parameters are said by none
    return declared


def _output(
    request: Request, quirks: GeminiQuirks, config: dict[str, Any], system: list[str], warnings: list[str]
) -> None:
    wanted = request.output
    if wanted is None:
        return
    if request.tools and generation(request.model) < (3, 0):
        warnings.append(
            f"{request.model} has no structured output beside tools: the schema is in the prompt, and the answer is checked "
            "here"
        )
        system.append(schema_prompt(wanted))
        return
    config["responseMimeType"] = "application/json"
    if quirks.schema == "json_schema":
        config["responseJsonSchema"] = adapted_json_schema(wanted.schema)
    else:
        config["responseSchema"] = openapi_schema(wanted.schema, "output", warnings)


# ---- extra_body


def _grouped(extra: Mapping[str, object]) -> dict[str, Any]:
    """The names in camelCase; what belongs into generationConfig goes there."""
    grouped: dict[str, Any] = {}
    inner: dict[str, Any] = {}
    for name, value in extra.items():
        key = camel(name)
        if key in _GENERATION:
            inner[key] = value
        elif key == "generationConfig" and isinstance(value, Mapping):
            inner |= {camel(str(field)): setting for field, setting in value.items()}
        else:
            grouped[key] = value
    if inner:
        grouped["generationConfig"] = inner
    return grouped
