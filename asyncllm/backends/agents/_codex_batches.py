"""Events of a turn as batches, for those who wait for its first content."""

from __future__ import annotations

from collections.abc import Sequence

from ...events import Retrying, StreamEvent, has_content


def batches_of(events: Sequence[StreamEvent], *, content: bool) -> list[list[StreamEvent]]:
    """Before any content, the agent's own attempts are told one by one: whoever counts attempts looks for them. `content`:
    whether something was said before."""
    batches: list[list[StreamEvent]] = []
    batch: list[StreamEvent] = []
    for event in events:
        if isinstance(event, Retrying) and not content and not has_content(batch):
            if batch:
                batches.append(batch)
            batches.append([event])
            batch = []
        else:
            batch.append(event)
            content = content or has_content((event,))
    if batch:
        batches.append(batch)
    return batches
