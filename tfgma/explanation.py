"""What a run's network makes its answer for a video of: parts of the body, seconds, joints, pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipelines.build import file_digest, read_index
from pipelines.clips import Clip
from pipelines.config import InputSettings
from pipelines.inputs import PICTURES, clip_inputs
from pipelines.process import video_clips
from pipelines.schema import ClipSpec, RefusedError
from tfgma.answers import Answerer, answers_of
from tfgma.body_parts import PARTS, part_regions
from tfgma.faithfulness import CELLS, ORDERS, cell_sums, deletion_area
from tfgma.gradients import Arrays, evidence_of
from tfgma.lock_box import refuse_locked
from tfgma.occlusion import frozen, nothing, without_part
from tfgma.outputs import ATTENTION
from tfgma.preprocessing import make_tools
from tfgma.runs import MODEL_FILE, fold_folder, read_run, study_of
from tfgma.saliency import GradCam, integrated_gradients
from tfgma.weights.pretrained import load_network
from tfgma.xla import answers_on

SPAN_SECONDS = 1.0
"""A clip's movement is taken away for about so long at a time."""
CLIPS = 3
BATCH = 4
METHODS = ("grad_cam", "integrated_gradients")

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ClipEffects:
    """What of a clip its answer rests on.

    `probabilities`: (C,). `parts`: (6, C), evidence for each class, in nats, that is lost without each part
    of PARTS. `spans`: (K, C), the same without the movement in each of K spans of the clip.
    """

    start_seconds: float
    probabilities: np.ndarray
    parts: np.ndarray
    spans: np.ndarray


@dataclass(frozen=True)
class Deletion:
    """How an input's answer falls along a map's order and along random ones; see `deletion_area`."""

    input: str
    method: str
    area: float
    random: float


@dataclass(frozen=True)
class ClipMaps:
    """Which pixels, moments and joints of one clip counted.

    `number`: of the clip. `grad_cam`: by input, (T, h, w) from 0; empty where the network has no such maps.
    `attributions`: by input, in nats, their sum is `evidence` minus the baseline's. `attention`: what the
    network itself tells (STAM: `alpha` (clips,), `beta` (clips, 18)), or nothing.
    """

    number: int
    clip: Clip
    grad_cam: Arrays
    attributions: Arrays
    attention: Arrays
    deletions: tuple[Deletion, ...]


