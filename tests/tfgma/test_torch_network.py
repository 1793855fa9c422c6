"""An ONNX file as a network of PyTorch."""

import numpy as np
import pytest

from pipelines.schema import RefusedError
from tests.tfgma.test_onnx import small
from tfgma.contenders import noise
from tfgma.onnx_file import convert_onnx
from tfgma.onnx_model import ONNXModel
from tfgma.torch_network import torch_network

pytestmark = pytest.mark.backends


def test_pytorch_answers_as_onnx_runtime_does():
    import torch  # which the other tests' environment has not

    content = convert_onnx(small("two_stream"))
    model = ONNXModel(content)
    inputs = noise(model.input_shapes)
    with torch.inference_mode():
        found = torch_network(content)(*map(torch.from_numpy, inputs.values()))
    np.testing.assert_allclose(found.numpy()[0], model(inputs), atol=1e-5)


def test_an_operator_that_pytorch_is_not_given_is_named():
    with pytest.raises(RefusedError, match=r"a network for PyTorch must consist of Conv.* Received: Slice\."):
        torch_network(convert_onnx(small("frame_fusion")))
