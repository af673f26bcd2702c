"""Writes the encoder that reads a conversation's sentences as an ONNX graph, straight from its weights, without torch.

The input is `ids`, int64 (texts, tokens): texts of one length, so that nothing is padded. The output is `hidden`,
float32 (texts, tokens, width): the last hidden states.

In int8 each token's activations have a scale of their own, their largest magnitude, and so has each output column of a
weight. Sums of integers are exact, so what a token becomes depends neither on the other texts of a run nor on their
number; onnxruntime's own dynamic quantisation takes one scale over the whole run. It is nearer to float32 too: cosine
.996 on average over LoCoMo's sentences, against .992.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lightmem_cli.local_models.minilm import Precision

    Array: TypeAlias = NDArray[Any]
    Weights: TypeAlias = Mapping[str, NDArray[np.float32]]

_MICROSOFT: Final = "com.microsoft"  # onnxruntime's own fused operators
_SCALARS: Final = {"top": 127, "top_share": 1 / 127, "smallest": 1e-9, "middle_and_half": 128.5, "unit": 1}
_SMALLEST: Final = 1e-30  # of a scale: a row of zeros, as of padding, stays one


class Graph:
    """Collects nodes and constants; each operation returns the name of its result.

    `epsilon` is that of layer normalisation, from the model's config.json.
    """

    def __init__(self, *, precision: Precision, epsilon: float = 1e-12) -> None:
        import numpy as np

        self.precision: Final = precision
        self.epsilon: Final = epsilon
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        if precision == "int8":
            for name, value in _SCALARS.items():
                self.constant(name, np.array(value, np.float32))
            self.constant("zero_point", np.array(128, np.uint8))
            self.constant("last_axis", np.array([-1], np.int64))

    def constant(self, name: str, value: Array) -> str:
        import numpy as np
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> list[str]:
        from onnx import helper

        names = [f"{kind}_{len(self.nodes)}_{n}" for n in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return names

    def one(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        return self.node(kind, *inputs, domain=domain, **attributes)[0]

    def serialised(self, name: str, *, inputs: Sequence[Any], outputs: Sequence[Any]) -> bytes:
        """The whole as a model, as onnxruntime reads it; `inputs` and `outputs` are ONNX's own value infos."""
        from onnx import helper

        model = helper.make_model(
            helper.make_graph(self.nodes, name, inputs, outputs, self.constants),
            opset_imports=[helper.make_opsetid("", 19), helper.make_opsetid(_MICROSOFT, 1)],
            ir_version=9,
        )
        whole: bytes = model.SerializeToString()
        return whole


def write_graph(weights: Weights, *, layers: int, heads: int, tokens: int, precision: Precision) -> bytes:
    """The serialised encoder: `layers` BERT layers of `heads` attention heads, for at most `tokens` wordpieces."""
    from onnx import TensorProto, helper

    graph = Graph(precision=precision)
    hidden = embeddings(graph, weights, tokens=tokens)
    for number in range(layers):
        hidden = layer(graph, weights, hidden, number=number, heads=heads)
    graph.nodes.append(helper.make_node("Identity", [hidden], ["hidden"]))
    width = weights["embeddings.LayerNorm.weight"].shape[0]
    return graph.serialised(
        "encoder",
        inputs=[helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "tokens"])],
        outputs=[helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["texts", "tokens", width])],
    )


def embeddings(graph: Graph, weights: Weights, *, tokens: int, first_position: int = 0) -> str:
    """Word, position and (constant) token-type embeddings of `ids`, added and normalised.

    `first_position` is the row of the table of positions that the first token has.
    """
    import numpy as np
    from onnx import TensorProto

    table = weights["embeddings.word_embeddings.weight"]
    if graph.precision == "int8":
        scale = np.maximum(np.abs(table).max(axis=1, keepdims=True) / np.float32(127), np.float32(_SMALLEST))
        rows = graph.constant("words", np.rint(table / scale).astype(np.int8))
        words = graph.one("Cast", graph.one("Gather", rows, "ids"), to=TensorProto.FLOAT)
        words = graph.one("Mul", words, graph.one("Gather", graph.constant("word_scales", scale), "ids"))
    else:
        words = graph.one("Gather", graph.constant("words", table), "ids")
    places = weights["embeddings.position_embeddings.weight"][first_position : first_position + tokens]
    places = places + weights["embeddings.token_type_embeddings.weight"][0]
    start = graph.constant("start", np.array([0], np.int64))
    length = graph.one("Shape", "ids", start=1, end=2)
    positions = graph.one("Slice", graph.constant("positions", places), start, length, start)
    return _normalise(graph, weights, graph.one("Add", words, positions), prefix="embeddings.")


