"""Exits that keep their promise: by a bound on what they change, and by making up for what they changed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from time import thread_time
from typing import NamedTuple

import numpy as np

from policies.interface import Dispatch, Final, Heard, View
from policies.machinery.exits.ending import AUDIT, MODES, EarlyEnd
from policies.machinery.exits.observed import Frontier, Observed, frontier
from policies.machinery.exits.promise import Changes, Promise, kept
from policies.machinery.exits.ramped import Ramped, refuse, wrong
from policies.machinery.exits.thresholds import NEVER, binned, chosen, leaving, settled, tuned
from profiler.events import BatchPlan, Ramps

#: Requests between two choices of thresholds, unless so many errors come before; between two searches for better ones,
#: at least; in a turn of ramps; in how many turns a shadow ramp is on once.
STEP, AT_ONCE, SEARCH, TURN, SHADOW = 128, 5, 1024, 1024, 4
#: Fewer rows are too few to search on. What a ramp has to add to be taken, in whole batches. Ramps at first, at most.
FEWEST, WORTH, AT_FIRST = 768, 0.003, 4


@dataclass
class Certain(Ramped):
    """Exits whose answers are the whole model's but for a share `target`, over whole runs and whatever the traffic.

    Answers leave at thresholds from a frontier, strict to eager: the best ones at a price per changed answer, on the
    last `window` requests. The one that saves most is taken whose errors on them are below the allowance but for a
    chance of `delta` (Clopper and Pearson's bound); none leaves before there is enough data. The allowance integrates:
    what was not spent is spent later, and the reverse. When errors come more often or more seldom than they did, what
    was seen before is forgotten. Ramps together take at most the share `budget` of a batch: at first those that are
    best on the tuning rows; then, while there is room, one more is on now and then, as a shadow that lets none leave,
    and is taken if what is saved with it is more than its time. A ramp that adds nothing goes.

    tune_s: virtual seconds until what was tuned is used. mode: while other requests wait, batches go on with those that
    are left ("compact") or end at the last ramp ("truncate"), where the table predicts that this takes less time, and
    no more than the share `overload` of answers is changed by the same bound. What such a batch changes is not known
    but taken from the window, and made up for; one in three runs on, to be learned from. With "result" every request
    runs to the end, so that all errors are known.
    """

    target: float = 0.01
    budget: float = 0.02
    delta: float = 0.1
    window: int = 4096
    tune_s: float = 0.0
    mode: str = "compact"
    overload: float = 0.02
    uses = Ramped.uses | {"finals", "now", "waiting", "kind"}

    def prepare(self, view: View) -> None:
        assert self.level is not None
        valid = 0 < self.target < 1 and 0 < self.delta < 1 and self.budget >= 0 and self.window >= 1024
        refuse("certain", valid, "0 < target < 1, 0 < delta < 1, budget >= 0, window >= 1024", self)
        refuse("certain", self.mode in MODES, f"a mode of {', '.join(MODES)}", self)
        layers, rows = self.level.depth - 1, self.answers.learning
        bins, off = binned(self.answers.confidence[:layers, rows]), wrong(self.answers, rows, layers)
        self._ramps = chosen(bins, off, self.costs, int(self.target * len(rows)), self.budget, AT_FIRST)
        own, self._known = list(self._ramps), (bins, off)
        self._window, self._promise, self._changes = (
            Observed(layers, self.window),
            Promise(self.target),
            Changes(self.target),
        )
        self._points = frontier(bins[own], off[own], self.costs.gain(own))
        self._frontier = Frontier(self._window, self.costs, self._ramps, self._points)
        self._shadow: int | None = None
        self._view, self._coming, self._early, self._changed = view, deque[Use](), 0, 0.0
        self._point, self._new, self._errors = 0, list[Ramps](), 0
        self._rows, self._searched, self._turned, self._turns = 0, 0, 0, 0
        self.tuning_s: list[float] = []
        self._use(0.0)

    def planned(self, view: View, action: Dispatch) -> BatchPlan:
        while self._coming and self._coming[0].since <= view.now:
            self._used = self._coming.popleft()
        _, plan, early, ending = self._used
        if early is None or ending is None or view.waiting <= len(action.requests):
            return plan
        self._early += 1
        audited = self._early % AUDIT == 0
        return early if not audited and ending.sooner(view.kind(action.requests), len(action.requests)) else plan

    def observe(self, event: Heard) -> None:
        if type(event) is not Final or event.ramps is None:
            super().observe(event)
            return
        if event.ramps.final.min() < 0:  # some left for good
            count = len(event.ramps.final)
            self._promise.add(count, self._changed * count)
            return
        self._new.append(event.ramps)
        self._rows += len(event.ramps.final)
        self._errors += errors_in(event.ramps)
        if self._rows >= STEP or self._errors >= AT_ONCE:
            began = thread_time()
            self._tune(event.time)
            self.tuning_s.append(thread_time() - began)

    def _tune(self, now: float) -> None:
        """Take in what was observed, choose thresholds, and now and then search anew."""
        count = max(1, self._frontier.count)
        expected = float(self._frontier.errors[self._point]) / count
        errors = self._taken_in()
        self._promise.add(len(errors), int(errors.sum()))
        if keep := self._changes.add(errors, expected):
            self._window.forget(keep)
            self._frontier = Frontier(self._window, self.costs, self._ramps, self._points)
        self._searched += len(errors)
        self._turned += len(errors)
        if self._turned >= TURN:
            self._turn()
        if self._searched >= max(SEARCH, self._frontier.count // 2):
            self._search()
        self._choose()
        self._use(now + self.tune_s)

    def _taken_in(self) -> np.ndarray:
        """Put what was observed into the window and the counts; returns whether each served answer was changed."""
        found, where = [], []
        for ramps in joined(self._new):
            where.append(self._window.add(ramps))
            left = np.asarray(ramps.left)
            answer = np.vstack([ramps.answer, ramps.final])
            found.append(answer[left, np.arange(len(left))] != ramps.final)
        self._frontier.update(np.concatenate(where))
        self._new, self._rows, self._errors = [], 0, 0
        return np.concatenate(found)

    def _choose(self) -> None:
        """The point of the frontier that saves most of those within the allowance."""
        its = self._frontier
        within = kept(its.errors, its.count, self._promise.allowed, self.delta)
        within[0] = True
        self._point = int(np.where(within, its.saved, -np.inf).argmax())

    def _search(self) -> None:
        """Work out the frontier anew, on the tuning rows too while the window has few."""
        self._searched, own = 0, list(self._ramps)
        bins, off = self._window.of(own)
        if bins.shape[1] < self.window // 2:
            bins, off = (np.hstack([known[own], new]) for known, new in zip(self._known, (bins, off), strict=True))
        self._points = frontier(bins, off, self.costs.gain(own))
        self._frontier = Frontier(self._window, self.costs, self._ramps, self._points)

    def _turn(self) -> None:
        """Judge a shadow ramp whose turn is over, and the others with it; let the next one have its turn."""
        self._turned, self._turns = 0, self._turns + 1
        if self._shadow is not None:
            on = tuple(sorted((*self._ramps, self._shadow)))
            bins, off = self._window.of(on, TURN)
            if bins.shape[1] >= FEWEST and (better := self._worth(on, bins, off)) != self._ramps:
                self._ramps, self._searched, self._point = better, 0, 0
                own = [on.index(each) for each in better]
                self._points = frontier(bins[own], off[own], self.costs.gain(better))
                self._frontier = Frontier(self._window, self.costs, better, self._points)
        able = np.flatnonzero(self.costs.lead > self.costs.ramp + self.costs.release).tolist()
        spent = self.costs.ramp[list(self._ramps)].sum()
        rest = [each for each in able if each not in self._ramps and spent + self.costs.ramp[each] <= self.budget]
        turn, off_turn = divmod(self._turns, SHADOW)
        self._shadow = rest[turn % len(rest)] if rest and not off_turn else None

    def _worth(self, on: tuple[int, ...], bins: np.ndarray, off: np.ndarray) -> tuple[int, ...]:
        """Those of these ramps whose time is worth it: without the one that adds least, while that is too little."""
        price = tuned(bins, off, self.costs.gain(on), int(self.target * bins.shape[1]))[1]

        def value(ramps: tuple[int, ...]) -> float:
            own = [on.index(each) for each in ramps]
            found = settled(bins[own], off[own], self.costs.gain(ramps), price, (NEVER,) * len(own))
            return found.saving - price * float(found.errors / bins.shape[1])

        kept_, best = on, value(on)
        while len(kept_) > 1:
            without = {one: tuple(each for each in kept_ if each != one) for one in kept_}
            least, one = max((value(rest), one) for one, rest in without.items())
            if best - least >= (WORTH if one == self._shadow else 0.0):
                break
            kept_, best = without[one], least
        return kept_

    def _use(self, when: float) -> None:
        """Make the plan of the chosen point, for batches from some time on."""
        at = dict(zip(self._ramps, self._frontier.at[self._point].tolist(), strict=True))
        early, ending = self._ended(at) if self.mode != "result" and self._point else (None, None)
        if self._shadow is not None:
            at[self._shadow] = NEVER
        if at != getattr(self, "_made", None):
            self._made, ramps = at, sorted(at)
            self._plan = self.on_grid(ramps, [at[layer] for layer in ramps])
        self._coming.append(Use(when, self._plan, early, ending))

    def _ended(self, at: dict[int, int]) -> tuple[BatchPlan | None, EarlyEnd | None]:
        """The plan of batches that end early at these thresholds, and when they do; none where too much changes."""
        assert self.level is not None
        thresholds, (bins, off) = list(at.values()), self._window.of(self._ramps)
        ending = EarlyEnd(self._view, self.level, self.mode, self._ramps, leaving(bins, thresholds), off)
        self._changed = ending.changed
        if not ending.within(self.overload, self.delta):
            return None, None
        plan = self.on_grid(self._ramps, thresholds, self.mode)
        return replace(plan, cuts=plan.cuts[:-1]) if self.mode == "truncate" else plan, ending


class Use(NamedTuple):
    """How batches run from some time on. early: those that end early, where `ending` says so; none where none may."""

    since: float
    plan: BatchPlan
    early: BatchPlan | None
    ending: EarlyEnd | None


def errors_in(ramps: Ramps) -> int:
    """How many of the answers that left at ramps are not the final ones."""
    stayed, answer, final = len(ramps.layers), ramps.answer, ramps.final
    return sum([answer[place, row] != final[row] for row, place in enumerate(ramps.left) if place != stayed])


def joined(batches: list[Ramps]) -> list[Ramps]:
    """The same with batches in a row that had the same ramps put together."""
    found: list[list[Ramps]] = []
    for each in batches:
        if found and found[-1][0].layers == each.layers:
            found[-1].append(each)
        else:
            found.append([each])
    return [
        Ramps(
            same[0].layers,
            np.concatenate([each.confidence for each in same], axis=1),
            np.concatenate([each.answer for each in same], axis=1),
            np.concatenate([each.final for each in same]),
            np.concatenate([each.left for each in same]).tolist(),
        )
        for same in found
    ]
