"""Fits a bundle's temperature and threshold to one site's own subjects, and says how sure so few make it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.build import INDEX, file_digest, read_index
from pipelines.files import folder_written_whole, refuse_taken
from pipelines.inputs import clip_inputs
from pipelines.optional import load
from pipelines.records import read_shard
from pipelines.schema import RefusedError
from tfgma.bundle import BUNDLE_FILE, BundleDescription, checked_file, model_file, read_bundle, sealed
from tfgma.calibration import (
    apply_temperature,
    conformal_fits,
    conformal_ranks,
    conformal_sets,
    fit_temperature,
    least_validated,
    temperature_interval,
)
from tfgma.evaluation import exact_interval
from tfgma.inference import TFLiteModel
from tfgma.metrics import log_loss
from tfgma.pages import render
from tfgma.runs import write_json
from tfgma.suitability import refuse_other_build

LEAST_SUBJECTS = 20
"""Of fewer, threshold and temperature would be guesses."""
CARD = "MODEL_CARD.md"

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Adaptation:
    """What a site's subjects tell of a bundle; shares are of the site's subjects.

    `temperature`: the fitted one, with its `temperature_interval` (95 %), None where it cannot be fitted;
    `log_loss_before`: by the bundle's own, `log_loss_after`: each subject by the others'
    temperature. `threshold`: the least probability of a possible class, before and after;
    `coverage_before`: subjects whose class the bundle's own sets hold, `coverage_expected`: between which
    shares (95 %) the new sets will hold new subjects' classes, if these come from the same site.
    """

    subjects: int
    accuracy: float
    accuracy_interval: list[float]
    temperature_before: float
    temperature: float
    fitted: bool
    temperature_interval: list[float] | None
    log_loss_before: float
    log_loss_after: float
    threshold_before: float | None
    threshold: float
    coverage_before: float
    coverage_before_interval: list[float]
    coverage_expected: list[float]


def fit_site(labels: np.ndarray, probabilities: np.ndarray, bundle: BundleDescription) -> Adaptation:
    """What subjects of known class tell.

    Args:
        labels: (N,) int. probabilities: (N, C) float, by the network, mean over clips, not calibrated.
        bundle: what answered.

    Raises:
        RefusedError: fewer than LEAST_SUBJECTS.
    """
    count = len(labels)
    if count < LEAST_SUBJECTS:
        raise RefusedError(
            f"a site's own temperature and threshold need at least {LEAST_SUBJECTS} subjects of known class. "
            f"Received: {count}. Record more; until then use the bundle as it is, and tfgma monitor"
        )
    old = bundle.calibration
    found = fit_temperature(labels, probabilities)
    others = [np.delete(np.arange(count), one) for one in range(count)]
    left_out = np.concatenate(
        [
            apply_temperature(probabilities[[one]], fit_temperature(labels[rows], probabilities[rows]).value)
            for one, rows in enumerate(others)
        ]
    )
    covered = _held(np.array(old.fits), labels, probabilities, old.coverage)
    right = int((probabilities.argmax(axis=1) == labels).sum())
    own = conformal_fits(labels, probabilities)
    # Split conformal sets hold a share of Beta(n + 1 - k, k) of exchangeable subjects (Vovk 2012).
    rank = int(np.floor((1 - old.coverage) * (count + 1) + 1e-9))
    ends = load("scipy.stats", "train").beta(count + 1 - rank, rank).ppf([0.025, 0.975])
    return Adaptation(
        subjects=count,
        accuracy=right / count,
        accuracy_interval=exact_interval(right, count),
        temperature_before=old.temperature,
        temperature=found.value,
        fitted=found.fitted,
        temperature_interval=(
            temperature_interval(labels, probabilities, found.value) if found.fitted else None
        ),
        log_loss_before=log_loss(labels, apply_temperature(probabilities, old.temperature)),
        log_loss_after=log_loss(labels, left_out),
        threshold_before=_threshold(np.array(old.fits), old.coverage),
        threshold=float(own[rank - 1]),
        coverage_before=float(covered.mean()),
        coverage_before_interval=exact_interval(int(covered.sum()), count),
        coverage_expected=[float(end) for end in ends],
    )


def _held(fits: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, coverage: float) -> np.ndarray:
    """(N,) bool, whether each one's own class is possible."""
    ranks = conformal_ranks(fits, probabilities)
    sets = conformal_sets(ranks, np.full(len(labels), len(fits)), coverage)
    return sets[np.arange(len(labels)), labels]


