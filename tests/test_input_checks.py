"""Options and input that make no sense are refused by the client itself, before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from asyncllm._input import request_from
from asyncllm.events import InvalidRequestError, Message


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_token": 5}, "max_tokens"),
        ({"max_tokens": 0}, "at least 1"),
        ({"max_tokens": 1.5}, "whole number"),
        ({"max_tokens": True}, "whole number"),
        ({"temperature": 2.5}, "from 0 to 2"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"seed": "1"}, "seed"),
        ({"reasoning": "a lot"}, "minimal"),
        ({"extra_body": []}, "dict"),
        ({"extra_body": {"a": object()}}, "not JSON"),
        ({"extra_headers": ["x"]}, "dict"),
        ({"extra_headers": {"a": "b\r\nc: d"}}, "printable"),
        ({"extra_headers": {"a": "é"}}, "printable"),
        ({"extra_headers": {"a": 1}}, "printable"),
        ({"tools": [1]}, r"tools\[0\]"),
        ({"tools": [{"function": {}}]}, r"tools\[0\]"),
        ({"timeout": "1"}, "timeout"),
        ({"timeout": 0}, "positive"),
        ({"timeout": float("nan")}, "positive"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: Any, says: str) -> None:
    """Each with an error that says what would."""
    with pytest.raises(InvalidRequestError, match=says):
        request_from("m", "Hi", options)


@pytest.mark.parametrize(
    "given", [[], b"Hi", 1, None, [1], [Message("user", "a"), "b"], {"role": "nobody", "content": ""}]
)
def test_input_that_makes_no_sense_is_refused(given: Any) -> None:
    """Anything but text, a message, or a list of messages."""
    with pytest.raises(InvalidRequestError):
        request_from("m", given, {})
