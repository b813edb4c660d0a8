"""convgen for NumPy: the fastest correct convolution for the shape at hand on the machine at hand.

    import convgen
    y = convgen.conv2d(x, w, b, padding="same")                   # conv1d, conv3d and their gradients likewise
    Z = convgen.conv_forward(A_prev, W, b, {"stride": 1, "pad": 2})
    dA_prev, dW, db = convgen.conv_backward(dZ, A_prev, W, b, {"stride": 1, "pad": 2})
    convgen.tune(convgen.problem(x, w, b, padding="same"))        # once: find the fastest and remember it
    net = convgen.Network("model.onnx"); y = net(x)               # a whole network, from its file or an ONNX model

"""
from . import _conv, _transpose
from ._conv import (conv1d, conv1d_backward_data, conv1d_backward_weights, conv2d, conv2d_backward_data, conv2d_backward_weights,
                    conv3d, conv3d_backward_data, conv3d_backward_weights, problem)
from ._course import conv_backward, conv_forward, course_problems
from ._library import Error
from ._network import Network, Port
from ._plan import Errors, Figures, Info, Plan, certificate, forget, plan, tune
from ._problem import Problem, Shapes
from ._transpose import (conv_transpose1d, conv_transpose1d_backward_data, conv_transpose1d_backward_weights, conv_transpose2d,
                         conv_transpose2d_backward_data, conv_transpose2d_backward_weights, conv_transpose3d,
                         conv_transpose3d_backward_data, conv_transpose3d_backward_weights)

__version__ = "0.1.0"
__doc__ += _conv.__doc__ + "\n" + _transpose.__doc__
__all__ = [name for name in dir() if not name.startswith("_")]
