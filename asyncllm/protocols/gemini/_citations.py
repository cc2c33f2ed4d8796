"""Grounding, attributions and fetched pages as citations. Google counts UTF-8 bytes; ours count characters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...events import Citation
from .._numbers import whole_number
from ._wire import pick, pick_object, pick_objects, pick_text

_CONTINUATION = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that begin no character."""

_SOURCES = ("web", "retrievedContext", "maps", "image")


class CitationCollector:
    """Takes the metadata of the candidate as it comes, and gives each source once, when the text is whole."""

    __slots__ = ("_found", "_sources")

    def __init__(self) -> None:
        self._found: list[Citation] = []  # with offsets in bytes
        self._sources: list[dict[str, Any]] = []

    def add(self, candidate: Mapping[str, Any]) -> None:
        if (grounding := pick_object(candidate, "groundingMetadata")) is not None:
            self._found += self._grounded(grounding)
        if (attributed := pick_object(candidate, "citationMetadata")) is not None:
            items = pick_objects(attributed, "citationSources") or pick_objects(attributed, "citations")
            self._found += [_citation(item, item, item) for item in items]
        if (fetched := pick_object(candidate, "urlContextMetadata")) is not None:
            for item in pick_objects(fetched, "urlMetadata"):
                if url := pick_text(item, "retrievedUrl"):
                    self._found.append(Citation(url=url, raw=item))

    def _grounded(self, grounding: Mapping[str, Any]) -> Iterator[Citation]:
        sources = pick_objects(grounding, "groundingChunks")
        fresh = sources or self._sources  # what supports point into may have come in a chunk before
        self._sources = fresh
        cited: set[int] = set()
        for support in pick_objects(grounding, "groundingSupports"):
            indices = pick(support, "groundingChunkIndices")
            for index in indices if isinstance(indices, list) else ():
                at = whole_number(index)
                if at is not None and 0 <= at < len(fresh):
                    cited.add(at)
                    segment = pick_object(support, "segment") or {}
                    yield _citation(_source(fresh[at]), segment, {"chunk": fresh[at], "support": support})
        for at, chunk in enumerate(sources):
            if at not in cited:
                yield _citation(_source(chunk), {}, {"chunk": chunk})

    def close(self, texts: Iterable[str]) -> list[Citation]:
        """The sources, each of a place once, with offsets in the characters of the text of the step."""
        if not self._found:
            return []
        unique = {(found.url, found.title, found.start, found.end): found for found in self._found}
        self._found = []
        offsets = [at for found in unique.values() for at in (found.start, found.end) if at is not None]
        place = character_offsets("".join(texts), offsets)
        return [
            Citation(
                url=found.url,
                title=found.title,
                start=None if found.start is None else place[found.start],
                end=None if found.end is None else place[found.end],
                quote=found.quote,
                raw=found.raw,
            )
            for found in unique.values()
        ]


def _source(chunk: Mapping[str, Any]) -> dict[str, Any]:
    return next((inner for name in _SOURCES if (inner := pick_object(chunk, name)) is not None), {})


def _citation(source: Mapping[str, Any], segment: Mapping[str, Any], raw: Mapping[str, object]) -> Citation:
    end = whole_number(pick(segment, "endIndex"))
    start = whole_number(pick(segment, "startIndex"))
    if end is not None and start is None:
        start = 0  # fields of 0 are left out
    return Citation(
        url=pick_text(source, "uri") or pick_text(source, "sourceUri"),
        title=pick_text(source, "title"),
        start=None if end is None else start,
        end=end,
        quote=pick_text(source, "text"),
        raw=raw,
    )


def character_offsets(text: str, offsets: Iterable[int]) -> dict[int, int]:
    """Offsets in the UTF-8 bytes of a text to offsets in its characters; linear in the text, for any number of them."""
    if text.isascii():
        return {at: min(max(0, at), len(text)) for at in offsets}
    data = text.encode("utf-8", "replace")
    places: dict[int, int] = {}
    seen = characters = 0
    for at in sorted(set(offsets)):
        until = min(max(0, at), len(data))
        characters += len(data[seen:until].translate(None, _CONTINUATION))
        seen = until
        places[at] = characters
    return places


def byte_offset(text: str, characters: int) -> int:
    """The reverse for one offset."""
    return len(text[:characters].encode("utf-8", "replace"))
