"""What a batch may be asked beyond running whole, and what executors say of it: plans, events, executions. A leaf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any, NamedTuple

#: What becomes of the requests of a batch that are sure at a cut: their answers leave and the batch runs on with them
#: ("result"); the others go on in a smaller batch ("compact"), and wait again after the last cut ("return"); the whole
#: batch ends there ("truncate").
SURE = ("compact", "result", "return", "truncate")
#: What can be counted up to a cut.
AXES = ("students", "layers")
#: What says how sure a request is at a cut. Of students: `margin`, the chance of its likeliest answer less that of the
#: next, or `votes`, the share of the prefixes up to the cut that answer as the last of them does. Of layers, of which
#: each cut but the model's own end is a ramp: `confidence`, the chance of its answer; `streak`, how many cuts in a row
#: answer alike up to this one; `agrees`, 1 where the answer is the final one, which only hindsight knows.
SURE_BY = {"students": ("margin", "votes"), "layers": ("confidence", "streak", "agrees")}


#: The requests of a batch, by number, in its order.
Requests = Sequence[int]


class Cut(NamedTuple):
    """A place where a batch is looked at: after `at` students or layers.

    least: a request is sure if its margin, or what else `by` names of SURE_BY, is at least this; its confidence must be
    more than this.
    """

    at: int
    least: float
    axis: str = "students"
    by: str = "margin"


class Span(NamedTuple):
    """Some layers of a model, first to last, half-open."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How a batch is to run, if not as a whole.

    cuts: ascending; the last is the end of the level (of a batch that is truncated: where it ends) and, but for
    "return", takes every request (least 0). sure: one of SURE. recorded: the file of recorded answers that a simulation
    replays; a real device works its margins out. span: run only these layers; up to the level's depth the batch is
    answered, before that its requests wait again when it is done.

    Raises ValueError for cuts that do not ascend, for a span beside cuts, and for neither.
    """

    cuts: tuple[Cut, ...] = ()
    sure: str = "compact"
    recorded: str = ""
    span: Span | None = None

    def __post_init__(self) -> None:
        if bool(self.cuts) == (self.span is not None):
            raise ValueError("a plan needs either cuts or a span of layers")
        if self.sure not in SURE:
            raise ValueError(f"sure is {self.sure!r}; it must be one of {', '.join(SURE)}")
        places = [cut.at for cut in self.cuts]
        if any(cut.axis not in AXES or cut.axis != self.cuts[0].axis for cut in self.cuts):
            raise ValueError(f"the cuts of a plan lie all on one axis of {', '.join(AXES)}, not {self.cuts}")
        if any(cut.by not in SURE_BY[cut.axis] for cut in self.cuts[:-1]):
            valid = " or ".join(SURE_BY[self.cuts[0].axis])
            raise ValueError(f"a cut on {self.cuts[0].axis} is sure by {valid}, not as in {self.cuts}")
        if any(place < 1 for place in places) or any(a >= b for a, b in pairwise(places)):
            raise ValueError(f"cuts must ascend from 1, not {places}")

    @property
    def exits(self) -> bool:
        """Whether its cuts lie on layers, so that answers leave at ramps."""
        return bool(self.cuts) and self.cuts[0].axis == "layers"


class Kind(Enum):
    """What can happen to a batch."""

    RELEASE = "release"  # these answers leave now
    ACCEPT = "accept"  # the device takes the next batch
    RETURN = "return"  # these requests wait again
    DONE = "done"  # the batch has ended; what is left of it is answered
    FINAL = "final"  # not of the executor: the policy learns what the final answers say of the ramps
    LOADED = "loaded"  # not of a batch, but of a GPU's link: an adapter is there


class Ramps(NamedTuple):
    """What the ramps of a batch answered, and what the whole model did: all that its exits can be tuned by.

    layers: those with a ramp, ascending. confidence, answer: arrays [ramps, rows]. final: [rows], -1 where a request
    left and did not run to the end. left: [rows], the ramp at which each left, by its place in layers; else their
    number. delay_s: from the end of the batch until this is known.
    """

    layers: tuple[int, ...]
    confidence: Any
    answer: Any
    final: Any
    left: Sequence[int]
    delay_s: float = 0.0


class Event(NamedTuple):
    """One thing that happens to a batch. DONE comes last, and once.

    after: seconds since the start of the batch. rows: positions in the batch; None: all of them. columns: a value per
    row: students (or exit), confidence, correct; with DONE also agrees, whether an answer that left before the end is
    the whole model's. ramps: with DONE, where the batch had some.
    """

    after: float
    kind: Kind
    rows: Sequence[int] | None = None
    columns: Mapping[str, Sequence[Any]] | None = None
    ramps: Ramps | None = None


class Execution(NamedTuple):
    """What a batch took: seconds until its device is done, and its events; without any, DONE alone."""

    seconds: float
    events: tuple[Event, ...] = ()
