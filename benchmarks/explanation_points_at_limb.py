"""Whether explanations find the one limb that moves as another class does.

Generated infants move as one class but for one limb, which moves as another. The network of a run, trained on
infants without such limbs, is asked for its evidence for that other class. Printed as JSON: how often, of
four limbs, each method ranks the odd one first (0.25 by chance), with a Wilson interval of 95 %.

    .venv/bin/python benchmarks/explanation_points_at_limb.py RUN OUT --body FMs --odd WMs --subjects 10
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from statsmodels.stats.proportion import proportion_confint

from pipelines.synthetic import SyntheticSettings, generate
from pipelines.synthetic.motion import LIMBS
from tfgma.body_parts import PARTS, part_regions
from tfgma.explanation import Explanation, explain

PATH = click.Path(path_type=Path)


def scores(found: Explanation) -> dict[str, np.ndarray]:
    """Method -> (4,) how much each limb speaks for the explained class.

    Of maps it is the mean over a limb's pixels of the movement's stream.
    """
    limbs = [PARTS.index(limb) for limb in LIMBS]
    out = {"occlusion": found.part_effects.mean(axis=0)[limbs]}
    for method in ("grad_cam", "integrated_gradients"):
        rows = []
        for one in found.maps:
            maps = getattr(one, "grad_cam" if method == "grad_cam" else "attributions").get("flow")
            if maps is None:
                continue
            regions = part_regions(one.clip.pose, one.clip.rgb.shape[1])
            body = one.clip.rgb.max(axis=-1) > 16
            heat = maps[0] if method == "grad_cam" else maps.sum(axis=-1)
            heat = cv2.resize(heat, regions.shape[1:][::-1])
            # A map of the whole clip, against where the limbs were in any of its frames.
            places = [((regions == limb) & body).any(axis=0) for limb in limbs]
            rows.append([float(heat[place].mean()) if place.any() else 0.0 for place in places])
        if rows:
            out[method] = np.mean(rows, axis=0)
    return out


@click.command()
@click.argument("run", type=PATH)
@click.argument("out", type=PATH)
@click.option("--body", default="FMs", show_default=True)
@click.option("--odd", default="WMs", show_default=True)
@click.option("--subjects", default=10, show_default=True, help="For each limb.")
@click.option("--seconds", default=9.0, show_default=True)
@click.option("--seed", default=900, show_default=True)
@click.option("--fold", default=0, show_default=True)
def main(
    run: Path, out: Path, body: str, odd: str, subjects: int, seconds: float, seed: int, fold: int
) -> None:
    """Generates, explains, counts."""
    first: dict[str, list[bool]] = {}
    for number, limb in enumerate(LIMBS):
        folder = out / f"{body}_{odd}_{limb}"
        if not folder.exists():
            settings = SyntheticSettings(classes=(body,), odd_limb=limb, odd_movement=odd)
            generate(folder, settings, subjects=subjects, seconds=seconds, seed=seed + number)
        for video in sorted(folder.rglob("*.mp4")):
            found = scores(explain(run, video, fold=fold, explained=odd, maps=3))
            for method, values in found.items():
                first.setdefault(method, []).append(int(values.argmax()) == number)
    result: dict[str, Any] = {"run": run.name, "body": body, "odd": odd, "infants": subjects * len(LIMBS)}
    for method, hits in first.items():
        low, high = proportion_confint(sum(hits), len(hits), method="wilson")
        result[method] = {
            "odd_limb_first": round(float(np.mean(hits)), 3),
            "interval": [round(low, 3), round(high, 3)],
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
