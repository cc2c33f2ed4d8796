"""The modes in which all the peers are measured, beside the floor, us, and the SDK that most of them are made of."""

from __future__ import annotations

from .._processes import Machine, measurable
from .._series import Table
from .bursts import burst_table
from .drips import drip_table
from .memory import memory_table
from .requests import request_table

_CLIENTS = (
    "raw",
    "asyncllm",
    "openai",
    "any-llm",
    "pydantic-ai",
    "langchain-openai",
    "liter-llm",
    "litellm",
)


def burst(machine: Machine, quick: bool) -> list[Table]:
    return [burst_table(machine, measurable(_CLIENTS), quick)]


def drip(machine: Machine, quick: bool) -> list[Table]:
    return [drip_table(machine, measurable(_CLIENTS), quick)]


def requests(machine: Machine, quick: bool) -> list[Table]:
    return [request_table(machine, measurable(_CLIENTS), quick)]


def memory(machine: Machine, quick: bool) -> list[Table]:
    return [memory_table(machine, measurable(_CLIENTS), quick)]
