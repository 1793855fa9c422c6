import cv2
import numpy as np
import pytest

from pipelines.fingerprints import (
    MIN_COMMON_STEPS,
    MOST_STEPS,
    SAME_FROM,
    Fingerprint,
    agreements,
    read_fingerprint,
    thumbnail,
)

FPS, SIZE, SECONDS = 6, 64, 12


def figure(seed, at, light=0.0):
    """A trunk that rocks, limbs that swing, (64, 64, 3) uint8, at `at` seconds; its mask, 255 on the body."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    rock = 12 * np.sin(6.3 * rng.uniform(0.1, 0.5, 2) * at + rng.uniform(0, 6.3, 2)).sum()
    cv2.ellipse(mask, (32, 32), (7, 14), rock, 0, 360, 255, -1)
    for x, y, rest in ((26, 22, 200), (38, 22, -20), (28, 44, 120), (36, 44, 60)):
        rates, phases = rng.uniform(0.2, 0.9, 3), rng.uniform(0, 6.3, 3)
        angle = np.radians(rest + 25 * np.sin(6.3 * rates * at + phases).sum())
        reach = 12 + 4 * np.sin(6.3 * rates[0] * at + phases[1])
        tip = (round(x + reach * np.cos(angle)), round(y + reach * np.sin(angle)))
        cv2.line(mask, (x, y), tip, 255, 5, cv2.LINE_AA)
    grey = np.clip(mask * 0.6 + light, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), mask


def fingerprint(
    seed, *, start=0.0, seconds=SECONDS, change=lambda rgb, mask: (rgb, mask), skip=(), light=0.0
):
    made = Fingerprint(FPS)
    for index in range(round(seconds * FPS)):
        if index not in skip:
            made.add(index, thumbnail(*change(*figure(seed, start + index / FPS, light))))
    return read_fingerprint(made.text())


def agreement(first, second):
    return agreements([first, second])[0, 1]


def agreement_shift_by_shift(first, second):
    """The definition, one shift after the other, mirrored and not."""
    mirror = np.where(np.arange(64) % 8 % 2 == 1, -1, 1)
    best = -1.0
    for shift in range(1 - len(second), len(first)):
        begin, end = max(0, shift), min(len(first), shift + len(second))
        one, other = first[begin:end], second[begin - shift : end - shift]
        moved = one.any(axis=1) & other.any(axis=1)
        if moved.sum() >= MIN_COMMON_STEPS:
            for turned in (other, other * mirror):
                best = max(best, (one * turned)[moved, 1:].mean())
    return best


def test_all_shifts_at_once_are_what_one_after_the_other_gives():
    rng = np.random.default_rng(4)
    signs = []
    for steps in (*rng.integers(0, 60, 36), 200):
        made = np.where(rng.random((steps, 64)) < 0.5, -1, 1).astype(np.float32)
        made[:, 0] = 1
        made[rng.random(steps) < 0.2] = 0
        signs.append(made)
    signs += [signs[0][3:], signs[-1][50:90] * np.where(np.arange(64) % 8 % 2 == 1, -1, 1)]
    wanted = [[agreement_shift_by_shift(one, other) for other in signs] for one in signs]
    np.testing.assert_allclose(agreements(signs), wanted, atol=1e-6)
    assert agreements(signs)[-1, -3] == 1
    assert agreements([]).shape == (0, 0)


def test_a_step_is_a_word_of_signs_and_no_movement_is_none():
    signs = fingerprint(1)
    assert signs.shape == (3 * SECONDS, 64)
    assert not signs[:2].any()  # two windows of half a second are full after three steps
    assert set(np.unique(signs[2:])) == {-1, 1}
    assert (signs[2:, 0] == 1).all()
    still = fingerprint(1, change=lambda rgb, mask: figure(1, 0.0))
    assert still.shape == (3 * SECONDS, 64)
    assert not still.any()


def test_the_same_movement_is_found_wherever_it_begins_and_however_it_is_lit():
    whole = fingerprint(3)
    assert agreement(whole, whole) == 1
    # Half a step off the grid, the worst that a cut can do.
    part = fingerprint(3, start=3 + 1 / 6, seconds=6, light=20)
    assert agreement(whole, part) > SAME_FROM
    assert agreement(part, whole) == pytest.approx(agreement(whole, part))


def test_a_mirrored_copy_is_found():
    mirrored = fingerprint(3, change=lambda rgb, mask: (rgb[:, ::-1].copy(), mask[:, ::-1].copy()))
    assert agreement(fingerprint(3), mirrored) > 0.9
    flipped = fingerprint(3, change=lambda rgb, mask: (rgb[::-1].copy(), mask[::-1].copy()))
    assert agreement(fingerprint(3), flipped) < SAME_FROM


def test_other_movements_of_the_same_figure_are_no_copies():
    signs = [fingerprint(seed) for seed in range(20)]
    scores = agreements(signs)[np.triu_indices(len(signs), 1)]
    assert scores.max() < SAME_FROM


def test_a_still_place_does_not_count_and_a_trembling_mask_hardly():
    rng = np.random.default_rng(0)
    sheet = cv2.GaussianBlur(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8), (0, 0), 3)

    def before(sheet):
        def change(rgb, mask):
            drawn = np.where(mask[..., None] < 128, sheet, rgb)
            trembling = cv2.dilate(mask, np.ones((5, 5))) if rng.random() < 0.5 else mask
            return drawn, trembling

        return change

    on_sheet = [fingerprint(seed, change=before(sheet)) for seed in range(8)]
    assert agreements(on_sheet)[np.triu_indices(8, 1)].max() < SAME_FROM
    assert agreement(on_sheet[2], fingerprint(2, change=before(sheet))) > 0.8


def test_steps_without_a_body_are_empty_and_the_others_keep_their_place():
    gap = fingerprint(5, skip=range(30, 42))  # 5 s to 7 s; windows that touch it are broken
    whole = fingerprint(5)
    assert not gap[15:23].any()
    np.testing.assert_array_equal(gap[23:], whole[23:])
    np.testing.assert_array_equal(gap[:15], whole[:15])


def test_too_little_in_common_says_nothing():
    enough = fingerprint(3, seconds=(MIN_COMMON_STEPS + 2) / 3)  # the first two steps are empty
    assert agreement(enough, enough) == 1
    assert agreement(enough[:-1], enough[:-1]) == -1
    assert agreement(enough, enough[:0]) == -1


def test_a_fingerprint_does_not_grow_without_end():
    made = Fingerprint(FPS)
    picture, mask = figure(1, 0.0)
    made.add(0, thumbnail(picture, mask))
    made.add(10**9, thumbnail(picture, mask))
    assert read_fingerprint(made.text()).shape == (MOST_STEPS, 64)
