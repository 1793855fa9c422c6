"""A contact sheet of a data set: a clip of each of its first videos, as networks see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.records import read_shard
from pipelines.schema import ClipSpec
from tfgma.pictures import clip_strip, contact_sheet, png_bytes, with_caption

MOST_VIDEOS = 12


def write_contact_sheet(dataset: Path, index: dict[str, Any], picture: Path) -> Path | None:
    """Writes the picture (frames, joints, flow and quality of a clip a video, classes in turn); its path.

    What the data set does not hold is not shown.

    None if no video gave a clip.
    """
    spec = ClipSpec.model_validate(index["clip"])
    strips = []
    for entry in _in_turn([entry for entry in index["videos"] if entry["shard"]])[:MOST_VIDEOS]:
        clip, _ = next(read_shard(dataset / "shards" / entry["shard"], spec, index["modalities"]))
        text = f"{entry['label']}  {entry['subject']}  from {clip.start_seconds:.1f} s"
        strip = with_caption(clip_strip(clip, spec.max_flow_px), _quality_line(entry, clip.start_seconds))
        strips.append(with_caption(strip, text))
    if not strips:
        return None
    picture.write_bytes(png_bytes(contact_sheet(strips, columns=2 if spec.size > 128 else 3)))
    return picture


def _quality_line(entry: dict[str, Any], start_seconds: float) -> str:
    """The figures of the clip that starts there; of a data set of joints alone, how often a body was seen."""
    near = [one for one in entry.get("windows", []) if abs(one["start_seconds"] - start_seconds) < 1e-2]
    if not near:
        return f"body {entry['quality']['body_share']:.0%}"
    window = near[0]
    return (
        f"limbs inside {window['visible']:.0%}  outline {window['mask_certainty']:.0%}  "
        f"sharp {window['sharpness']:.2f}"
    )


def _in_turn(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry of each class, then the next of each, and so on."""
    seen: dict[str, int] = {}
    order = []
    for entry in entries:
        seen[entry["label"]] = seen.get(entry["label"], 0) + 1
        order.append((seen[entry["label"]], entry["label"], entry))
    return [entry for _, _, entry in sorted(order, key=lambda item: item[:2])]