def layer(
    graph: Graph, weights: Weights, hidden: str, *, number: int, heads: int, attends: list[str] | None = None
) -> str:
    """One layer: attention over the text's tokens, then the feed-forward part, each added to what came in.

    Given `attends`, and one text: the name of its probabilities, (1, heads, tokens, tokens), is appended. For that they
    are written out: onnxruntime's fused attention keeps none.
    """
    import numpy as np

    prefix = f"encoder.layer.{number}."
    three = [f"{prefix}attention.self.{part}." for part in ("query", "key", "value")]
    joined = np.concatenate([weights[name + "weight"] for name in three])
    bias = graph.constant(prefix + "bias", np.concatenate([weights[name + "bias"] for name in three]))
    parts = _product(graph, hidden, prefix + "qkv", joined)
    if attends is None:
        split = graph.node("Split", parts, outputs=3, axis=-1, num_outputs=3)
        read = graph.one("MultiHeadAttention", *split, bias, domain=_MICROSOFT, num_heads=heads)
    else:
        read, probabilities = _written_out(
            graph, graph.one("Add", parts, bias), prefix, width=len(joined) // 3, heads=heads
        )
        attends.append(probabilities)
    hidden = _project(graph, weights, read, onto=hidden, prefix=prefix + "attention.output.")
    inner = prefix + "intermediate.dense."
    wide = _product(graph, hidden, inner + "weight", weights[inner + "weight"])
    wide = graph.one("BiasGelu", wide, *_constants(graph, weights, inner + "bias"), domain=_MICROSOFT)
    return _project(graph, weights, wide, onto=hidden, prefix=prefix + "output.")


def _written_out(graph: Graph, parts: str, prefix: str, *, width: int, heads: int) -> tuple[str, str]:
    """One text's attention from queries, keys and values, (1, tokens, 3 × width): what is read, and from where."""
    import numpy as np

    size = width // heads
    by_head = graph.constant(prefix + "by_head", np.array([-1, 3, heads, size], np.int64))
    joined = graph.constant(prefix + "joined", np.array([1, -1, width], np.int64))
    scale = graph.constant(prefix + "scale", np.array(size**-0.5, np.float32))
    stacked = graph.one("Transpose", graph.one("Reshape", parts, by_head), perm=[1, 2, 0, 3])
    query, key, value = graph.node("Split", stacked, outputs=3, axis=0, num_outputs=3)
    scores = graph.one("MatMul", graph.one("Mul", query, scale), graph.one("Transpose", key, perm=[0, 1, 3, 2]))
    probabilities = graph.one("Softmax", scores, axis=-1)
    read = graph.one("Transpose", graph.one("MatMul", probabilities, value), perm=[0, 2, 1, 3])
    return graph.one("Reshape", read, joined), probabilities


def _project(graph: Graph, weights: Weights, value: str, *, onto: str, prefix: str) -> str:
    """A dense layer's result added to `onto`, and layer normalisation of the sum.

    Two additions and LayerNormalization take a fifth less time over all than SkipLayerNormalization, which fuses them.
    """
    dense = _product(graph, value, prefix + "dense.weight", weights[prefix + "dense.weight"])
    total = graph.one("Add", graph.one("Add", dense, *_constants(graph, weights, prefix + "dense.bias")), onto)
    return _normalise(graph, weights, total, prefix=prefix)


def _normalise(graph: Graph, weights: Weights, value: str, *, prefix: str) -> str:
    scale_and_shift = _constants(graph, weights, prefix + "LayerNorm.weight", prefix + "LayerNorm.bias")
    return graph.one("LayerNormalization", value, *scale_and_shift, axis=-1, epsilon=graph.epsilon)


def _product(graph: Graph, value: str, name: str, weight: Array) -> str:
    """`value` times the transpose of `weight` (outputs, inputs), as PyTorch keeps it."""
    if graph.precision == "fp32":
        return graph.one("MatMul", value, graph.constant(name, weight.T))
    integers, column_scale = quantise(weight)
    columns = graph.constant(name, integers.T), "unit", graph.constant(name + "_scale", column_scale)
    row, row_scale = _quantised_rows(graph, value)
    product = graph.one("MatMulIntegerToFloat", row, *columns, "zero_point", domain=_MICROSOFT)
    return graph.one("Mul", product, row_scale)


def quantise(weight: Array) -> tuple[Array, Array]:
    """`weight` (outputs, inputs) as int8 and a float32 scale per output, such that no processor's sums overflow.

    Processors without VNNI add products of unsigned activations and two neighbouring weights in 16 bits, and saturate.
    With at most 127 (128 once rounded) for the magnitudes of two neighbours together, 255 times their sum fits.
    """
    import numpy as np

    scale = (np.abs(weight[:, 0::2]) + np.abs(weight[:, 1::2])).max(axis=1) / np.float32(127)
    scale = np.maximum(scale, np.float32(_SMALLEST))
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


def _quantised_rows(graph: Graph, value: str) -> tuple[str, str]:
    """Each token's activations as uint8 around 128, and the scale of each token.

    Adding a half and cutting off is rounding: every sum is positive.
    """
    from onnx import TensorProto

    largest = graph.one("ReduceMax", graph.one("Abs", value), "last_axis", keepdims=1)
    largest = graph.one("Max", largest, "smallest")
    stretched = graph.one("Mul", value, graph.one("Div", "top", largest))
    row = graph.one("Cast", graph.one("Add", stretched, "middle_and_half"), to=TensorProto.UINT8)
    return row, graph.one("Mul", largest, "top_share")


def _constants(graph: Graph, weights: Weights, *names: str) -> list[str]:
    return [graph.constant(name, weights[name]) for name in names]
