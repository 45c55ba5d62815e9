"""What the study asks of tenants, and whether it is met: reference/tenants.md, section 6.6."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from exits.judged import Verdict
from pandas import DataFrame

from tenancy.hits import EXACT
from traces.shared.text import count

#: The live cells that are wanted, and their largest relative errors.
CELLS, ERRORS = 8, {"goodput": 0.05, "p50_s": 0.10, "p99_s": 0.15}
#: What pipelining has to gain over loading first, by the ratio of loads to compute.
GAINS = {(0.2, 0.35): 1.12, (0.9, 1.1): 1.5}


def mixed(rows: DataFrame) -> Iterator[Verdict]:
    """1: mixed batches answer as each tenant alone."""
    worst = rows["worst"]
    ways = ", ".join(f"{name} {value:.1e}" for name, value in zip(rows["way"], worst, strict=True))
    yield Verdict("1. a mixed batch as each tenant alone", "within 1e-5, float32", ways, bool((worst <= 1e-5).all()))


def looked_up(rows: DataFrame) -> Iterator[Verdict]:
    """2: the look-up is the computation where its table is complete, and falls back as a dictionary does."""
    whole, rest = rows.iloc[0], rows.iloc[1:]
    yield Verdict("2. looked-up states of a complete table", "within 2e-3 of computed ones, relative",
                  f"{whole['error']:.1e}", bool(whole["error"] <= 2e-3))  # fmt: skip
    wrong = int(rest["error"].sum())
    yield Verdict(
        "2. fall-backs", "as by hand, token by token", f"{wrong} differ, {len(rest)} tables of 10,000 texts", not wrong
    )


def invariants(rows: DataFrame) -> Iterator[Verdict]:
    """3: the rules of a run on random traffic."""
    broken = rows[rows["broken"] != ""]
    said = f"{len(broken)} of {len(rows)} runs break one" + (f": {broken['broken'].iloc[0]}" if len(broken) else "")
    yield Verdict("3. invariants I1 to I3, I6, I8, I10, the same again", "100 random runs, none broken", said,
                  not len(broken) and len(rows) >= 100)  # fmt: skip


def anchors(rows: DataFrame) -> Iterator[Verdict]:
    """4: LRU against Che, the most popular tenants against the sum of their shares."""
    for name, points in (("Che", 1.0), ("most popular", 0.5)):
        own = rows[rows["anchor"] == name]
        off = 100 * (own["found"] - own["expected"]).abs().max()
        what = "lru against Che's approximation" if name == "Che" else "resident against its closed form"
        asked, said = f"within {count(points, 'point')}", f"{off:.2f} points off at most"
        yield Verdict(f"4. {what}", asked, said, bool(off <= points))


def queueing(rows: DataFrame) -> Iterator[Verdict]:
    """4: the mean wait of an M/D/1."""
    off = float(rows["found"].iloc[0] / rows["expected"].iloc[0] - 1)
    yield Verdict("4. mean wait of an M/D/1", "within 3 %", f"{off:+.1%}", abs(off) <= 0.03)


def single_batch(rows: DataFrame) -> Iterator[Verdict]:
    """4: one batch against the closed form of section 5.3."""
    off = float((rows["found"] / rows["expected"] - 1).abs().max())
    yield Verdict(
        "4. a batch whose adapters all miss", "the closed form to 1e-9", f"{off:.1e} off at most", off <= 1e-9
    )


def published(rows: DataFrame) -> Iterator[Verdict]:
    """4: section 5.6 of the reference page."""
    for rule, own in rows.groupby("rule", sort=False):
        off = 100 * (own["found"] - own["expected"]).abs()
        far = int((off > 1).sum())
        yield Verdict(f"4. section 5.6, {rule}", "within 1 point, 20 cells",
                      f"{off.max():.2f} points off at most, {far} of {len(own)} cells beyond 1", not far)  # fmt: skip


def ordering(rows: DataFrame) -> Iterator[Verdict]:
    """5: the order of policies on Zipf, and ageing after ranks have moved."""
    steady = rows[rows["traffic"] == "steady"].set_index("policy")["hits"]
    tiers = [
        steady[["belady"]],
        steady[["lfu", "gdsf", "tinylfu"]],
        steady[["lru"]],
        steady[["random"]],
        steady[["pipelined"]],
    ]
    holds = all(above.min() >= below.max() - 0.005 for above, below in pairwise(tiers))
    said = ", ".join(f"{name} {value:.3f}" for name, value in steady.drop("slo").items())
    yield Verdict(
        "5. order on Zipf 0.9", "belady, then lfu, gdsf, tinylfu, then lru, random, none (0.5 points)", said, holds
    )
    moved = rows[rows["traffic"] == "moved"].set_index("policy")["hits"]
    aged, never = moved["lfu"], moved["lfu, never aged"]
    yield Verdict(
        "5. after ranks have moved",
        "lfu that ages has more hits",
        f"{aged:.3f} against {never:.3f}",
        bool(aged > never),
    )


def speed(rows: DataFrame) -> Iterator[Verdict]:
    """6: a million requests of 10,000 tenants."""
    row = rows.iloc[0]
    whole = row["requests"] >= 990_000 and row["tenants"] >= 10_000
    said = (
        f"{row['requests']:,} x {row['tenants']:,}: {row['cpu_s']:.0f} CPU s, {row['wall_s']:.0f} s on one of 2 cores"
    )
    yield Verdict("6. simulation of 1 M requests x 10,000 tenants", "at most 60 s on 2 cores", said,
                   bool(whole and row["cpu_s"] <= 60))  # fmt: skip


def exactness(rows: DataFrame) -> Iterator[Verdict]:
    """The hits of policies are those of exact caches, to the request."""
    for spec in EXACT:
        own = rows[rows["policy"] == spec]
        said = f"{own['different'].sum()} of {own['requests'].sum():,} requests differ"
        yield Verdict(f"hits of `{spec}`", "an exact cache's, to the request", said, not own["different"].any())


def real(rows: DataFrame) -> Iterator[Verdict]:
    """The best policy without the future on the real trace, as a share of Belady's hits."""
    worst, parts = 1.0, []
    for share, own in rows.groupby("share"):
        ratio = own.set_index("policy")["hits"]
        best = ratio.drop("belady").idxmax()
        worst = min(worst, ratio[best] / ratio["belady"])
        parts.append(f"{share:.0%}: {best} {ratio[best] / ratio['belady']:.3f}")
    yield Verdict(
        "best policy on gentd26, of Belady's hits", "0.95 at 1, 5 and 10 % slots", ", ".join(parts), bool(worst >= 0.95)
    )