@dataclass(frozen=True)
class Explanation:
    """Of one video; `explained` is the class, `spans_seconds` (K, 2) where in a clip spans begin and end.

    `seen_in_training`: whether the network was trained on this file; None where that is not known.
    """

    video: str
    fold: int
    seen_in_training: bool | None
    classes: tuple[str, ...]
    explained: str
    spec: ClipSpec
    spans_seconds: np.ndarray
    clips: tuple[ClipEffects, ...]
    maps: tuple[ClipMaps, ...]
    without_grad_cam: str = ""

    @property
    def number(self) -> int:
        """Index of the explained class."""
        return self.classes.index(self.explained)

    @property
    def probabilities(self) -> np.ndarray:
        """(C,) mean over clips."""
        return np.mean([clip.probabilities for clip in self.clips], axis=0)

    @property
    def part_effects(self) -> np.ndarray:
        """(clips, 6) evidence for the explained class that is lost without each part, nats."""
        return np.stack([clip.parts[:, self.number] for clip in self.clips])

    def as_json(self) -> dict[str, Any]:
        """Plain values for explanation.json and `--json`."""
        mean = self.part_effects.mean(axis=0)

        def named(values: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
            return {name: round(float(value), 6) for name, value in zip(names, values, strict=True)}

        return {
            "video": self.video,
            "fold": self.fold,
            "seen_in_training": self.seen_in_training,
            "explained": self.explained,
            "probabilities": named(self.probabilities, self.classes),
            "unit": "nats of log-odds that the explained class loses",
            "parts": named(mean, PARTS),
            "clips": [
                {
                    "start_seconds": round(clip.start_seconds, 3),
                    "probabilities": named(clip.probabilities, self.classes),
                    "parts": named(clip.parts[:, self.number], PARTS),
                    "spans": [
                        {
                            "start_seconds": round(clip.start_seconds + float(start), 3),
                            "end_seconds": round(clip.start_seconds + float(end), 3),
                            "effect": round(float(effect), 6),
                        }
                        for (start, end), effect in zip(
                            self.spans_seconds, clip.spans[:, self.number], strict=True
                        )
                    ],
                }
                for clip in self.clips
            ],
            "maps": [
                {
                    "start_seconds": round(one.clip.start_seconds, 3),
                    "deletion": [vars(found) for found in one.deletions],
                }
                for one in self.maps
            ],
            "without_grad_cam": self.without_grad_cam,
        }


def explain(
    run: Path,
    video: Path,
    *,
    fold: int | None = None,
    explained: str | None = None,
    maps: int = CLIPS,
    progress: Progress = lambda done, total, text: None,
) -> Explanation:
    """Explains the answer of one fold's network for a video.

    Args:
        run: a training's folder.
        video: a file.
        fold: whose network; default the one that has the video's subject in its test side, or, where the
            video is not of the run's data set, the first trained.
        explained: a class; default the one that is most probable over all clips.
        maps: clips, of the highest probability of that class, of which pixels and joints are explained.
        progress: is told steps done, of all, and what comes next.

    Raises:
        RefusedError: not a run, an untrained fold, an unknown class, a video of a closed lock box, or one
            that cannot be assessed.
    """
    content = read_run(run)
    config = study_of(content)
    chosen, seen = _fold(content, video, fold)
    network = load_network(fold_folder(run, chosen) / MODEL_FILE)
    classes = tuple(content["classes"])
    if explained is not None and explained not in classes:
        raise RefusedError(f'--class must be one of {", ".join(classes)}. Received: "{explained}"')
    spec = config.build.clip
    answer = answers_of(network)
    take = partial(
        _inputs, names=[tensor.name for tensor in network.inputs], spec=spec, settings=config.inputs
    )
    spans = _spans(spec)
    tools = make_tools(config.build)
    effects: list[ClipEffects] = []
    kept = [Kept(maps, spec.clip_seconds) for _ in classes]
    try:
        for clip in video_clips(video, config.build, tools.finder, flow=tools.flow):
            effects.append(_effects(clip, spans, take, answer))
            for best, p in zip(kept, effects[-1].probabilities, strict=True):
                best.offer(float(p), len(effects) - 1, clip)
            progress(0, 1 + maps, f"at {clip.start_seconds:.0f} s")
    finally:
        tools.finder.close()
    mean = np.mean([one.probabilities for one in effects], axis=0)
    number = classes.index(explained) if explained else int(mean.argmax())
    maker = _MapMaker(network, number, answer)
    found: list[ClipMaps] = []
    telling = kept[number].best
    for place, clip in telling:
        progress(1 + len(found), 1 + len(telling), f"maps at {clip.start_seconds:.0f} s")
        found.append(maker.maps(place, clip, take(clip), take(nothing(clip))))
    progress(1 + len(telling), 1 + len(telling), "")
    return Explanation(
        video=str(video),
        fold=chosen,
        seen_in_training=seen,
        classes=classes,
        explained=classes[number],
        spec=spec,
        spans_seconds=spans / spec.fps,
        clips=tuple(effects),
        maps=tuple(found),
        without_grad_cam=maker.without_grad_cam,
    )


class Kept:
    """The clips of the highest scores that do not overlap, kept while they come."""

    def __init__(self, most: int, clip_seconds: float) -> None:
        """`most`: clips."""
        self._most, self._clip_seconds = most, clip_seconds
        self._kept: list[tuple[float, int, Clip]] = []

    def offer(self, score: float, number: int, clip: Clip) -> None:
        """A clip: it is kept if it is better than what it overlaps with, and among the best."""
        over = [
            one for one in self._kept if abs(one[2].start_seconds - clip.start_seconds) < self._clip_seconds
        ]
        if all(score > one[0] for one in over):
            self._kept = [one for one in self._kept if one not in over] + [(score, number, clip)]
            self._kept.sort(key=lambda one: (-one[0], one[1]))
            del self._kept[self._most :]

    @property
    def best(self) -> list[tuple[int, Clip]]:
        """Numbers and clips, the best first."""
        return [(number, clip) for _, number, clip in self._kept]


def _fold(content: Mapping[str, Any], video: Path, fold: int | None) -> tuple[int, bool | None]:
    """Whose network answers, and whether it was trained on the video; None where that is not known."""
    trained = content["trained_folds"]
    if not trained or (fold is not None and fold not in trained):
        raise RefusedError(f"--fold must be one of {trained}. Received: {fold}. Train that fold first")
    try:
        entries = read_index(Path(content["dataset"]))["videos"]
        digest = file_digest(video)
    except (OSError, RefusedError):
        # Without the data set there is no telling; a video that is not there is refused when it is opened.
        return trained[0] if fold is None else fold, None
    refuse_locked(content, entries, {digest})
    subjects = {entry["subject"] for entry in entries if entry["sha256"] == digest}
    if fold is None:
        unseen = [one for one in trained if subjects & set(content["folds"][one]["test"])]
        fold = unseen[0] if unseen else trained[0]
    sides = content["folds"][fold]
    return fold, bool(subjects & {*sides["train"], *sides["val"]}) if subjects else None


def _inputs(clip: Clip, *, names: list[str], spec: ClipSpec, settings: InputSettings) -> Arrays:
    return clip_inputs(clip, names, spec, settings)


def _spans(spec: ClipSpec) -> np.ndarray:
    """(K, 2) frames of a clip, each span's first and last."""
    count = max(1, round(spec.num_flows / (SPAN_SECONDS * spec.fps)))
    edges = np.linspace(0, spec.num_flows, count + 1).round().astype(int)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def _effects(clip: Clip, spans: np.ndarray, take: Callable[[Clip], Arrays], answer: Answerer) -> ClipEffects:
    regions = part_regions(clip.pose, max(clip.rgb.shape[1:2] + clip.flow.shape[1:2], default=1))
    others = [without_part(clip, part, regions) for part in PARTS]
    others += [frozen(clip, int(first), int(last)) for first, last in spans]
    taken = [take(one) for one in (clip, *others)]
    answers = []
    for first in range(0, len(taken), BATCH):
        part = taken[first : first + BATCH]
        answers.append(answer({name: np.concatenate([one[name] for one in part]) for name in part[0]}))
    probabilities = np.concatenate(answers)
    lost = evidence(probabilities[:1]) - evidence(probabilities[1:])
    return ClipEffects(clip.start_seconds, probabilities[0], lost[: len(PARTS)], lost[len(PARTS) :])


def evidence(probabilities: np.ndarray) -> np.ndarray:
    """(N, C) probabilities -> (N, C) log-odds of each class against the others, nats; finite."""
    least = np.finfo(np.float64).tiny
    classes = probabilities.shape[1]
    # 1 - p would be 0 where the others are only very small.
    others = np.stack([np.delete(probabilities, one, axis=1).sum(axis=1) for one in range(classes)], axis=1)
    return np.log(np.maximum(probabilities, least)) - np.log(np.maximum(others, least))


class _MapMaker:
    """Makes the maps of clips of one network, for one class."""

    def __init__(self, network: keras.Model, number: int, answer: Answerer) -> None:
        self._network, self._number, self._answer = network, number, answer
        self._evidence = evidence_of(network, number)
        self._grad_cam: GradCam | None = None
        self.without_grad_cam = ""
        try:
            self._grad_cam = GradCam(network, number)
        except RefusedError as error:
            self.without_grad_cam = str(error)

    def maps(self, place: int, clip: Clip, inputs: Arrays, baseline: Arrays) -> ClipMaps:
        grad_cam = self._grad_cam(inputs) if self._grad_cam else {}
        attributions = integrated_gradients(self._evidence, inputs, baseline)
        answers = answers_on(self._network, inputs)
        attention = {
            name: keras.ops.convert_to_numpy(answers[name])[0] for name in ATTENTION if name in answers
        }
        found = {"grad_cam": grad_cam, "integrated_gradients": attributions}
        deletions = [
            self._deletion(
                inputs, baseline, name, method, value if method == "grad_cam" else value.sum(axis=-1)
            )
            for method in METHODS
            for name, value in found[method].items()
            if name in PICTURES or name == "flow"
        ]
        return ClipMaps(place, clip, grad_cam, attributions, attention, tuple(deletions))

    def _deletion(
        self, inputs: Arrays, baseline: Arrays, name: str, method: str, relevance: np.ndarray
    ) -> Deletion:
        rng = np.random.default_rng(0)
        orders = [np.argsort(-cell_sums(relevance).ravel(), kind="stable")]
        orders += [rng.permutation(CELLS * CELLS) for _ in range(ORDERS)]

        def probability(batch: Arrays) -> np.ndarray:
            return self._answer(batch)[:, self._number]

        axis = inputs[name].ndim - 3
        areas = [deletion_area(probability, inputs, baseline, name, order, axis=axis) for order in orders]
        return Deletion(name, method, areas[0], float(np.mean(areas[1:])))
