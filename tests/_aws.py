"""An AWS environment for tests that has nothing of the machine's: keys that are not keys, and no files, roles or metadata."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ACCESS, SECRET, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI+not+a+secret", "a-session-token"
REGION = "eu-west-1"


def isolate(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Nothing of AWS is in the environment, and no file of the user's is read."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def set_keys(monkeypatch: pytest.MonkeyPatch, *, region: str | None = REGION) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    if region is not None:
        monkeypatch.setenv("AWS_REGION", region)