def _threshold(fits: np.ndarray, coverage: float) -> float | None:
    """The probability from which on a class is possible; None where there are too few fits for one."""
    if len(fits) < least_validated(coverage):
        return None
    return float(np.sort(fits)[int(np.floor((1 - coverage) * (len(fits) + 1) + 1e-9)) - 1])


def adapt(
    bundle: Path,
    dataset: Path,
    out: Path,
    *,
    variant: str = "float32",
    progress: Progress = lambda done, total, text: None,
) -> Adaptation:
    """Writes to `out` a copy of the bundle whose calibration is the site's own.

    The network stays as it is. `bundle.json` tells what was adapted, on which data set.

    Args:
        bundle: a folder of `export`.
        dataset: of the site's subjects, built with the bundle's settings.
        out: a new or empty folder.
        variant: which file answers.
        progress: is told videos done, of all, and what comes next.

    Raises:
        RefusedError: not a bundle, one that was adapted before, no data set, one of other settings or of
            subjects that the network was trained with, an unknown class, too few subjects, or `out` holds
            something.
    """
    description = read_bundle(bundle)
    if description.adaptation is not None:
        raise RefusedError(
            f"a bundle is adapted once. Received: {str(bundle)!r}, adapted before. Adapt the exported one"
        )
    refuse_taken(out)
    index = read_index(dataset)
    digest = file_digest(dataset / INDEX)
    if digest == description.run["dataset_sha256"]:
        raise RefusedError(
            "a bundle must be adapted on other subjects than it was made from. Received: the data set that "
            "its network was trained on. Build one of the site's own recordings"
        )
    refuse_other_build(index, description.build.model_copy(update={"modalities": index["modalities"]}))
    labels, probabilities = _answers(bundle, description, dataset, index, variant, progress)
    found = fit_site(labels, probabilities, description)
    own = conformal_fits(labels, probabilities)
    adaptation: dict[str, Any] = {"dataset_sha256": digest, "variant": variant, **asdict(found)}
    with folder_written_whole(out) as building:
        shutil.copytree(bundle, building, dirs_exist_ok=True)
        content = json.loads((building / BUNDLE_FILE).read_text(encoding="utf-8"))
        content["calibration"] |= {
            "temperature": found.temperature,
            "fitted": found.fitted,
            "fits": own.tolist(),
        }
        content["adaptation"] = adaptation
        write_json(building / BUNDLE_FILE, sealed(content))
        with (building / CARD).open("a", encoding="utf-8") as card:
            card.write("\n\n" + render("adaptation.md.j2", found=found, dataset_sha256=digest))
    return found


def _answers(
    bundle: Path,
    description: BundleDescription,
    dataset: Path,
    index: dict[str, Any],
    variant: str,
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) class and (N, C) mean probabilities over clips of each subject."""
    unknown = sorted(set(index["classes"]) - set(description.classes))
    if unknown:
        raise RefusedError(
            f"the site's classes must be the bundle's, {', '.join(description.classes)}. "
            f"Received: {', '.join(unknown)}. Rename them, or leave those videos out"
        )
    model = TFLiteModel(checked_file(bundle, description, model_file(variant)))
    spec = description.build.clip
    found: dict[str, list[np.ndarray]] = {}
    classes: dict[str, int] = {}
    entries = [entry for entry in index["videos"] if entry["shard"]]
    for number, entry in enumerate(entries):
        progress(number, len(entries), entry["id"])
        classes[entry["subject"]] = description.classes.index(entry["label"])
        for clip, _ in read_shard(dataset / "shards" / entry["shard"], spec, index["modalities"]):
            inputs = clip_inputs(clip, description.inputs, spec, description.sampling)
            found.setdefault(entry["subject"], []).append(model(inputs))
    progress(len(entries), len(entries), "")
    names = sorted(found)
    probabilities = np.stack([np.mean(found[name], axis=0) for name in names]).astype(np.float64)
    return np.array([classes[name] for name in names]), probabilities
