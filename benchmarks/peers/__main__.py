"""Environments for the peers.

    python -m benchmarks.peers install [NAMES]     from the lock files; what is there already is kept
    python -m benchmarks.peers lock [NAMES]        lock files with the newest versions that can be installed together

Without names: all of them.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from . import ENVIRONMENTS, PEERS, is_installed, lock_of, marker_of, python_of

_PIP = ("-m", "pip", "--disable-pip-version-check")


def install(peer: str) -> None:
    if is_installed(peer):
        return
    print(f"{peer}: making its environment", file=sys.stderr, flush=True)
    _make_environment(ENVIRONMENTS / peer)
    lock = lock_of(peer)
    # the lock names everything, so that there is nothing to resolve
    _run(python_of(peer), *_PIP, "install", "--quiet", "--no-deps", "--requirement", lock)
    marker_of(peer).write_text(lock.read_text())


def lock(peer: str) -> None:
    print(f"{peer}: looking for the newest versions", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        environment = Path(folder)
        _make_environment(environment)
        python = environment / python_of(peer).relative_to(ENVIRONMENTS / peer)
        _run(python, *_PIP, "install", "--quiet", PEERS[peer])
        frozen = subprocess.run([python, *_PIP, "freeze"], check=True, capture_output=True, text=True).stdout
    made = f"CPython {platform.python_version()}, {platform.system()}"
    header = f"# pip freeze of an environment with nothing but {PEERS[peer]} ({made})\n"
    lock_of(peer).write_text(f"{header}# made by: python -m benchmarks.peers lock {peer}\n{frozen}")


def _make_environment(folder: Path) -> None:
    _run(sys.executable, "-m", "venv", "--clear", folder)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Environments for the peers.")
    parser.add_argument("command", choices=("install", "lock"))
    parser.add_argument("names", nargs="*", metavar="NAMES", help=f"some of {', '.join(PEERS)}; by default all")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.names if name not in PEERS]:
        parser.error(f"unknown peer {', '.join(unknown)}: there are {', '.join(PEERS)}")
    for peer in chosen.names or PEERS:
        (install if chosen.command == "install" else lock)(peer)


if __name__ == "__main__":
    main()
