"""Whether an export's files decide as the trained network does."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import NonNegativeFloat, NonNegativeInt

from pipelines.config import Settings
from pipelines.schema import RefusedError
from tfgma.aggregation import AGGREGATIONS, check_probabilities
from tfgma.bundle import EXACT, STREAM, CalibrationDescription, certified_file
from tfgma.comparison import differences
from tfgma.intervals import LEVEL, METHOD, RESAMPLES, SEED
from tfgma.metrics import classification_metrics
from tfgma.runs import Predictions
from tfgma.scores import Scores, scores_by
from tfgma.verdict import verdict

CERTIFICATE_VERSION = 3
CERTIFIED_LEVELS = ("clip", "subject")
CALIBRATION = ("log_loss", "brier", "ece")
WORST_LAYERS = 5


class Limits(Settings):
    """What a file may differ from the network by, and still be exported.

    `float32_difference`: of any number that is answered for any clip, for float32 and ONNX only.
    `changed_subjects`: those whose decision (class of highest mean probability) is another. `accuracy_loss`:
    share of subjects by which fewer decisions are right. Clips have no limit: one near a tie is decided
    otherwise by any rounding.
    """

    float32_difference: NonNegativeFloat = 1e-4
    changed_subjects: NonNegativeInt = 0
    accuracy_loss: NonNegativeFloat = 0.01


@dataclass(frozen=True)
class Making:
    """How a file was made.

    `float_layers`: those that an int8 file computes in float32, so that it decides as the network. `losses`:
    layer -> what int8 loses in it, the largest first. `fine_tuning_steps`: for which the weights of an int8
    file were fine-tuned under its rounding.
    """

    float_layers: tuple[str, ...] = ()
    losses: dict[str, float] = field(default_factory=dict)
    fine_tuning_steps: int = 0


@dataclass(frozen=True)
class Candidate:
    """A file and what it answers for the test side's clips.

    `making`: how it was made. `costs`: what `latency.measure` found, or nothing. `also`: of what it answers
    besides, name -> `mean_delta` and `max_delta` to the network.
    """

    content: bytes
    operators: list[str]
    predictions: Predictions
    making: Making = field(default_factory=Making)
    costs: dict[str, Any] = field(default_factory=dict)
    also: dict[str, dict[str, float]] = field(default_factory=dict)


def certify(
    network: Predictions,
    candidates: Mapping[str, Candidate],
    limits: Limits,
    machine: dict[str, Any],
    calibration: CalibrationDescription,
) -> dict[str, Any]:
    """The content of certificate.json: each variant against the network, on the same clips.

    `calibration`: of the network, by which `tfgma predict` comes to a verdict, whatever the variant.

    Returns:
        `fold`, `clips`, `subjects`, `limits`, `machine`, how `interval` was computed, and `variants`, each
        with what `compare` gives, `failures` (sentences; none where it may be used) and what the file costs.
        Files that take a frame at a time have STREAM before their variant, and are compared by what they
        answer after a clip's last frame.
    """
    return {
        "certificate_version": CERTIFICATE_VERSION,
        "fold": int(network.folds[0]),
        "clips": len(network.labels),
        "subjects": len(np.unique(network.subjects)),
        "limits": limits.model_dump(),
        "interval": {"method": METHOD, "level": LEVEL, "resamples": RESAMPLES, "seed": SEED},
        "machine": machine,
        "variants": {
            name: _certified(name, network, one, limits, calibration) for name, one in candidates.items()
        },
    }


def refuse_failed(certificate: dict[str, Any]) -> None:
    """Raises where a variant is beyond a limit.

    Raises:
        RefusedError: the sentences of all such variants, each with the layers that lose most.
    """
    failures = []
    for name, found in certificate["variants"].items():
        if found["failures"]:
            layers = [f"{layer} ({loss:.2g})" for layer, loss in found["losses"].items()]
            most = f" (most is lost in {', '.join(layers)})" if layers else ""
            failures.append(f"{name}: {'; '.join(found['failures'])}{most}")
    if failures:
        raise RefusedError(
            "every exported file must decide as the network does. Received: "
            f"{'. '.join(failures)}. Choose other variants with --variant, or allow more with "
            "--max-changed-subjects or --max-accuracy-loss"
        )


def decisions(network: Predictions, file: Predictions) -> dict[str, Any]:
    """What a file decides against what the network does, on the same clips.

    Returns:
        `valid`, whether all rows are probabilities (finite, summing to one within eight bits); if so, for
        the levels clip and subject: `mean_delta` and `max_delta` of a probability, `changed` (number of other
        decisions) and `changed_names`, and `accuracy_loss`, the share by which fewer decisions are right.
    """
    try:
        check_probabilities(file.probabilities)
    except RefusedError:
        return {"valid": False}
    found: dict[str, Any] = {"valid": True}
    for level in CERTIFIED_LEVELS:
        ours, theirs = (_scores(level, one) for one in (network, file))
        delta = np.abs(theirs.probabilities - ours.probabilities)
        before, after = (one.probabilities.argmax(axis=1) for one in (ours, theirs))
        names = [name for name, other in zip(ours.names, before != after, strict=True) if other]
        fewer = int(np.sum(before == ours.labels)) - int(np.sum(after == ours.labels))
        found[level] = {
            "mean_delta": float(delta.mean()),
            "max_delta": float(delta.max()),
            "changed": len(names),
            "changed_names": names,
            "accuracy_loss": fewer / len(ours.labels),
        }
    return found


def compare(network: Predictions, file: Predictions, calibration: CalibrationDescription) -> dict[str, Any]:
    """What a file answers against what the network does.

    Returns:
        What `decisions` gives; for each level also `differences` of figures with intervals (file minus
        network), and `calibration`, each figure of the `network` and the `file`. Of subjects also
        `changed_verdicts`, to how many `tfgma predict` would say something else, and `changed_verdict_names`.
    """
    found = decisions(network, file)
    if not found["valid"]:
        return found
    for level in CERTIFIED_LEVELS:
        ours, theirs = (_scores(level, one) for one in (network, file))
        figures = {
            name: classification_metrics(one.labels, one.probabilities, one.classes)
            for name, one in (("network", ours), ("file", theirs))
        }
        found[level] |= {
            "differences": {
                name: {"network": one["b"], "file": one["a"]}
                | {key: one[key] for key in ("difference", "interval")}
                for name, one in differences(theirs, ours).items()
            },
            "calibration": {name: {key: one[key] for key in CALIBRATION} for name, one in figures.items()},
        }
    names = _changed_verdicts(network, file, calibration)
    found["subject"] |= {"changed_verdicts": len(names), "changed_verdict_names": names}
    return found


def _changed_verdicts(
    network: Predictions, file: Predictions, calibration: CalibrationDescription
) -> list[str]:
    """Subjects whose verdict, one class or UNCERTAIN, is another by the file."""
    ours, theirs = (_scores("subject", one) for one in (network, file))
    said = [
        [verdict(row, tuple(one.classes), calibration).answer for row in one.probabilities]
        for one in (ours, theirs)
    ]
    return [name for name, before, after in zip(ours.names, *said, strict=True) if before != after]


def _certified(
    name: str, network: Predictions, candidate: Candidate, limits: Limits, calibration: CalibrationDescription
) -> dict[str, Any]:
    found = compare(network, candidate.predictions, calibration) | {"also": candidate.also}
    return {
        "file": certified_file(name),
        "sha256": hashlib.sha256(candidate.content).hexdigest(),
        "bytes": len(candidate.content),
        "failures": failures(name, found, limits),
        **found,
        "operators": dict(sorted(Counter(candidate.operators).items())),
        "float_layers": list(candidate.making.float_layers),
        "fine_tuning_steps": candidate.making.fine_tuning_steps,
        "losses": dict(list(candidate.making.losses.items())[:WORST_LAYERS]),
        **candidate.costs,
    }


def failures(variant: str, found: Mapping[str, Any], limits: Limits) -> list[str]:
    """What is beyond `limits` in what `decisions` found, one sentence each."""
    if not found["valid"]:
        return ["its answers are not probabilities"]
    said = []
    deltas = {"probability": found["clip"], **found.get("also", {})}
    for name, one in deltas.items() if variant.removeprefix(STREAM) in EXACT else ():
        # Not "more than", by which NaN would pass.
        delta = one["max_delta"]
        if not delta <= limits.float32_difference:
            said.append(f"a clip's {name} is off by {delta:.2g}, {limits.float32_difference:.2g} is allowed")
    if found["subject"]["changed"] > limits.changed_subjects:
        names = found["subject"]["changed_names"]
        said.append(
            f"{len(names)} subjects are decided otherwise, {limits.changed_subjects} are allowed: "
            f"{', '.join(names[:5])}{'...' if len(names) > 5 else ''}"
        )
    loss = found["subject"]["accuracy_loss"]
    # What is just the limit must not fail by rounding.
    if loss > limits.accuracy_loss + 1e-9:
        said.append(
            f"accuracy by subject is {100 * loss:.1f} points less, "
            f"{100 * limits.accuracy_loss:.1f} are allowed"
        )
    return said


def _scores(level: str, predictions: Predictions) -> Scores:
    """As `tfgma predict` averages clips."""
    fold = int(predictions.folds[0])
    return scores_by(level, predictions, {fold: AGGREGATIONS["mean"]})
