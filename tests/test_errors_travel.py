"""Errors cross processes, logs and JSON: whole, of the same class, and without a secret."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from asyncllm import events
from asyncllm.events import (
    ContentBlockedError,
    IncompleteStreamError,
    LLMError,
    MaxOutputTokensError,
    RateLimitError,
    Reply,
    ServerError,
    StreamError,
    TotalTimeout,
    UnknownError,
    error_from_dict,
    event_from_json,
    event_to_json,
    redact,
)
from asyncllm.events._errors import BY_KIND, ErrorKind, unwrap
from asyncllm.protocols import classify

CLASSES = [value for value in vars(events).values() if isinstance(value, type) and issubclass(value, LLMError)]
FIELDS: dict[str, Any] = {
    "status": 429,
    "code": "c",
    "provider": "p",
    "model": "m",
    "request_id": "r",
    "retryable": True,
    "retry_after": 1.5,
    "body": "{}",
}
OWN: dict[type[LLMError], dict[str, Any]] = {
    RateLimitError: {"reset_time": datetime(2026, 1, 1, tzinfo=UTC)},
    ContentBlockedError: {"block_reason": "SAFETY"},
    MaxOutputTokensError: {"partial_text": "half"},
}


def full(cls: type[LLMError]) -> LLMError:
    return cls("what happened", partial=Reply(text="so far"), **FIELDS, **OWN.get(cls, {}))


@pytest.mark.req("seed-C")
@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("way", ["pickle", "copy", "deepcopy"])
def test_errors_travel_whole(cls: type[LLMError], way: str) -> None:
    """Class, message, every field, the partial reply, notes and args."""
    error = full(cls)
    error.add_note("while testing")
    ways = {"pickle": lambda it: pickle.loads(pickle.dumps(it)), "copy": copy.copy, "deepcopy": copy.deepcopy}
    other = ways[way](error)
    assert type(other) is cls
    assert {**other.__dict__, "__notes__": None} == {**error.__dict__, "__notes__": None}
    assert other.partial == Reply(text="so far")
    assert (other.args, str(other), repr(other)) == (error.args, str(error), repr(error))
    assert other.__notes__ == ["while testing"]
    assert isinstance(other, LLMError)


@pytest.mark.req("seed-C")
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol(protocol: int) -> None:
    """Ray and multiprocessing choose their own."""
    assert pickle.loads(pickle.dumps(full(RateLimitError), protocol)).reset_time == datetime(2026, 1, 1, tzinfo=UTC)


class TeamError(ServerError):
    """A user's own class, with a field that the base knows nothing of."""

    def __init__(self, team: str) -> None:
        super().__init__(f"{team} failed")
        self.team = team


@pytest.mark.req("seed-C")
def test_subclasses_travel_too() -> None:
    """Whatever arguments their constructors take."""
    error = pickle.loads(pickle.dumps(TeamError("red")))
    assert (type(error), error.team, error.message) == (TeamError, "red", "red failed")


@pytest.mark.parametrize("cls", CLASSES)
def test_errors_are_json(cls: type[LLMError]) -> None:
    """to_dict is JSON, and error_from_dict reads it back, all but the partial reply; also as a stream's event."""
    error = full(cls)
    data = error.to_dict()
    assert (data["class"], data["kind"]) == (cls.__name__, cls.kind)
    other = error_from_dict(json.loads(json.dumps(data)))
    assert type(other) is cls
    assert {**other.__dict__, "partial": None} == {**error.__dict__, "partial": None}
    event = event_from_json(event_to_json(StreamError(error)))
    assert isinstance(event, StreamError)
    assert event.error.to_dict() == data


@pytest.mark.parametrize("data", [{"class": "FutureError", "kind": "new", "message": "m"}, {"class": "Exception"}, {}])
def test_an_unknown_class_is_an_unknown_error(data: dict[str, object]) -> None:
    """Another version's errors are still errors; nothing but our classes is ever made."""
    error = error_from_dict(data)
    assert type(error) is UnknownError
    assert error.message == data.get("message", "")


def test_a_dict_cannot_set_what_is_no_field() -> None:
    """Data from outside sets fields, not attributes that the classes mean something by."""
    error = error_from_dict({"class": "ServerError", "message": "m", "__class__": "x", "to_dict": "x", "partial": "x"})
    assert type(error) is ServerError
    assert callable(error.to_dict)
    assert error.partial is None


@pytest.mark.req("seed-C")
def test_a_provider_s_words_are_cut() -> None:
    """300 characters of its message, 4096 of the body; our own messages are as long as they are."""
    error = classify({"error": "x" * 301}, text="y" * 5000)
    assert error.message == "x" * 300 + "…"
    assert error.body == "y" * 4096
    assert classify({"error": "x" * 300}).message == "x" * 300
    assert LLMError("x" * 999).message == "x" * 999


