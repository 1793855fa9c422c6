import cv2
import numpy as np
import pytest

from pipelines.flow import FlowEstimator, dequantize_flow, quantize_flow
from pipelines.schema import RefusedError


@pytest.fixture(scope="module")
def texture():
    noise = np.random.default_rng(3).random((160, 160)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.mark.parametrize("method", ["farneback", "dis"])
@pytest.mark.parametrize(("x", "y"), [(3, 0), (0, -2), (-4, 3)])
def test_a_shifted_picture_flows_by_its_shift(texture, method, x, y):
    moved = cv2.warpAffine(
        texture, np.float32([[1, 0, x], [0, 1, y]]), (160, 160), borderMode=cv2.BORDER_REFLECT
    )
    flow = FlowEstimator(method).between(texture, moved)
    assert flow.shape == (160, 160, 2)
    assert flow.dtype == np.float32
    inner = flow[20:-20, 20:-20]
    assert np.median(inner[..., 0]) == pytest.approx(x, abs=0.15)
    assert np.median(inner[..., 1]) == pytest.approx(y, abs=0.15)


def test_quantised_flow_is_within_half_a_step_and_zero_is_exact():
    flow = np.random.default_rng(0).uniform(-8, 8, (50, 50, 2)).astype(np.float32)
    flow[0, 0] = 0
    codes = quantize_flow(flow, 8.0)
    assert codes.dtype == np.uint8
    back = dequantize_flow(codes, 8.0)
    assert np.abs(back - flow).max() <= 8 / 254 + 1e-6
    assert (back[0, 0] == 0).all()


def test_codes_survive_a_round_trip():
    codes = np.arange(1, 256, dtype=np.uint8)
    np.testing.assert_array_equal(quantize_flow(dequantize_flow(codes, 20.0), 20.0), codes)


def test_fast_flow_is_clipped_not_wrapped():
    codes = quantize_flow(np.array([[-1e6, 1e6], [-20, 20]], np.float32), 20.0)
    np.testing.assert_array_equal(codes, [[1, 255], [1, 255]])


def test_an_unknown_method_is_refused():
    with pytest.raises(RefusedError, match=r'one of farneback, dis. Received: "cat"'):
        FlowEstimator("cat")