def pipelining(rows: DataFrame) -> Iterator[Verdict]:
    """10: what pipelining gains in its regimes, simulated."""
    for (low, high), least in GAINS.items():
        own = rows[(rows["ratio"] >= low - 1e-9) & (rows["ratio"] <= high + 1e-9)]
        said = ", ".join(f"{row.gain:.3f} at {row.ratio:.2f}" for row in own.itertuples())
        yield Verdict(f"10. pipelined over serial, ratio {low:g} to {high:g}", f"{least:g} times", said or "no run",
                      bool(len(own) and (own["gain"] >= least).all()))  # fmt: skip


def crossing(rows: DataFrame) -> Iterator[Verdict]:
    """Throughput as the working set crosses the budget: at 0.9 to 1.25 times as many tenants as slots."""
    own = rows[(rows["share"] >= 0.9) & (rows["share"] <= 1.25)]
    lost = own["lost"].max()
    yield Verdict(
        "throughput as tenants outgrow the slots (0.9 to 1.25)",
        "at most 10 % lost",
        f"{lost:.1%} at most",
        bool(lost <= 0.1),
    )


def mixing(rows: DataFrame) -> Iterator[Verdict]:
    """11: what all-distinct tenants cost over one tenant."""
    said = ", ".join(f"{row.tax:+.1%} at {row.batch} x {row.tokens}" for row in rows.itertuples())
    yield Verdict(
        "11. all distinct tenants over one, largest batch", "at most 10 %", said, bool((rows["tax"] <= 0.1).all())
    )


