"""A tuned ranking on a device: history and candidates → the chance of a yes for each.

The reference in PyTorch (`RankTower`, as edge/parts.py), its ONNX graph, and what a device can not
rank by. The options of the classifier, soft ones included, are weights of the graph.

Legend: G events of a history, I candidates, R rows of a request, P soft prompts, C = 2 classes, D
width, S texts.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from m6rec.edge.graph import EdgeError, Graph
from m6rec.edge.graphs import UNSEEN, Maker
from m6rec.edge.lowering import as_array, block
from m6rec.edge.parts import fixed_states
from m6rec.model import plans
from m6rec.model.m6 import M6
from m6rec.model.masks import Layout
from m6rec.model.plans import Rows
from m6rec.model.tuning import Tuning, option_logits
from m6rec.tasks.ranking import RankingSettings

YES = 1
NEEDS: dict[str, tuple[object, str]] = {
    "features": (False, "cross features are counted over the log, which a device has not"),
    "evidence": (False, "evidence rests on rates counted over the log, which a device has not"),
    "residual": (False, "the residual has a vector for each known item"),
    "recency": (False, "a device does not tell when an event happened"),
    "plan": ("late", "a device keeps states of texts"),
    "segment_states": (1, "a device keeps one state of a text"),
}
"""Settings of a ranking that a device needs, and why."""


def check_ranking(reading: RankingSettings) -> None:
    """Raises EdgeError for a ranking that reads what a device has not."""
    for name, (right, why) in NEEDS.items():
        found = getattr(reading, name)
        if found != right:
            word = str(right).lower()
            raise EdgeError(
                f"ranking with {name} = {found!r} can not run on a device: {why}; "
                f"tune one with --set {name}={word}"
            )


class RankTower(nn.Module):
    """Layers L'+1…L over a history and each candidate, and the chance of a yes at [EOS]."""

    def __init__(self, model: M6, lower: int, tuning: Tuning) -> None:
        super().__init__()
        self.model, self.lower, self.tuning = model, lower, tuning
        self.prompts_PD, self.reads_2D = fixed_states(model, lower)

    def forward(self, h_GD: Tensor, h_ID: Tensor) -> Tensor:
        """States of events, oldest first, and of candidates' texts → [I]."""
        G, count = len(h_GD), len(h_ID)
        source_D, target_D = self.reads_2D[plans.READ_SOURCE], self.reads_2D[plans.READ_TARGET]
        parts = (h_GD, source_D[None], h_ID[:, None], target_D[None])
        x_IRD = torch.cat([part.expand(count, -1, -1) for part in parts], 1)
        ages = range(G - 1, -1, -1)
        slots = [
            *(plans.slot("event", age, self.model.config) for age in ages),
            plans.READ_SOURCE_SLOT,
            plans.SLOTS["item"],
            plans.READ_TARGET_SLOT,
        ]
        R = len(slots)
        whole_IR = torch.ones(count, R, dtype=torch.bool)
        segment_IR = torch.arange(R).expand(count, R)
        source_IR = segment_IR <= G
        layout = Layout(whole_IR, source_IR, segment_IR, (~source_IR).long())
        read_IQ = torch.tensor([[G, R - 1]]).expand(count, 2)
        rows = Rows(x_IRD, torch.tensor(slots).expand(count, R), layout, read_IQ)
        if self.prompts_PD is not None:
            rows = plans.put_prompts_first(rows, self.prompts_PD)
        read_IQD = plans.run_online(self.model, plans.enter_online(self.model, rows), self.lower)
        return option_logits(self.model, read_IQD[:, -1], self.tuning).softmax(-1)[:, YES]


def rank_graph(maker: Maker, tuning: Tuning) -> bytes:
    """`history` [G, D] and `items` [I, D], states both → `chances` [I]. The user's rows are
    computed once; every candidate reads their keys and values."""
    model, D = maker.model, maker.model.config.d_model
    g = Graph("rank", maker.weights)
    parts, _ = maker.source(g, "history")
    source = g.op("Concat", *parts, axis=1)
    own = g.op("Add", "items", g.constant(maker.slots(torch.tensor([plans.SLOTS["item"]]))))
    asks = maker.read(g, "items", plans.READ_TARGET, plans.READ_TARGET_SLOT)
    own, asks = (g.op("Unsqueeze", rows, g.constant([1])) for rows in (own, asks))
    x = g.op("Concat", own, asks, axis=1)
    layers = range(maker.lower, model.config.layers)
    for index in layers[:-1]:
        module = model.blocks[index]
        x = block(g, module, x, _later(g, source), before=source)
        source = block(g, module, source, None)
        end = g.constant([2**31 - 1])
        asks = g.op("Slice", x, g.constant([-1]), end, g.constant([1]))
    if layers:
        asks = block(g, model.blocks[layers[-1]], x, None, asks, source)
    state_ID = g.op("Squeeze", asks, g.constant([1]))
    options = model.prompts if tuning.ties_options else model.options
    assert options is not None
    options_DC = as_array(options[-tuning.classes :]).T / D**0.5
    chances_IC = g.op("Softmax", g.op("MatMul", state_ID, g.constant(options_DC)), axis=-1)
    g.op("Gather", chances_IC, g.constant(YES), out="chances", axis=1)
    shapes = {"history": ("FLOAT", ["G", D]), "items": ("FLOAT", ["I", D])}
    return g.serialised(shapes, {"chances": ["I"]})


def _later(g: Graph, source: str) -> str:
    """What a candidate's two rows may see: the source, and their own past. [2, R + 2]."""
    rows = g.op("Concat", g.constant([2]), g.op("Shape", source, start=1, end=2), axis=0)
    free = g.op("Expand", g.constant(np.zeros((1, 1), np.float32)), rows)
    own = np.array([[0, UNSEEN], [0, 0]], np.float32)
    return g.op("Concat", free, g.constant(own), axis=1)
