"""The graphs of a bundle: text → state, history → vector, item → vector, and all in one.

They compute what the modules of edge/parts.py compute, with any number of texts, events and items.
Legend as there.
"""

from __future__ import annotations

import numpy as np
import torch

from m6rec.edge.graph import Graph, Weights
from m6rec.edge.lowering import as_array, block, check_family, linear, norm, table, unit
from m6rec.edge.parts import fixed_states
from m6rec.model import plans
from m6rec.model.m6 import M6

UNSEEN = -1e9


class Maker:
    """Graphs of one network. lower is L'; most: events of a history that are read; longest: tokens
    of a text, brackets included (only so many positions are needed). weights: those of another
    Maker, where both are for one bundle."""

    def __init__(
        self, model: M6, lower: int, most: int, longest: int, weights: Weights | None = None
    ) -> None:
        check_family(model)
        self.model, self.lower, self.most, self.longest = model, lower, most, longest
        self.weights = Weights() if weights is None else weights
        self.prompts_PD, self.reads_2D = fixed_states(model, lower)

    def all(self) -> dict[str, bytes]:
        """File name → ONNX model; `weights` then holds what they share."""
        return {
            "encode.onnx": self.encode(),
            "user.onnx": self._user(),
            "item.onnx": self._item(),
            "model.onnx": self._whole(),
        }

    def encode(self) -> bytes:
        """Text → state."""
        g = Graph("encode", self.weights)
        self.encoded(g, "ids", out="states")
        D = self.model.config.d_model
        return g.serialised({"ids": ("INT32", ["S", "N"])}, {"states": ["S", D]})

    def _user(self) -> bytes:
        g = Graph("user", self.weights)
        self.user_vector(g, "states", out="vector")
        config = self.model.config
        shape = ["G", config.d_model]
        return g.serialised({"states": ("FLOAT", shape)}, {"vector": [config.projection]})

    def _item(self) -> bytes:
        g = Graph("item", self.weights)
        self.item_vectors(g, "states", out="vectors")
        config = self.model.config
        shape = ["I", config.d_model]
        return g.serialised({"states": ("FLOAT", shape)}, {"vectors": ["I", config.projection]})

    def _whole(self) -> bytes:
        g = Graph("model", self.weights)
        user = self.user_vector(g, self.encoded(g, "history"))
        items = self.item_vectors(g, self.encoded(g, "candidates"))
        g.op("MatMul", items, user, out="scores")
        shapes = {
            "history": ("INT32", ["G", "N"]),
            "candidates": ("INT32", ["I", "M"]),
        }
        return g.serialised(shapes, {"scores": ["I"]})

    def encoded(self, g: Graph, ids_SN: str, out: str | None = None) -> str:
        """Layers 1…L' over texts and the mean of their states: [S, D]."""
        model = self.model
        width = g.op("Shape", ids_SN, start=1, end=2)
        places = g.op("Range", g.constant(0), g.op("Squeeze", width), g.constant(1))
        x = g.op("Add", table(g, model.tokens, ids_SN), self._positions(g, places))
        if model.embed_norm is not None:
            x = norm(g, model.embed_norm, x)
        pad = g.constant(np.array(model.config.special.pad, np.int32))
        padding_SN = g.op("Cast", g.op("Equal", ids_SN, pad), to=1)
        bias_SN = g.op("Mul", padding_SN, g.constant(UNSEEN))
        bias = g.op("Unsqueeze", bias_SN, g.constant([1, 2]))
        for index in range(self.lower):
            x = block(g, model.blocks[index], x, bias)
        weight_SN = g.op("Sub", g.constant(1.0), padding_SN)
        weight_S1N = g.op("Unsqueeze", weight_SN, g.constant([1]))
        total_SD = g.op("Squeeze", g.op("MatMul", weight_S1N, x), g.constant([1]))
        count_S1 = g.op("ReduceSum", weight_SN, g.constant([1]), keepdims=1)
        return g.op("Div", total_SD, count_S1, out=out)

    def _positions(self, g: Graph, places: str) -> str:
        assert self.model.positions is not None
        return table(g, self.model.positions, places, self.longest)

    def user_vector(self, g: Graph, states_GD: str, out: str | None = None) -> str:
        """Layers L'+1…L over a history and the vector at [EOS']: [K]."""
        parts, asks = self.source(g, states_GD)
        asks = self._online(g, parts, asks, None)
        vector = linear(g, [self.model.project_user], g.op("Squeeze", asks, g.constant([0, 1])))
        return unit(g, vector, out)

    def source(self, g: Graph, states_GD: str) -> tuple[list[str], str]:
        """Rows of a history as they enter layer L'+1, in parts [1, …, D], and the last of them,
        which asks: [1, 1, D]."""
        config = self.model.config
        ages = torch.arange(self.most - 1, -1, -1)
        slots = torch.tensor([plans.slot("event", int(age), config) for age in ages])
        newest = g.op("Neg", g.op("Shape", states_GD, start=0, end=1))

        def last(values: np.ndarray) -> str:
            end, axis = g.constant([self.most]), g.constant([0])
            return g.op("Slice", g.constant(values), newest, end, axis)

        recency = (slots - plans.FIRST_EVENT_SLOT).float() * self.model.recency.float()
        weight_1G = g.op("Unsqueeze", last(as_array(recency.exp())), g.constant([0]))
        total_1D = g.op("MatMul", weight_1G, states_GD)
        mean_1D = g.op("Div", total_1D, g.op("ReduceSum", weight_1G, g.constant([1]), keepdims=1))
        asks = self.read(g, mean_1D, plans.READ_SOURCE, plans.READ_SOURCE_SLOT)
        asks = g.op("Unsqueeze", asks, g.constant([0]))
        events = g.op("Add", states_GD, last(self.slots(slots)))
        parts = [g.op("Unsqueeze", events, g.constant([0])), asks]
        if self.prompts_PD is not None:
            slot_P = torch.full((len(self.prompts_PD),), plans.SLOTS["prompt"])
            prompts = as_array(self.prompts_PD) + self.slots(slot_P)
            parts.insert(0, g.constant(prompts[None]))
        return parts, asks

    def item_vectors(self, g: Graph, states_ID: str, out: str | None = None) -> str:
        """Layers L'+1…L over items and the vectors at [EOS]: [I, K]."""
        asks = self.read(g, states_ID, plans.READ_TARGET, plans.READ_TARGET_SLOT)
        asks = g.op("Unsqueeze", asks, g.constant([1]))
        slot = self.slots(torch.tensor([plans.SLOTS["item"]]))
        own = g.op("Add", states_ID, g.constant(slot))
        parts = [g.op("Unsqueeze", own, g.constant([1])), asks]
        later = np.array([[0, UNSEEN], [0, 0]], np.float32)
        asks = self._online(g, parts, asks, later)
        vectors = linear(g, [self.model.project_item], g.op("Squeeze", asks, g.constant([1])))
        return unit(g, vectors, out)

    def read(self, g: Graph, mean: str, which: int, slot: int) -> str:
        """How a read token enters the online layers (see `plans.enter_online`)."""
        gates = self.model.read_gate.detach()
        own_D = self.reads_2D[which] + torch.from_numpy(self.slots(torch.tensor([slot])))[0]
        fixed_D = own_D * gates[1] + self.model.read_token[which].detach()
        return g.op(
            "Add", g.op("Mul", mean, g.constant(float(gates[0]))), g.constant(as_array(fixed_D))
        )

    def slots(self, slots: torch.Tensor) -> np.ndarray:
        """Segment embeddings of slots, to be added to rows."""
        with torch.no_grad():
            return as_array(self.model.segments(slots))

    def _online(self, g: Graph, parts: list[str], asks: str, bias: np.ndarray | None) -> str:
        """Rows through layers L'+1…L; in the last one only what is read is computed."""
        layers = range(self.lower, self.model.config.layers)
        if not layers:
            return asks
        x = g.op("Concat", *parts, axis=1)
        seen = None if bias is None else g.constant(bias)
        for index in layers[:-1]:
            x = block(g, self.model.blocks[index], x, seen)
        if len(layers) > 1:
            end = g.constant([2**31 - 1])
            asks = g.op("Slice", x, g.constant([-1]), end, g.constant([1]))
        everything = None  # the read row is the last one and sees all before it
        return block(g, self.model.blocks[layers[-1]], x, everything, asks)
