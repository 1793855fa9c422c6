"""Losses, weights and accuracy against hand computations."""

import keras
import numpy as np
import pytest

from pipelines.schema import RefusedError
from tfgma.config import TrainSettings
from tfgma.losses import class_weights, head_weights, make_accuracy, make_loss

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(5, 3)).astype(np.float32) * 2
LABELS = np.eye(3, dtype=np.float32)[[0, 2, 1, 1, 0]]
SOFT = (0.7 * LABELS + 0.3 * LABELS[::-1]).astype(np.float32)


def softmax(logits):
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("labels", [LABELS, SOFT], ids=["whole", "mixed"])
@pytest.mark.parametrize(("gamma", "smoothing"), [(None, 0), (None, 0.1), (0, 0), (2, 0), (3.5, 0.2)])
def test_the_loss_of_several_classes(labels, gamma, smoothing):
    kind = {"loss": "cross_entropy"} if gamma is None else {"loss": "focal", "focal_gamma": gamma}
    loss = make_loss(TrainSettings(**kind, label_smoothing=smoothing), one_logit=False)
    p = softmax(LOGITS)
    wanted = labels * (1 - smoothing) + smoothing / 3
    expected = -(wanted * (1 - p) ** (gamma or 0) * np.log(p)).sum(axis=1)
    assert float(loss(labels, LOGITS)) == pytest.approx(expected.mean(), rel=1e-5)
    weights = np.array([1, 0.5, 2, 3, 0], np.float32)
    assert float(loss(labels, LOGITS, weights)) == pytest.approx((weights * expected).mean(), rel=1e-5)


@pytest.mark.parametrize("labels", [LABELS[:, :1], SOFT[:, :1]], ids=["whole", "mixed"])
@pytest.mark.parametrize(("gamma", "smoothing"), [(None, 0), (None, 0.1), (0, 0), (2, 0), (3.5, 0.2)])
def test_the_loss_of_one_logit(labels, gamma, smoothing):
    kind = {"loss": "cross_entropy"} if gamma is None else {"loss": "focal", "focal_gamma": gamma}
    loss = make_loss(TrainSettings(**kind, label_smoothing=smoothing), one_logit=True)
    logits = LOGITS[:, :1]
    p = 1 / (1 + np.exp(-logits))
    wanted = labels * (1 - smoothing) + smoothing / 2
    entropy = -(wanted * np.log(p) + (1 - wanted) * np.log(1 - p))
    focal = (1 - (wanted * p + (1 - wanted) * (1 - p))) ** (gamma or 0)
    assert float(loss(labels, logits)) == pytest.approx((focal * entropy).mean(), rel=1e-5)


def test_accuracy_counts_the_greater_part_of_a_mixed_label():
    several, one = make_accuracy(one_logit=False), make_accuracy(one_logit=True)
    assert several.name == one.name == "accuracy"
    several.update_state(SOFT, LABELS)
    assert float(several.result()) == 1
    one.update_state(np.array([[0.9], [0.2], [0.6], [0.0]]), np.array([[3.0], [1.0], [0.1], [-2.0]]))
    assert float(one.result()) == 0.75
    plain, hard = keras.metrics.BinaryAccuracy(threshold=0.0), make_accuracy(one_logit=True)
    for metric in (plain, hard):
        metric.update_state(LABELS[:, :1], LOGITS[:, :1])
    assert float(plain.result()) == float(hard.result())


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    counts = {"WMs": 12, "PR": 5, "FMs": 30}
    classes = ["FMs", "PR", "WMs"]
    labels = np.repeat(list(counts), list(counts.values()))
    expected = compute_class_weight("balanced", classes=np.array(classes), y=labels)
    found = class_weights(TrainSettings(balance="weights"), classes, counts)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert class_weights(TrainSettings(), classes, {}) is None
    assert class_weights(TrainSettings(balance="sampling"), classes, counts) is None
    given = TrainSettings(class_weights={"WMs": 3, "PR": 2, "FMs": 0.5})
    assert class_weights(given, classes, {}) == [0.5, 2, 3]


@pytest.mark.parametrize(
    ("settings", "counts", "message"),
    [
        ({"balance": "weights"}, {"a": 3}, r"balance weights needs clips of each class .* none of b"),
        ({"balance": "sampling"}, {"a": 3, "b": 0}, r"balance sampling needs .*Received: none of b"),
        ({"class_weights": {"a": 1}}, {"a": 1, "b": 1}, r"name the data's classes, a, b. Received: a"),
        ({"class_weights": {}}, {"a": 1, "b": 1}, r"name the data's classes, a, b. Received: none"),
    ],
)
def test_weights_that_do_not_fit_the_classes_are_refused(settings, counts, message):
    with pytest.raises(RefusedError, match=message):
        class_weights(TrainSettings(**settings), ["a", "b"], counts)


def test_head_weights_name_the_heads():
    heads = ["logits_flow", "logits_frames"]
    assert head_weights(TrainSettings(), heads) is None
    given = {"logits_flow": 0.5, "logits_frames": 2.0}
    assert head_weights(TrainSettings(head_weights=given), heads) == given
    with pytest.raises(RefusedError, match=r"that are trained, logits. Received: logits_flow, logits_frames"):
        head_weights(TrainSettings(head_weights=given), ["logits"])
