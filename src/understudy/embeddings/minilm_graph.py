"""all-MiniLM-L6-v2's weights as an ONNX model: six layers of BERT, and the sum of the last one's tokens.

Inputs: `ids` [texts, tokens] and `positions` [tokens] of int64; `mask` [texts, tokens] of float32, 1 for a token and 0
behind a text's end. Output: `sums` [texts, 384].
"""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["LAYERS", "SIZE", "onnx_model"]

LAYERS: Final = 6
SIZE: Final = 384
_HEADS: Final = 12
_EPSILON: Final = 1e-12
_FAR: Final = -10_000.0  # what is added to the attention to a token that is not there
_OPSET: Final = 20
_IR_VERSION: Final = 9  # the first that has this opset

Tensors = Mapping[str, NDArray[np.float32]]


def onnx_model(weights: Tensors) -> bytes:
    """The model, weights included. Raises `KeyError`: a weight is missing."""
    graph = _Graph(weights)
    hidden = graph.embedded()
    bias = graph.add("Mul", graph.add("Sub", "mask4", graph.number(1.0)), graph.number(-_FAR))
    for layer in range(LAYERS):
        hidden = graph.layer(f"encoder.layer.{layer}.", hidden, bias)
    graph.add("ReduceSum", graph.add("Mul", hidden, "mask3"), graph.whole("tokens_axis", [1]), out="sums", keepdims=0)
    return graph.model()


class _Graph:
    def __init__(self, weights: Tensors) -> None:
        self._weights = weights
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self.add("Unsqueeze", "mask", self.whole("last_axis", [2]), out="mask3")
        self.add("Unsqueeze", "mask", self.whole("middle_axes", [1, 2]), out="mask4")

    def add(self, kind: str, *inputs: str, out: str | None = None, **attributes: float | list[int]) -> str:
        """The name of what the node puts out."""
        name = out or f"n{len(self._nodes)}"
        node = helper.make_node(kind, inputs, [name])
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(node)
        return name

    def constant(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def whole(self, name: str, values: list[int]) -> str:
        return self.constant(name, np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.constant(f"number {value}", np.array(value, np.float32))

    def embedded(self) -> str:
        words = self.constant("words", self._weights["embeddings.word_embeddings.weight"])
        # Everything that is embedded is a first sentence, so its type is part of every position.
        first = self._weights["embeddings.token_type_embeddings.weight"][0]
        positions = self.constant("places", self._weights["embeddings.position_embeddings.weight"] + first)
        both = self.add("Add", self.add("Gather", words, "ids"), self.add("Gather", positions, "positions"))
        return self._normed("embeddings.LayerNorm.", both)

    def layer(self, name: str, hidden: str, bias: str) -> str:
        # The division by the square root of a head's size is done once, here.
        scale = 1 / math.sqrt(SIZE / _HEADS)
        query = self._heads(self._linear(f"{name}attention.self.query.", hidden, scale), [0, 2, 1, 3])
        key = self._heads(self._linear(f"{name}attention.self.key.", hidden), [0, 2, 3, 1])
        value = self._heads(self._linear(f"{name}attention.self.value.", hidden), [0, 2, 1, 3])
        attention = self.add("Softmax", self.add("Add", self.add("MatMul", query, key), bias), axis=-1)
        seen = self.add("Transpose", self.add("MatMul", attention, value), perm=[0, 2, 1, 3])
        joined = self.add("Reshape", seen, self.whole("joined", [0, 0, SIZE]))
        told = self.add("Add", self._linear(f"{name}attention.output.dense.", joined), hidden)
        hidden = self._normed(f"{name}attention.output.LayerNorm.", told)
        wide = self.add("Gelu", self._linear(f"{name}intermediate.dense.", hidden))
        narrow = self.add("Add", self._linear(f"{name}output.dense.", wide), hidden)
        return self._normed(f"{name}output.LayerNorm.", narrow)

    def model(self) -> bytes:
        inputs = [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "tokens"]),
            helper.make_tensor_value_info("positions", TensorProto.INT64, ["tokens"]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["texts", "tokens"]),
        ]
        outputs = [helper.make_tensor_value_info("sums", TensorProto.FLOAT, ["texts", SIZE])]
        graph = helper.make_graph(self._nodes, "MiniLM", inputs, outputs, list(self._constants.values()))
        opset = [helper.make_opsetid("", _OPSET)]
        return bytes(helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION).SerializeToString())

    def _heads(self, hidden: str, order: list[int]) -> str:
        cut = self.add("Reshape", hidden, self.whole("heads", [0, 0, _HEADS, SIZE // _HEADS]))
        return self.add("Transpose", cut, perm=order)

    def _linear(self, name: str, hidden: str, scale: float = 1.0) -> str:
        weight = self.constant(f"{name}weight", self._weights[f"{name}weight"].T * np.float32(scale))
        bias = self.constant(f"{name}bias", self._weights[f"{name}bias"] * np.float32(scale))
        return self.add("Add", self.add("MatMul", hidden, weight), bias)

    def _normed(self, name: str, hidden: str) -> str:
        scale = self.constant(f"{name}weight", self._weights[f"{name}weight"])
        bias = self.constant(f"{name}bias", self._weights[f"{name}bias"])
        return self.add("LayerNormalization", hidden, scale, bias, axis=-1, epsilon=_EPSILON)
