"""The upstream and the workers as child processes, each with an environment that holds nothing of the user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .clients import ROWS
from .peers import is_installed, python_of
from .upstream import AUTHORITY

ROOT = Path(__file__).resolve().parent.parent

QUIET = {
    # keys that some libraries want to see before they begin
    "OPENAI_API_KEY": "x",
    # no telemetry, no tracing, no look-ups in the net
    "DO_NOT_TRACK": "1",
    "OTEL_SDK_DISABLED": "true",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    # an upstream on loopback, and more connections to it than 500
    "LITER_LLM_ALLOW_PRIVATE": "1",
    "AIOHTTP_CONNECTOR_LIMIT": "10000",
    "AIOHTTP_CONNECTOR_LIMIT_PER_HOST": "10000",
}


def environment(home: str, authority: Path | None = None) -> dict[str, str]:
    """Of every child: no proxies, no keys, no settings of the user's; `authority` is whom TLS clients trust."""
    given = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "PYTHONPATH": str(ROOT), **QUIET}
    return given if authority is None else {**given, "SSL_CERT_FILE": str(authority)}


class WorkerProcess:
    def __init__(self, client: str, base_url: str, env: dict[str, str]) -> None:
        self.client = client
        self.slow = ROWS[client].slow
        peer = ROWS[client].peer
        python = python_of(peer) if peer else sys.executable
        self._process = _spawn([str(python), "-m", "benchmarks.worker", client, base_url], env)

    def do(self, mode: str, **arguments: Any) -> dict[str, Any]:
        """Run one command. The worker has the machine to itself meanwhile: we wait."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"mode": mode, **arguments}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker of {self.client} ended")
        result: dict[str, Any] = json.loads(line)
        if "error" in result:
            raise RuntimeError(f"{self.client}, {mode} {arguments}:\n{result['error']}")
        return result

    def close(self) -> None:
        _end(self._process)


class Machine:
    """A running upstream, and workers for it."""

    def __init__(self, base_url: str, env: dict[str, str]) -> None:
        self.base_url = base_url
        self.env = env

    @contextmanager
    def workers(self, clients: Sequence[str]) -> Iterator[list[WorkerProcess]]:
        with ExitStack() as stack:
            workers = []
            for client in clients:
                worker = WorkerProcess(client, self.base_url, self.env)
                stack.callback(worker.close)
                workers.append(worker)
            yield workers

    def output_of(self, code: str) -> str:
        """What a fresh interpreter prints that runs this code."""
        output, _ = _spawn([sys.executable, "-c", code], self.env).communicate()
        return output


@contextmanager
def upstream(*, tls: bool = False) -> Iterator[Machine]:
    """With `tls` it speaks nothing else, and its clients trust its certificate through SSL_CERT_FILE."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        env = environment(folder, Path(folder, AUTHORITY) if tls else None)
        process = _spawn([sys.executable, "-m", "benchmarks.upstream", *(("--tls", folder) if tls else ())], env)
        assert process.stdout is not None
        try:
            port = process.stdout.readline()
            if not port:
                raise RuntimeError("the upstream did not start")
            yield Machine(f"{'https' if tls else 'http'}://127.0.0.1:{int(port)}/v1", env)
        finally:
            _end(process)


def measurable(clients: Sequence[str]) -> tuple[str, ...]:
    """Those whose library is there: peers have environments of their own, which may not have been made."""
    return tuple(client for client in clients if not ROWS[client].peer or is_installed(ROWS[client].peer))


def _spawn(command: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=env["HOME"])


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
