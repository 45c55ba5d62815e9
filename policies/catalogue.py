"""Every policy by its name."""

from policies.around.admission import Admission
from policies.around.autoscale import Autoscale, Hpa, Tail
from policies.around.buckets import Buckets
from policies.around.classes import Edf, Strict, Weighted
from policies.around.codel import Codel
from policies.around.gaps import Gaps
from policies.around.predicted import Predicted
from policies.around.routing import Router
from policies.around.tokenbucket import TokenBucket
from policies.batching.aimd import Aimd
from policies.batching.bentoml import BentoML
from policies.batching.clipper import Clipper
from policies.batching.clockwork import Clockwork
from policies.batching.greedy import Greedy
from policies.batching.infinity import Infinity
from policies.batching.lazybatching import LazyBatching
from policies.batching.lengths import Lengths
from policies.batching.nexus import Nexus
from policies.batching.nobatching import NoBatching
from policies.batching.rayserve import RayServe
from policies.batching.shepherd import Shepherd
from policies.batching.symphony import Symphony
from policies.batching.timeout import Timeout
from policies.batching.tokenbudget import TokenBudget
from policies.batching.torchserve import TorchServe
from policies.batching.triton import Triton
from policies.bounds.optimum import Optimum
from policies.exits.apparate import Apparate
from policies.exits.apparate_released import ApparateReleased
from policies.exits.certain import Certain
from policies.exits.oracles import OracleAgree, OracleStatic
from policies.exits.patience import Patience
from policies.exits.static import Static
from policies.pruning.accscale import AccScale
from policies.pruning.adaptive.policy import Adaptive
from policies.pruning.cascadeserve import CascadeServe
from policies.pruning.cocktail import Cocktail
from policies.pruning.deferral import Deferral
from policies.pruning.fixed import Fixed
from policies.pruning.margin import Margin
from policies.pruning.mpc import Mpc
from policies.pruning.slackfit import SlackFit
from policies.pruning.smdp import Smdp
from policies.pruning.switching import Switching
from policies.residency.balanced import Balanced
from policies.residency.belady import Belady
from policies.residency.cluster import Cluster
from policies.residency.fair import Fair
from policies.residency.full_copy import FullCopy
from policies.residency.gdsf import Gdsf
from policies.residency.lfu import Lfu
from policies.residency.lru import Lru
from policies.residency.partial import Partial
from policies.residency.random import Random
from policies.residency.resident import Resident
from policies.residency.resident_first import ResidentFirst
from policies.residency.slo import Slo
from policies.residency.tinylfu import TinyLfu
from policies.residency.uncached import Pipelined, Serial, Slora

#: Those for runs with adapters: wrappers that load and evict, and batches that go by what is there.
RESIDENCY: dict[str, type] = {
    "resident": Resident,
    "random": Random,
    "lru": Lru,
    "lfu": Lfu,
    "tinylfu": TinyLfu,
    "gdsf": Gdsf,
    "slo": Slo,
    "belady": Belady,
    "full_copy": FullCopy,
    "serial": Serial,
    "pipelined": Pipelined,
    "slora": Slora,
    "partial": Partial,
    "resident_first": ResidentFirst,
    "cluster": Cluster,
    "balanced": Balanced,
    "fair": Fair,
}
#: Every policy that a name stands for. One file and two lines here add another.
POLICIES: dict[str, type] = {
    "none": NoBatching,
    "greedy": Greedy,
    "timeout": Timeout,
    "triton": Triton,
    "tokenbudget": TokenBudget,
    "infinity": Infinity,
    "rayserve": RayServe,
    "torchserve": TorchServe,
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
    "gaps": Gaps,
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
    "cascadeserve": CascadeServe,
    "shepherd": Shepherd,
    "lazybatching": LazyBatching,
    "deferral": Deferral,
    "margin": Margin,
    "static": Static,
    "patience": Patience,
    "apparate_released": ApparateReleased,
    "apparate": Apparate,
    "certain": Certain,
    "oracle_agree": OracleAgree,
    "oracle_static": OracleStatic,
    "optimum": Optimum,
    **RESIDENCY,
}
