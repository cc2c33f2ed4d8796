"""Structured output: a Python type to the JSON Schema that is asked for, and the answer back to the type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from .events import InvalidRequestError, MaxOutputTokensError, ProtocolError, Reply
from .protocols import OutputSchema

_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)


class OutputSpec:
    """What `output=` means: a msgspec Struct, dataclass, TypedDict, pydantic model, or a JSON Schema as a dict."""

    def __init__(self, wanted: Any) -> None:
        self._wanted = wanted
        if isinstance(wanted, Mapping):
            name, schema = str(wanted.get("title") or "output"), dict(wanted)
        else:
            name = getattr(wanted, "__name__", "output")
            schema = self._schema_of(wanted)
        self.request = OutputSchema(re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "output", _strict(schema))

    @staticmethod
    def _schema_of(wanted: Any) -> dict[str, Any]:
        if hasattr(wanted, "model_json_schema"):
            return cast("dict[str, Any]", wanted.model_json_schema())
        try:
            (schema,), components = msgspec.json.schema_components([wanted], ref_template="#/$defs/{name}")
        except (TypeError, msgspec.ValidationError) as error:
            raise InvalidRequestError(
                f"output={wanted!r}: {error} (use a Struct, dataclass, TypedDict, pydantic model or JSON Schema)"
            ) from None
        if "$ref" in schema:
            schema = components.pop(schema["$ref"].rpartition("/")[2])
        return {**schema, "$defs": components} if components else schema

    def parse(self, reply: Reply[object]) -> object:
        """The answer as the wanted type. Raises ProtocolError with the text, MaxOutputTokensError where it was cut."""
        fenced = _FENCE.fullmatch(reply.text)  # models that are asked by prompt like to fence their JSON
        text = fenced[1] if fenced else reply.text
        try:
            if hasattr(self._wanted, "model_validate_json"):
                return self._wanted.model_validate_json(text)
            if isinstance(self._wanted, Mapping):
                return msgspec.json.decode(text)
            return msgspec.json.decode(text, type=self._wanted)
        except ValueError as error:  # msgspec's and pydantic's errors are both ValueErrors
            if reply.finish_reason == "length":
                raise MaxOutputTokensError(
                    "the output limit was reached before the answer was whole", partial_text=reply.text, partial=reply
                ) from error
            raise ProtocolError(
                f"the answer is not a valid {self.request.name}: {error}",
                body=reply.text,
                partial=reply,
                retryable=False,
            ) from error


def _strict(schema: Any) -> Any:
    """The schema as strict output wants it: objects closed, every property required."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: _strict(value) if key != "default" else value for key, value in schema.items()}
    if out.get("type") == "object" and isinstance(properties := out.get("properties"), dict):
        out.setdefault("additionalProperties", False)
        out["required"] = list(properties)
    return out
