"""Batching, pruning, admission: pure decisions. `POLICIES` names them; `make` builds one from a spec."""

from policies.accscale import AccScale
from policies.adaptive import Adaptive
from policies.admission import Admission
from policies.aimd import Aimd
from policies.autoscale import Autoscale, Hpa, Tail
from policies.bentoml import BentoML
from policies.buckets import Buckets
from policies.classes import Edf, Strict, Weighted
from policies.clipper import Clipper
from policies.clockwork import Clockwork
from policies.cocktail import Cocktail
from policies.codel import Codel
from policies.fixed import Fixed
from policies.greedy import Greedy
from policies.interface import (
    Action,
    Completion,
    Dispatch,
    Drop,
    Layers,
    Line,
    Planned,
    Policy,
    Preempt,
    Scale,
    Stops,
    View,
    Wait,
)
from policies.lazybatching import LazyBatching
from policies.lengths import Lengths
from policies.margin import Margin
from policies.mpc import Mpc
from policies.nexus import Nexus
from policies.nobatching import NoBatching
from policies.optimum import Optimum
from policies.predicted import Predicted
from policies.registry import describe, make, needs
from policies.routing import Router
from policies.shepherd import Shepherd
from policies.slackfit import SlackFit
from policies.smdp import Smdp
from policies.switching import Switching
from policies.symphony import Symphony
from policies.timeout import Timeout
from policies.tokenbucket import TokenBucket
from policies.triton import Triton

#: Every policy that a name stands for. One file and one line here add another.
POLICIES: dict[str, type] = {
    "none": NoBatching,
    "greedy": Greedy,
    "timeout": Timeout,
    "triton": Triton,
    "aimd": Aimd,
    "fixed": Fixed,
    "adaptive": Adaptive,
    "admission": Admission,
    "predicted": Predicted,
    "codel": Codel,
    "tokenbucket": TokenBucket,
    "buckets": Buckets,
    "lengths": Lengths,
    "router": Router,
    "edf": Edf,
    "strict": Strict,
    "weighted": Weighted,
    "smdp": Smdp,
    "mpc": Mpc,
    "autoscale": Autoscale,
    "hpa": Hpa,
    "tail": Tail,
    "nexus": Nexus,
    "clockwork": Clockwork,
    "symphony": Symphony,
    "slackfit": SlackFit,
    "clipper": Clipper,
    "bentoml": BentoML,
    "accscale": AccScale,
    "switching": Switching,
    "cocktail": Cocktail,
    "shepherd": Shepherd,
    "lazybatching": LazyBatching,
    "margin": Margin,
    "optimum": Optimum,
}

__all__ = [
    "POLICIES",
    "Action",
    "Completion",
    "Dispatch",
    "Drop",
    "Layers",
    "Line",
    "Planned",
    "Policy",
    "Preempt",
    "Scale",
    "Stops",
    "View",
    "Wait",
    "describe",
    "make",
    "needs",
]