def parity(rows: DataFrame) -> Iterator[Verdict]:
    """14: the decisions of a replayed trace on a device in virtual time and simulated."""
    wrong = int(rows["different"].sum())
    said = f"{wrong} differ of {rows['requests'].sum():,} requests and {rows['loads'].sum():,} loads"
    yield Verdict("14. hits and loads of a replayed trace, on a device and simulated", "the same", said, not wrong)


class Fidelity(NamedTuple):
    """What tenants_fidelity.py printed. cells: a row each. gains: of pipelining, live and simulated. notes: its own."""

    cells: DataFrame
    gains: DataFrame
    notes: tuple[str, ...] = ()


def read_fidelity(path: Path) -> Fidelity:
    """Raises ValueError where the file has neither cells nor runs of pipelining."""
    lines = path.read_text().splitlines()
    cells = [line.split() for line in lines if line.endswith("VALID")]
    gains = [re.findall(r"[\d.]+\d", line) for line in lines if line.startswith("batch ")]
    if not cells and not gains:
        raise ValueError(f"{path} holds nothing that benchmarks/tenants_fidelity.py printed")
    names = ["load", "skew", "slots", *ERRORS, "live_hits", "hits"]
    values = [[float(word.strip("%,")) / (100 if "%" in word else 1) for word in line[:8]] for line in cells]
    found = DataFrame(values, columns=names).assign(valid=[line[-1] == "VALID" for line in cells])
    of_gains = [[float(word) for word in row[-4:-1]] for row in gains]
    notes = tuple(line.lstrip("# ") for line in lines if line.startswith("#"))
    return Fidelity(found, DataFrame(of_gains, columns=["ratio", "live", "simulated"]), notes)


def fidelity(found: Fidelity | None) -> Iterator[Verdict]:
    """14, 10: live runs against simulations of the same."""
    gains = None if found is None else found.gains
    for name, most in ERRORS.items():
        asked = f"within {most:.0%} in {CELLS} undisturbed cells"
        if found is None or not len(found.cells):
            yield Verdict(f"14. live against simulated, {name.removesuffix('_s')}", asked, "not measured", False)
            continue
        own = found.cells[name].abs()
        kept = int((found.cells["valid"] & (own <= most)).sum())
        said = f"{own.max():.1%} at most; within that, and undisturbed, in {kept} of {len(own)}"
        yield Verdict(f"14. live against simulated, {name.removesuffix('_s')}", asked, said, kept == len(own) >= CELLS)
    if gains is None or not len(gains):
        yield Verdict("10. gain of pipelining, live and simulated", "within 10 % of each other", "not measured", False)
        return
    off = (gains["live"] / gains["simulated"] - 1).abs()
    said = ", ".join(f"{row.live:.3f} and {row.simulated:.3f} at {row.ratio:.2f}" for row in gains.itertuples())
    yield Verdict(
        "10. gain of pipelining, live and simulated", "within 10 % of each other", said, bool((off <= 0.1).all())
    )


def capacity(rows: DataFrame) -> Iterator[Verdict]:
    """15: whether every cell was searched, on a measured device and on a T4."""
    found = rows.groupby("device").agg(cells=("most", "count"), rates=("capacity", "count"))
    enough = any("T4" in name for name in found.index) and not all("modelled" in name for name in found.index)
    said = "; ".join(f"{name}: {row.cells} cells" for name, row in found.iterrows())
    yield Verdict("15. tenants and rate by budget, skew and link", "a measured device and a T4 (modelled)", said,
                  bool(enough and (found["cells"] == found["rates"]).all()))  # fmt: skip


def without_gpu(there: bool) -> Verdict:
    """7: whether this ran without a GPU."""
    return Verdict("7. everything above without a GPU", "none is there", "one is there" if there else "none",
                   not there)  # fmt: skip


#: What is asked of each part of the study, by its name.
CRITERIA: dict[str, Callable[[DataFrame], Iterator[Verdict]]] = {
    "mixed": mixed,
    "looked up": looked_up,
    "invariants": invariants,
    "queueing": queueing,
    "single batch": single_batch,
    "anchors": anchors,
    "published": published,
    "speed": speed,
    "exactness": exactness,
    "ordering": ordering,
    "real": real,
    "pipelining": pipelining,
    "crossing": crossing,
    "mixing": mixing,
    "parity": parity,
    "capacity": capacity,
}
