"""Writes a token classifier that reads a conversation as an ONNX graph, straight from its weights, without torch.

The inputs are `ids`, int64 (1, tokens): one window, special tokens and all; and `attentive`, a single truth value. The
outputs are `keep`, float32 (tokens,): the probability of each token to be kept; and `attention`, float32: how much each
attends to each, (tokens, tokens), the mean over the heads of the last third of the layers, or (0, 0) unless
`attentive`. Written-out probabilities cost a window of a small model 3 % of its time, their mean 5 % more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightmem_cli.local_models.bert_graph import Graph, embeddings, layer
from lightmem_cli.local_models.token_shape import Shape, attentive_layers

if TYPE_CHECKING:
    from lightmem_cli.local_models.bert_graph import Weights
    from lightmem_cli.local_models.minilm import Precision


def write_token_graph(encoder: Weights, classifier: Weights, *, shape: Shape, precision: Precision) -> bytes:
    """The serialised model. `encoder` has BERT's names for its weights, `classifier` has `weight` and `bias`."""
    from onnx import TensorProto, helper

    graph = Graph(precision=precision, epsilon=shape.epsilon)
    hidden = embeddings(graph, encoder, tokens=shape.window, first_position=shape.first_position)
    attends: list[str] = []
    fused = shape.layers - attentive_layers(shape.layers)
    for number in range(shape.layers):
        kept = attends if number >= fused else None
        hidden = layer(graph, encoder, hidden, number=number, heads=shape.heads, attends=kept)
    _keep(graph, classifier, hidden)
    _attention(graph, attends)
    return graph.serialised(
        "token classifier",
        inputs=[
            helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "tokens"]),
            helper.make_tensor_value_info("attentive", TensorProto.BOOL, []),
        ],
        outputs=[
            helper.make_tensor_value_info("keep", TensorProto.FLOAT, ["tokens"]),
            helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["rows", "columns"]),
        ],
    )


def _keep(graph: Graph, classifier: Weights, hidden: str) -> None:
    """The second of the two labels' probabilities; the head is small, and stays float32."""
    from onnx import helper

    head = graph.constant("classifier.weight", classifier["weight"].T)
    bias = graph.constant("classifier.bias", classifier["bias"])
    labels = graph.one("Softmax", graph.one("Add", graph.one("MatMul", hidden, head), bias), axis=-1)
    second = graph.one("Gather", labels, graph.constant("second", _integers(1)), axis=-1)
    graph.nodes.append(
        helper.make_node("Squeeze", [second, graph.constant("text_and_label", _integers(0, 2))], ["keep"])
    )


def _attention(graph: Graph, attends: list[str]) -> None:
    """The mean of the layers' and heads' probabilities where it is wanted, else nothing."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    def branch(name: str, nodes: list[Any]) -> Any:
        return helper.make_graph(
            nodes, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None])]
        )

    over = graph.constant("window_and_heads", _integers(0, 1))
    means = [f"{name}_mean" for name in attends]
    nodes = [
        helper.make_node("ReduceMean", [name, over], [mean], keepdims=0)
        for name, mean in zip(attends, means, strict=True)
    ]
    wanted = branch("wanted", [*nodes, helper.make_node("Mean", means, ["wanted"])])
    nothing = numpy_helper.from_array(np.empty((0, 0), np.float32))
    unwanted = branch("unwanted", [helper.make_node("Constant", [], ["unwanted"], value=nothing)])
    choice = helper.make_node("If", ["attentive"], ["attention"], then_branch=wanted, else_branch=unwanted)
    graph.nodes.append(choice)


def _integers(*values: int) -> Any:
    import numpy as np

    return np.array(values, np.int64)
