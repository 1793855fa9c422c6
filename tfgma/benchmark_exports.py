"""What the TFLite variants cost the networks of the generated benchmark."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipelines.build import file_digest
from pipelines.schema import RefusedError
from tfgma.benchmark import METHODS, RESULTS_FILE
from tfgma.bundle import VARIANTS
from tfgma.certificate import CERTIFICATE_VERSION, Limits
from tfgma.exporting import write_and_certify
from tfgma.forms import ConversionTask
from tfgma.runs import METRICS_FILE, MODEL_FILE, fold_folder, read_run, write_json

EXPORTS = "exports"
TIMED_THREADS = "2"

Progress = Callable[[int, int, str], None]


def certify_benchmark(
    out: Path, *, folds: int | None = None, variants: Sequence[str] = VARIANTS, progress: Progress
) -> dict[str, dict[str, dict[str, Any]]]:
    """Certifies the methods that a benchmark in `out` has trained; returns their `pooled` figures.

    Called again it goes on where it was: each fold's certificate is kept in OUT/exports.

    Args:
        out: a folder of `run_benchmark`.
        folds: the first so many of each method; default all.
        variants: of ALL_VARIANTS.
        progress: is told.

    Raises:
        RefusedError: no method is trained there, or a network cannot be converted.
    """
    runs = {name: out / "runs" / "methods" / name for name in METHODS}
    runs = {name: run for name, run in runs.items() if (run / METRICS_FILE).exists()}
    if not runs:
        raise RefusedError(
            "OUT must be a folder in which tfgma benchmark study has finished a method. "
            f"Received: {str(out)!r}. Call tfgma benchmark study first"
        )
    tasks = [(name, fold) for name, run in runs.items() for fold in read_run(run)["trained_folds"][:folds]]
    certificates: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    for number, (name, fold) in enumerate(tasks):
        progress(number, len(tasks), f"{name}, fold {fold}")
        kept = out / EXPORTS / name / f"fold_{fold}.json"
        found = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else None
        digest = file_digest(fold_folder(runs[name], fold) / MODEL_FILE)
        if found is None or not is_current(found, variants, digest):
            with tempfile.TemporaryDirectory() as folder:
                found = write_and_certify(
                    ConversionTask(runs[name].resolve(), fold, tuple(variants), Path(folder), Limits())
                )
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, found)
        certificates[name].append(found)
    results = {
        name: {variant: pooled(found, variant) for variant in variants}
        for name, found in certificates.items()
    }
    write_json(out / EXPORTS / RESULTS_FILE, results)
    progress(len(tasks), len(tasks), "done")
    return results


def is_current(certificate: dict[str, Any], variants: Sequence[str], network_sha256: str | None) -> bool:
    """Whether a certificate that was kept tells of this network's variants, as this version makes them."""
    return (
        certificate["certificate_version"] == CERTIFICATE_VERSION
        and certificate["network_sha256"] == network_sha256
        and set(variants) <= set(certificate["variants"])
    )


def pooled(certificates: Sequence[dict[str, Any]], variant: str) -> dict[str, Any]:
    """One variant's figures over the test sides of several folds.

    Returns:
        `bytes`, the largest file's; `latency_ms`, the median on two threads of the first; for each level
        `<level>s`, how many were tested, `changed_<level>s`, and `<level>_accuracy` of the `network` and the
        `file`; `changed_verdicts`, of subjects; `max_delta` of a clip's probability; `float_layers`, the most
        in a file; `fine_tuned`, how many files.

    Raises:
        RefusedError: a file answers with something else than probabilities.
    """
    found = [one["variants"][variant] for one in certificates]
    if not all(one["valid"] for one in found):
        raise RefusedError(f"a file must answer with probabilities. Received: {variant}, which does not")
    answer: dict[str, Any] = {
        "bytes": max(one["bytes"] for one in found),
        "latency_ms": found[0]["latency_ms"][TIMED_THREADS]["median"],
        "max_delta": max(one["clip"]["max_delta"] for one in found),
        "float_layers": max(len(one["float_layers"]) for one in found),
        "changed_verdicts": sum(one["subject"]["changed_verdicts"] for one in found),
        "fine_tuned": sum(one["fine_tuning_steps"] > 0 for one in found),
    }
    for level in ("clip", "subject"):
        counts = [one[f"{level}s"] for one in certificates]
        answer[f"{level}s"] = sum(counts)
        answer[f"changed_{level}s"] = sum(one[level]["changed"] for one in found)
        answer[f"{level}_accuracy"] = {
            side: sum(
                count * one[level]["differences"]["accuracy"][side]
                for count, one in zip(counts, found, strict=True)
            )
            / sum(counts)
            for side in ("network", "file")
        }
    return answer


def exports_table(results: dict[str, dict[str, dict[str, Any]]]) -> list[list[str]]:
    """Rows: network, variant, size, latency, changed subjects, clips and verdicts, accuracy, its change."""
    return [
        [
            name,
            variant,
            f"{one['bytes'] / 1e6:.2f} MB",
            f"{one['latency_ms']:.3g} ms",
            f"{one['changed_subjects']} of {one['subjects']}",
            f"{one['changed_clips']} of {one['clips']}",
            f"{one['changed_verdicts']} of {one['subjects']}",
            f"{one['subject_accuracy']['network']:.2f}",
            f"{_points_more(one['subject_accuracy']):+.1f}",
        ]
        for name, variants in results.items()
        for variant, one in variants.items()
    ]


def _points_more(accuracy: dict[str, float]) -> float:
    # Rounded before it is shown: never -0.0.
    return round(100 * (accuracy["file"] - accuracy["network"]), 1) + 0.0
