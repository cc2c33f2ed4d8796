"""The pytest fixture `asyncllm_server`; loaded by pytest itself once asyncllm is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ._server import Server


@pytest.fixture
def asyncllm_server() -> Iterator[Server]:
    """A running server of the demo models; give it a script with `asyncllm_server.play(Answer.text("Hello"))`.

    It has a thread of its own, so that sync and async tests under any plugin can use it.
    """
    from ._threads import serve_in_thread  # only now: every run of pytest loads this file

    with serve_in_thread() as server:
        yield server
