"""The libraries that asyncllm is compared with and that cannot or should not share its environment.

Each has a virtual environment of its own in `benchmarks/.venvs/<peer>`, made from the lock file beside this module.
"""

from __future__ import annotations

import os
from pathlib import Path

PEERS = {
    "litellm": "litellm",
    "liter-llm": "liter-llm",
    "any-llm": "any-llm-sdk[openai]",
    "pydantic-ai": "pydantic-ai-slim[openai]",
    "langchain-openai": "langchain-openai",
    "openai-agents": "openai-agents",
}
"""What each lock file was made from."""

LOCKS = Path(__file__).resolve().parent
ENVIRONMENTS = LOCKS.parent / ".venvs"


def lock_of(peer: str) -> Path:
    return LOCKS / f"{peer}.txt"


def marker_of(peer: str) -> Path:
    """A copy of the lock file from which the environment was made."""
    return ENVIRONMENTS / peer / "lock.txt"


def python_of(peer: str) -> Path:
    scripts = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    return ENVIRONMENTS / peer / scripts


def is_installed(peer: str) -> bool:
    """Whether its environment is there, and made from this lock file."""
    marker = marker_of(peer)
    return marker.exists() and marker.read_text() == lock_of(peer).read_text()


def version_of(peer: str, distribution: str) -> str:
    """The version that its lock file pins."""
    for line in lock_of(peer).read_text().splitlines():
        name, _, version = line.partition("==")
        if name.lower().replace("_", "-") == distribution:
            return version
    raise LookupError(f"{lock_of(peer).name} does not pin {distribution}")
