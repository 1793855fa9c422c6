"""A contact sheet of a data set: a clip of each of its first videos, as networks see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.records import read_shard
from pipelines.schema import ClipSpec
from tfgma.pictures import clip_strip, contact_sheet, png_bytes, with_caption

MOST_VIDEOS = 12


def write_contact_sheet(dataset: Path, index: dict[str, Any], picture: Path) -> Path | None:
    """Writes the picture (frames, joints, flow of one clip a video, classes in turn) and returns its path.

    None if no video gave a clip.
    """
    spec = ClipSpec.model_validate(index["clip"])
    strips = []
    for entry in _in_turn([entry for entry in index["videos"] if entry["shard"]])[:MOST_VIDEOS]:
        clip, _ = next(read_shard(dataset / "shards" / entry["shard"], spec, index["pictures"]))
        text = f"{entry['label']}  {entry['subject']}  from {clip.start_seconds:.1f} s"
        strips.append(with_caption(clip_strip(clip, spec.max_flow_px), text))
    if not strips:
        return None
    picture.write_bytes(png_bytes(contact_sheet(strips, columns=2 if spec.size > 128 else 3)))
    return picture


def _in_turn(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry of each class, then the next of each, and so on."""
    seen: dict[str, int] = {}
    order = []
    for entry in entries:
        seen[entry["label"]] = seen.get(entry["label"], 0) + 1
        order.append((seen[entry["label"]], entry["label"], entry))
    return [entry for _, _, entry in sorted(order, key=lambda item: item[:2])]