@pytest.mark.parametrize("cls", CLASSES)
def test_kinds_and_classes_agree(cls: type[LLMError]) -> None:
    """Each class has a kind of the taxonomy, whose own class is it or an ancestor."""
    assert cls is LLMError or issubclass(cls, BY_KIND[cls.kind])
    assert set(BY_KIND) == set(ErrorKind.__args__)  # type: ignore[attr-defined]


def test_what_may_be_retried() -> None:
    """By class, unless somebody knows better."""
    retryable = {cls.__name__ for cls in CLASSES if cls("x").retryable}
    assert "ServerError" in retryable
    assert not retryable & {"AuthenticationError", "BillingError", "InvalidRequestError", "ContentBlockedError"}
    assert not TotalTimeout("x").retryable
    assert IncompleteStreamError("x").retryable
    assert ServerError("x", retryable=False).retryable is False


def test_str_says_where_and_what() -> None:
    """Provider, model, message, and the facts that a support asks for; nothing that is not known."""
    assert str(full(ServerError)) == "p/m: what happened (HTTP 429, c, request r)"
    assert str(LLMError("m", provider="p")) == "p: m"
    assert str(LLMError("m")) == "m"
    assert repr(LLMError("m")) == "LLMError('m')"


# ---- secrets

SECRETS = [
    "sk-" + "a1B2" * 8,
    "sk-proj-" + "a1B2_-" * 5,
    "sk-ant-oat01-" + "a1B2" * 8,
    "gsk_" + "a1B2" * 8,
    "xai-" + "a1B2" * 8,
    "AIza" + "a1B2-_" * 6,
    "ya29." + "a1B2" * 8,
    "hf_" + "a1B2" * 8,
]
PLACES = [
    "Incorrect API key provided: {}.",
    "Authorization: Bearer {}",
    '{{"api_key": "{}"}}',
    "https://e.test/?key={}&x=1",
    "x-api-key={}",
]


@pytest.mark.req("seed-C")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("secret", SECRETS)
def test_no_secret_is_kept(secret: str, place: str) -> None:
    """Providers echo keys in their errors: not in the message, the body, a text, a pickle or a dump."""
    text = place.format(secret)
    error = LLMError(text, body=f"start {text} end")
    event = event_to_json(StreamError(error)).decode()
    for shown in (str(error), repr(error), error.body, json.dumps(error.to_dict()), str(pickle.dumps(error)), event):
        assert shown is not None
        assert secret not in shown
        assert secret[8:] not in shown
    assert "***" in error.message


@pytest.mark.req("seed-C")
@pytest.mark.parametrize(
    "text",
    [
        "api_key=plainword123",
        'api-key: "plainword123"',
        "client_secret=plainword123",
        "access_token=plainword123",
        "Bearer plainword123",
        "Authorization: Basic plainword123",
        "authorization: plainword123",
        "x-api-key: plainword123",
        '{"authorization": "Bearer plainword123"}',
    ],
)
def test_credentials_are_found_by_their_names(text: str) -> None:
    """Whatever the key looks like."""
    assert "plainword123" not in redact(text)


@pytest.mark.req("seed-C")
def test_a_secret_cut_by_the_limit_is_not_half_kept() -> None:
    """Clipping comes after masking: a key at the border leaves no part of itself."""
    secret = "sk-" + "a1B2c3D4" * 8
    for limit, field in ((300, "message"), (4096, "body")):
        for shift in (5, 15, 30):
            text = "x" * (limit - shift) + " " + secret
            error = classify({"error": text}, text=text)
            assert "a1B2" not in getattr(error, field)


def test_secrets_in_codes_and_ids_are_masked() -> None:
    """Every text of a provider passes through it."""
    secret = SECRETS[0]
    error = LLMError("m", code=secret, request_id=f"id {secret}")
    assert secret not in str(error)
    assert secret not in json.dumps(error.to_dict())


@pytest.mark.parametrize(
    "text", ["skill-based", "the key is invalid", "sk-short", "task-1234567890123456789", "bearer of news", "pk_1"]
)
def test_plain_words_are_not_masked(text: str) -> None:
    """What only looks a little like a secret is kept."""
    assert redact(text) == text


# ---- exception groups


@pytest.mark.req("seed-C")
def test_groups_are_unwrapped() -> None:
    """The first typed leaf, however deep; else the first leaf; an exception that is no group is itself."""
    typed, plain = ServerError("typed"), ValueError("plain")
    nested = BaseExceptionGroup("a", [plain, ExceptionGroup("b", [ExceptionGroup("c", [typed]), KeyError()])])
    assert unwrap(nested) is typed
    assert unwrap(ExceptionGroup("a", [ExceptionGroup("b", [plain]), KeyError()])) is plain
    assert unwrap(plain) is plain
