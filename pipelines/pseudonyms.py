"""Keyed pseudonyms for the names in a data set that is to be shared."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.files import PART, written_whole
from pipelines.manifest import Source
from pipelines.schema import RefusedError

LOG = "deidentification.json"
"""In the data set's folder: what was removed, how often; no value and no key."""

KEY_BYTES = 32
DIGITS = 16
"""Of a pseudonym: 64 bits, so that two of a million names are alike once in 37 million data sets."""

ANYWHERE_FROM = 4
"""Names of so many letters are taken out of sentences wherever they stand, shorter ones as whole words."""

SAYS_NOTHING = frozenset({"video", "videos"})
"""File names that our own sentences hold."""

KEPT = (
    "class and its number",
    "split",
    "start and end",
    "box",
    "age_weeks",
    "figures of quality and alignment",
    "fingerprint of the movement",
    "flow and joints, of the face too",
)


class Pseudonyms:
    """Names by HMAC-SHA256 of a key: the same for the same name, and for nobody else to compute."""

    def __init__(self, key: bytes) -> None:
        """`key`: KEY_BYTES random bytes."""
        self._key = key

    @property
    def fingerprint(self) -> str:
        """By which a key is known again, and from which it cannot be found."""
        return self._of("key", "")

    def _of(self, kind: str, value: str) -> str:
        # Equal names of two kinds must not show that they are equal.
        return hmac.new(self._key, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()[:DIGITS]

    def subject(self, name: str) -> str:
        """A subject's."""
        return f"s{self._of('subject', name)}"

    def file_hash(self, sha256: str | None) -> str | None:
        """In place of a file's SHA-256, which whoever has the file could compute; None stays None."""
        if sha256 is None:
            return None
        return hmac.new(self._key, f"file\0{sha256}".encode(), hashlib.sha256).hexdigest()

    def source(self, one: Source) -> Source:
        """A video as the data set may know it: its file is still where it was."""
        video = f"v{self._of('video', one.id)}"
        return replace(
            one,
            id=video,
            file_name=video,
            subject=self.subject(one.subject),
            group=f"g{self._of('group', one.group)}",
            other={},
        )

    def sources(self, sources: Sequence[Source]) -> list[Source]:
        """Videos as the data set may know them, in an order that is not that of their names."""
        return sorted((self.source(one) for one in sources), key=lambda one: one.id)

    def folds(self, folds: list[dict[str, list[str]]]) -> list[dict[str, list[str]]]:
        """Folds of subjects."""
        return [
            {side: sorted(self.subject(name) for name in names) for side, names in fold.items()}
            for fold in folds
        ]

    def entry(self, entry: dict[str, Any], original: Source) -> dict[str, Any]:
        """A video's entry of dataset.json without what names it, from one made of `source(original)`."""
        taken = 0

        def clean(text: str | None) -> str | None:
            nonlocal taken
            if text is None:
                return None
            text, count = without_names(text, original, entry["id"])
            taken += count
            return text

        return entry | {
            "sha256": self.file_hash(entry["sha256"]),
            "left_out": clean(entry["left_out"]),
            "quality": entry["quality"] | {"damaged": clean(entry["quality"]["damaged"])},
            "windows": [
                window | {"reasons": [clean(reason) for reason in window["reasons"]]}
                for window in entry["windows"]
            ],
            "names_taken_out": taken,
        }


def without_names(text: str, source: Source, pseudonym: str) -> tuple[str, int]:
    """A sentence with `pseudonym` in place of all that names the video, and how often.

    Names are its file and the folders above it, subject, group and id.
    """
    path = source.path.absolute()
    whole = [str(path), str(path.resolve()), str(source.path), str(path.parent), path.name]
    own = {source.id, source.subject, source.group, path.stem} - SAYS_NOTHING
    anywhere = {*whole, *(name for name in own if len(name) >= ANYWHERE_FROM)}
    # A folder may be called "data": as a word of its own it stands for the folder, in others it does not.
    words = {*own, *path.parts} - anywhere - {path.anchor, source.label} - SAYS_NOTHING
    patterns = [
        re.escape(name) if name in anywhere else rf"(?<![^\W_]){re.escape(name)}(?![^\W_])"
        for name in sorted(anywhere | words, key=lambda name: (-len(name), name))
    ]
    return re.subn("|".join(patterns), pseudonym, text, flags=re.IGNORECASE)


def log_of(
    names: Pseudonyms, originals: Sequence[Source], entries: Sequence[dict[str, Any]], frames: bool
) -> dict[str, Any]:
    """What is written to LOG: counts and names of columns; no value that was removed, and no key.

    `frames`: whether the data set holds any.
    """
    columns = sorted({name for one in originals for name in one.other})
    pictures = {name: sum(entry["faces"][name] for entry in entries) for name in ("frames", "blanked_wholly")}
    return {
        "key_fingerprint": names.fingerprint,
        "replaced_by_pseudonyms": {
            "subject": len({one.subject for one in originals}),
            "group": len({one.group for one in originals}),
            "video, its file and its shard": len(originals),
            "sha256 of the file": len(originals),
            "names in sentences": sum(entry["names_taken_out"] for entry in entries),
        },
        "dropped_columns": {name: sum(bool(one.other.get(name)) for one in originals) for name in columns},
        "faces_blanked": pictures if frames else None,
        "never_read": ["audio", "metadata of the video file", "subtitles and data streams"],
        "kept": list(KEPT),
    }


def write_log(out: Path, log: dict[str, Any]) -> None:
    """Writes LOG, all of it or nothing."""
    with written_whole(out / LOG) as temporary:
        temporary.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")


def refuse_mixture(out: Path, names: Pseudonyms | None) -> None:
    """Raises where a build would put names, or other pseudonyms, beside what `out` holds.

    Raises:
        RefusedError: `out` holds a de-identified data set of another key and `names` is another's or None,
            or it holds something else and `names` is given.
    """
    remedy = "Name a new folder, or delete this one"
    if not out.is_dir():
        return
    try:
        held = any(path.is_file() and not path.name.endswith(PART) for path in out.rglob("*"))
        log = json.loads((out / LOG).read_text(encoding="utf-8")) if (out / LOG).exists() else None
        known = None if log is None else log["key_fingerprint"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RefusedError(
            f"{LOG} must say by which key a data set was de-identified. Received: {str(out)!r}, where it "
            f"cannot be read ({type(error).__name__}). {remedy}"
        ) from error
    if names is None and known is not None:
        raise RefusedError(
            f"a de-identified data set is completed with --deidentify and its key. Received: {str(out)!r} "
            f"without. {remedy}, or give the key"
        )
    if names is not None and held and known != names.fingerprint:
        what = "another key's" if known else "one that holds what is not de-identified"
        raise RefusedError(
            "--deidentify needs a new folder, or a data set that was de-identified by the same key. "
            f"Received: {str(out)!r}, {what}. {remedy}"
        )


def read_key(path: Path, source: Path, out: Path) -> Pseudonyms:
    """Pseudonyms by the key in `path`, which is made if it is not there and `out` knows of none.

    Raises:
        RefusedError: the key would lie in what is shared or in SOURCE, is damaged or lost, or cannot be
            read or written.
    """
    sourced = source if source.is_dir() else source.parent
    for name, folder in (("--out", out), ("SOURCE", sourced)):
        if path.resolve().is_relative_to(folder.resolve()):
            raise RefusedError(
                f"the key must lie outside {name}, so that it is never shared with what it protects. "
                f"Received: {str(path)!r} in {str(folder)!r}. Keep it in a folder of your own"
            )
    try:
        if not path.exists():
            if (out / LOG).exists():
                raise RefusedError(
                    f"the key of a data set must be there to complete it. Received: {str(path)!r}, no file, "
                    f"for {str(out)!r}. Name the key's file, or name a new folder in --out"
                )
            _write_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise RefusedError(
            f"the key must be a file that can be read and written. Received: {str(path)!r} "
            f"({error.strerror}). Choose another place"
        ) from error
    # A disk that failed leaves zeros.
    if len(key) != KEY_BYTES or len(set(key)) < KEY_BYTES // 4:
        raise RefusedError(
            f"a key must be {KEY_BYTES} random bytes. Received: {len(key)} bytes in {str(path)!r} that are "
            "not. Bring the right file back, or name a new one, and a new folder in --out"
        )
    return Pseudonyms(key)


def _write_key(path: Path) -> None:
    with written_whole(path, f".{secrets.token_hex(4)}") as temporary:
        # Nobody else may read it at any moment, so the mode is there before the bytes are.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
