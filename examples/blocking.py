"""The same without asyncio."""

from __future__ import annotations

import sys

from asyncllm import SyncClient


def main(model: str) -> None:
    with SyncClient(model) as client:
        for text in client.stream("Say something short.").text:
            print(text, end="", flush=True)
        print()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "demo/echo")
