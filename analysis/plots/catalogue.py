"""Every figure by name: what it is drawn of, and what draws it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from analysis.plots import of_adapters, of_comparisons, of_exits, of_plans, of_runs, of_studies, of_sweeps


class Plot(NamedTuple):
    """A figure: `draw(inputs, width_mm, **options)`, of a list of runs, a plan, or a frame of what `of` names."""

    of: str
    draw: Callable[..., Figure]

    @property
    def idea(self) -> str:
        """What it shows, in a line."""
        return (self.draw.__doc__ or "").splitlines()[0]

    @property
    def options(self) -> dict[str, Any]:
        """What may be set, with the defaults."""
        parameters = inspect.signature(self.draw).parameters.values()
        return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


PLOTS = {
    "timeline": Plot("runs", of_runs.timeline),
    "latency-cdf": Plot("runs", of_runs.latency_cdf),
    "latency-tail": Plot("runs", of_runs.latency_ccdf),
    "batch-sizes": Plot("runs", of_runs.batch_sizes),
    "padding": Plot("runs", of_runs.padding),
    "gantt": Plot("runs", of_runs.gantt),
    "exits": Plot("runs", of_exits.by_layer),
    "ramps": Plot("runs", of_exits.over_time),
    "loads": Plot("runs", of_runs.loads),
    "latency-load": Plot("sweep", of_sweeps.latency_against_load),
    "goodput-rate": Plot("sweep", of_sweeps.goodput_against_rate),
    "attainment-load": Plot("sweep", of_sweeps.attainment_against_load),
    "goodput-gpus": Plot("sweep", of_sweeps.goodput_against_gpus),
    "gpus-needed": Plot("sweep", of_sweeps.gpus_needed),
    "hits-budget": Plot("sweep", of_sweeps.hits_against_budget),
    "overlap-budget": Plot("sweep", of_sweeps.overlap_against_budget),
    "working-set": Plot("sweep", of_sweeps.throughput_against_tenants),
    "agreement-latency": Plot("sweep", of_sweeps.agreement_against_latency),
    "map-slo": Plot("sweep", of_sweeps.map_of_slo),
    "map-burstiness": Plot("sweep", of_sweeps.map_of_burstiness),
    "map": Plot("sweep", of_sweeps.attainment_map),
    "accuracy-latency": Plot("sweep", of_sweeps.accuracy_against_latency),
    "accuracy-goodput": Plot("sweep", of_sweeps.accuracy_against_goodput),
    "weighted": Plot("comparison", of_comparisons.weighted),
    "differences": Plot("comparison", of_comparisons.against_reference),
    "capacity": Plot("capacity", of_comparisons.capacity),
    "plan": Plot("plan", of_plans.attainment_against_gpus),
    "techniques": Plot("crossover", of_plans.technique_map),
    "tornado": Plot("sensitivity", of_plans.sensitivity),
    "students": Plot("study", of_studies.accuracy_against_cost),
    "adapters": Plot("adapters", of_adapters.accuracy_of_tenants),
}
