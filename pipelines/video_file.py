"""Decoded frames of a video file, in the order of display."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipelines.optional import load
from pipelines.schema import RefusedError

CONTAINERS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,h264,hevc,m4v,mjpeg,ivf,dv"
"""FFmpeg's names of the formats that are opened. No playlists among them: they name other files."""

MOST_PIXELS = 8192 * 4320
"""Width times height of the largest picture that is decoded: 8K of the cinema."""


LEAST_SIDE_OF_FIELDS = 16
"""Pixels of the short side of a picture that is deinterlaced; FFmpeg's filter refuses smaller ones."""


def open_video(path: Path, threads: int = 2) -> tuple[Any, Any]:
    """The opened file (PyAV's container) with its picture stream, ready to decode by so many threads.

    Raises:
        RefusedError: no such file, not a video, no picture stream, or an unknown codec.
    """
    av = load("av", "runtime")
    if not path.is_file():
        raise RefusedError(f"a video must be an existing file. Received: {str(path)!r}")
    options = {
        "format_whitelist": CONTAINERS,
        "protocol_whitelist": "file",
        # FFmpeg decodes some frames to learn what the streams are; they can be bombs already.
        "max_pixels": str(MOST_PIXELS),
    }
    try:
        container = av.open(str(path), options=options, **_for_tags(av.__version__))
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RefusedError(
            f"a video must be a complete file that FFmpeg can open. Received: {path.name} ({reason}). "
            "Copy it again from the camera"
        ) from error
    try:
        return container, _picture_stream(container, path, threads)
    except BaseException:
        container.close()
        raise


def _for_tags(version: str) -> dict[str, str]:
    """Before PyAV 19, which has no such option, a file whose tags are no UTF-8 is not opened without it."""
    return {"metadata_errors": "replace"} if int(version.split(".")[0]) < 19 else {}


def _picture_stream(container: Any, path: Path, threads: int) -> Any:
    """The first stream of moving pictures, with its decoder's limits set."""
    av = load("av", "runtime")
    # Cover pictures are streams of one frame.
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        raise RefusedError(
            f"a video must have a picture stream. Received: {path.name}, which has none. Name a film, not a "
            "sound recording"
        )
    stream = next((one for one in streams if one.codec_context is not None), None)
    if stream is None:
        raise RefusedError(
            f"a video must have a codec that FFmpeg decodes. Received: {path.name}, whose codec it does not "
            "know. Convert the file to H.264"
        )
    codec = stream.codec_context
    codec.options = {"max_pixels": str(MOST_PIXELS)}
    codec.thread_type = "AUTO"
    codec.thread_count = threads
    return stream


def decoded_frames(
    container: Any, stream: Any, *, failed: Callable[[], None], deinterlaced: Callable[[], None]
) -> Iterator[tuple[float | None, Any]]:
    """Frames (PyAV's VideoFrame) with their times in the file, seconds; None where it gives none.

    Interlaced frames are deinterlaced, `deinterlaced` called for each. What does not decode, or only with
    errors in the picture, is passed over and `failed` called.
    """
    # AVI has no times of display: FFmpeg guesses them, wrongly where B-frames refer to B-frames. The times of
    # decoding run through the frames, however they are ordered, at the right pace.
    guessed = container.format.name == "avi" and stream.codec_context.has_b_frames
    for frame in _progressive(_sound_frames(container, stream, failed), deinterlaced):
        stamp = frame.dts if guessed or frame.pts is None else frame.pts
        time_base = frame.time_base or stream.time_base
        yield (None if stamp is None else float(stamp * time_base)), frame


def _sound_frames(container: Any, stream: Any, failed: Callable[[], None]) -> Iterator[Any]:
    """Frames that decode without errors."""
    for frame in _frames(container, stream, failed):
        if frame.is_corrupt:
            failed()
        else:
            yield frame


def _frames(container: Any, stream: Any, failed: Callable[[], None]) -> Iterator[Any]:
    """Frames, also those after a part that does not decode, up to where the file cannot be read."""
    av = load("av", "runtime")
    times = _indexed_times(container, stream)

    def decoded(packet: Any) -> list[Any]:
        try:
            return stream.decode(packet)
        except (av.FFmpegError, OSError):
            failed()
            return []

    try:
        for packet in container.demux(stream):
            if packet.pos in times:
                packet.pts = packet.dts = times[packet.pos]
            # The last one is empty; what the decoder holds then is asked for below.
            if packet.size:
                yield from decoded(packet)
    except IndexError:
        pass  # PyAV's, behind the last packet of a file within which further streams begin
    except (av.FFmpegError, OSError):
        failed()
    yield from decoded(None)


def _indexed_times(container: Any, stream: Any) -> dict[int, int]:
    """Position in an AVI -> time, by the file's index; empty for other formats.

    AVI stores no times, and FFmpeg counts the packets that it finds: after damage it counts too few.
    """
    if container.format.name != "avi":
        return {}
    header_bytes = 8
    return {entry.pos + header_bytes: entry.timestamp for entry in stream.index_entries}


def _progressive(frames: Iterator[Any], deinterlaced: Callable[[], None]) -> Iterator[Any]:
    """The frames, those of two fields deinterlaced."""
    graph, made_for = None, None
    for frame in frames:
        kind = (frame.width, frame.height, frame.format.name)
        if graph is not None and kind != made_for:
            yield from _drained(graph, None)
            graph = None
        if graph is None and frame.interlaced_frame and min(kind[:2]) >= LEAST_SIDE_OF_FIELDS:
            graph, made_for = _deinterlacer(frame), kind
        if graph is None:
            yield frame
        else:
            if frame.interlaced_frame:
                deinterlaced()
            yield from _drained(graph, frame)
    if graph is not None:
        yield from _drained(graph, None)


def _deinterlacer(frame: Any) -> Any:
    """A filter from frames like this one to as many progressive ones."""
    av = load("av", "runtime")
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    # Only frames that say they are interlaced; one frame for two fields, as timestamps belong to frames.
    filters = [graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")]
    graph.link_nodes(source, *filters).configure()
    return graph


def _drained(graph: Any, frame: Any) -> Iterator[Any]:
    """What the filter gives for one more frame; None: for the end."""
    av = load("av", "runtime")
    graph.vpush(frame)
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
