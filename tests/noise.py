"""Data sets of noise, for what does not depend on what is seen."""

from pipelines.build import write_index
from pipelines.record_writer import Identity, encode_clip, write_shard
from pipelines.schema import FORMAT_VERSION
from tests.conftest import random_clip


def write_noise(folder, subjects, build):
    """A data set of two classes, one clip a subject; returns the content of its dataset.json."""
    (folder / "shards").mkdir(parents=True)
    videos = []
    for number in range(subjects):
        label, subject = number % 2, f"s{number}"
        shard = folder / "shards" / f"{subject}.tfrecord"
        identity = Identity(label, "ab"[label], subject, subject)
        write_shard(shard, [encode_clip(random_clip(number, build.clip), identity)])
        videos.append(
            {"id": subject, "subject": subject, "label": "ab"[label], "group": subject, "clips": 1}
            | {"shard": shard.name, "left_out": None, "video": f"{subject}.mp4", "other": {}}
            | {"split": None, "sha256": subject, "fingerprint": ""}
        )
    index = {"format_version": FORMAT_VERSION, "classes": ["a", "b"], "folds": [], "videos": videos}
    index |= {"modalities": ["rgb", "flow", "pose"], "config": build.model_dump()}
    write_index(folder, index)
    return index
