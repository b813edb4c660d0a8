"""conv_forward and conv_backward as a course on convolutional networks has them, to be put in the place of one's own.

They are for comparing with what one wrote oneself, so their accuracy is "proven": sums in a stated order, which are exact on small
integers and have the same bits on every machine. conv2d may use faster transforms, within their stated error.
"""
from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from . import _calls
from ._arrays import output
from ._problem import BACKWARD_DATA, BACKWARD_WEIGHTS, FORWARD, Names, Problem, assemble, is_sequence

_NAMES = Names("A_prev", "W", "b", "dZ")
_KEYWORDS = dict(dilation=1, groups=1, layout="NHWC", accuracy="proven", names=_NAMES, rank=2)


def _stride_and_pad(hparameters: Mapping[str, Any]) -> tuple[Any, Any]:
    try:
        return hparameters["stride"], hparameters["pad"]
    except (KeyError, TypeError):
        raise ValueError(f"hparameters is {hparameters!r}; a dictionary with 'stride' and 'pad' is needed") from None


def _pads(pad: Any) -> Any:
    """'same' and pairs are conv2d's: here an integer stands for all four sides."""
    if isinstance(pad, str) or is_sequence(pad) or isinstance(pad, (int, np.integer)) and pad < 0:
        raise ValueError(f"hparameters['pad'] is {pad!r}; an integer of at least 0 is needed")
    return pad


def _check_bias(b: Any, W: Any) -> None:
    if b.shape != (1, 1, 1, W.shape[-1]):
        raise ValueError(f"b has shape {b.shape}; (1, 1, 1, {W.shape[-1]}) is needed for W of shape {W.shape}")


def _problem(direction: str, A_prev: Any, W: Any, dZ: Any, stride: Any, pad: Any, dtype: Any) -> Problem:
    return assemble(direction, A_prev.shape, W.shape, None if dZ is None else dZ.shape, dtype, bias=direction != BACKWARD_DATA,
                    stride=stride, padding=_pads(pad), **_KEYWORDS)


def conv_forward(A_prev: np.ndarray, W: np.ndarray, b: np.ndarray, hparameters: Mapping[str, Any]) -> np.ndarray:
    """Z of one convolutional layer.

    A_prev       activations of the previous layer, (m, n_H_prev, n_W_prev, n_C_prev)
    W            weights, (f, f, n_C_prev, n_C); f need not be the same twice
    b            biases, (1, 1, 1, n_C)
    hparameters  {"stride": s, "pad": p}
    returns      Z, (m, n_H, n_W, n_C) with n_H = (n_H_prev - f + 2 * pad) // stride + 1

    float64 or float32, all alike, of any strides. Inputs are not changed.
    """
    stride, pad = _stride_and_pad(hparameters)
    key, call = _calls.find("conv_forward", A_prev, W, b, None, (stride, pad))
    if call is None:
        dtype = _calls.common_dtype(A_prev=A_prev, W=W, b=b)
        problem = _problem(FORWARD, A_prev, W, None, stride, pad, dtype)
        _check_bias(b, W)
        call = _calls.make(key, problem, 1)
    return _calls.forward(call, _NAMES, A_prev, W, b)


def conv_backward(dZ: np.ndarray, A_prev: np.ndarray, W: np.ndarray, b: np.ndarray,
                  hparameters: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of a loss with respect to conv_forward's arguments, from dZ, the gradient with respect to Z.

    returns      dA_prev, dW, db: shaped as A_prev, W and b. (b's values are not read.)
    """
    stride, pad = _stride_and_pad(hparameters)
    data_key, data = _calls.find("conv_backward dA", dZ, W, b, A_prev.shape if isinstance(A_prev, np.ndarray) else None, (stride, pad))
    weights_key, weights = _calls.find("conv_backward dW", dZ, A_prev, b, W.shape if isinstance(W, np.ndarray) else None, (stride, pad))
    if data is None or weights is None:
        dtype = _calls.common_dtype(dZ=dZ, A_prev=A_prev, W=W, b=b)
        problems = [_problem(d, A_prev, W, dZ, stride, pad, dtype) for d in (BACKWARD_DATA, BACKWARD_WEIGHTS)]
        _check_bias(b, W)
        data, weights = _calls.make(data_key, problems[0], 1), _calls.make(weights_key, problems[1], 1)
    dA_prev = _calls.backward_data(data, _NAMES, dZ, W)
    dW, db = output("dW", None, weights.shapes.weights, weights.dtype), output("db", None, b.shape, weights.dtype)
    _calls.backward_weights(weights, _NAMES, dZ, A_prev, dW, db)
    return dA_prev, dW, db


def course_problems(A_prev: Any, W: Any, b: Any, hparameters: Mapping[str, Any]) -> tuple[Problem, Problem, Problem]:
    """The problems that conv_forward and conv_backward solve for these arguments, to be given to convgen.tune: (Z, dA_prev, dW)."""
    stride, pad = _stride_and_pad(hparameters)
    dtype = _calls.common_dtype(A_prev=A_prev, W=W, b=b)
    forward, data, weights = (_problem(d, A_prev, W, None, stride, pad, dtype) for d in (FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS))
    _check_bias(b, W)
    return forward, data, weights
