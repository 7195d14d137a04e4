"""Where a setting of `fit` belongs: in `train`, in `tuning`, or to what the task reads."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from m6rec.config import ConfigError
from m6rec.model.tuning import Tuning
from m6rec.tasks.build import READS, TaskName, TaskSpec
from m6rec.training.settings import TrainSettings
from m6rec.training.writing import CUTTING


def check_places(task: TaskName, reading: Mapping[str, Any]) -> None:
    """Raises ConfigError for a setting that stands in the wrong place, naming the right one.

    What is no setting at all is left to the settings of the task, unless it is nearly one of
    another place.
    """
    own = {*type(getattr(TaskSpec(task=task), READS[task])).model_fields, *CUTTING}
    places = {
        **{name: "tuning" for name in Tuning.model_fields if name not in ("method", "classes")},
        **dict.fromkeys(TrainSettings.model_fields, "train"),
    }
    for name, value in reading.items():
        if name in own:
            continue
        near = difflib.get_close_matches(name, [*own, *places], n=1)
        if near and near[0] in places and near[0] not in own:
            place, right = places[near[0]], near[0]
            said = "belongs to" if name == right else "is unknown; did you mean"
            raise ConfigError(f"fit: {name!r} {said} {place}={{{right!r}: {value!r}}}")
