"""What the command line prints: statistics as an aligned table, and what there is to choose from."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

from traces.lengths import LENGTHS
from traces.load import NAMED
from traces.processes.generators import GENERATORS
from traces.processes.ratemodel import RateModel
from traces.readers.formats import FORMATS
from traces.scaling import MODES
from traces.shared.text import aligned, first_line, number
from traces.spec import signature
from traces.statistics import Statistics
from traces.tenancy import TENANTS


def table(described: Sequence[Statistics]) -> str:
    """One column per trace; of two, a third with the second over the first."""
    rows: list[tuple[str, list[float | None]]] = [
        ("requests", [one.requests for one in described]),
        ("seconds", [one.seconds for one in described]),
        ("mean rate /s", [one.rate for one in described]),
    ]
    for window in described[0].rates:
        for name in described[0].rates[window]:
            rows.append((f"{name} of {window}-s rates /s", [one.rates[window][name] for one in described]))
    for window in described[0].dispersion:
        rows.append((f"index of dispersion, {window} s", [one.dispersion[window] for one in described]))
    rows += [
        ("autocorrelation of 1-s counts, lag 1", [one.autocorrelation for one in described]),
        ("empty seconds", [one.zero_share for one in described]),
        ("CV of gaps", [one.gap_cv for one in described]),
        ("gaps of zero", [one.zero_gap_share for one in described]),
    ]
    rows += [(f"tokens, {name}", [one.tokens[name] for one in described]) for name in described[0].tokens]
    if any(one.tenants is not None for one in described):
        rows.append(("tenants", [one.tenants for one in described]))
    lines = [[name, *map(number, values), *_ratio(values)] for name, values in rows]
    if len(described) > 1:
        lines.insert(0, ["", "A", "B", "B/A"])
    text = aligned(lines)
    for label, one in zip("AB", described, strict=False):
        title = one.source if len(described) == 1 else f"{label}: {one.source}"
        text += "\n\n" + "\n".join([title, *(f"  {note}" for note in one.notes)])
    return text


def listing() -> str:
    """Everything that a source can be, with one line each."""
    parts = [
        _section("Formats (--trace-format)", {name: first_line(reader) for name, reader in FORMATS.items()}),
        _section("Shipped traces", NAMED),
        _section("Generators", {signature(name, made): first_line(made) for name, made in GENERATORS.items()}),
        _section(
            "Tenants (--tenants)",
            {signature(name, made): first_line(made) for name, made in TENANTS.items()},
        ),
        _section(
            "Lengths (--lengths)",
            {signature(name, made): first_line(made) for name, made in LENGTHS.items()}
            | {"FILE": "Lengths of a file, drawn at random.", "along:FILE": "The same, in step with its time."},
        ),
        _section("Scaling (--rate-mode)", MODES),
    ]
    return "\n\n".join(parts)


def fitted(model: RateModel, path: Path) -> str:
    """What a fit found, for people."""
    tenants = ""
    if (its := model.sessions) is not None:
        tenants = (
            f"tenants in sessions, {its.active} at a time; hit ratios of LRU, LFU and Belady at 1, 5 and 10 % of the "
            f"tenants missed by at most {its.missed:.3f}\n"
        )
    return (
        f"mean rate {model.mean_rate:.6g} requests/s; curve of {len(model.rates)} levels over {model.seconds:.6g} s; "
        f"{len(model.levels)} levels of {model.bin_s:g}-s noise; memory "
        f"{', '.join(f'{scale:g} s' for scale in model.scales_s)}\n{tenants}"
        f"parameters written to {path}: use fit:{path}"
    )


def _section(title: str, entries: dict[str, str]) -> str:
    columns = shutil.get_terminal_size((10_000, 1)).columns
    indent = " " * 6
    texts = {n: textwrap.fill(t, columns, initial_indent=indent, subsequent_indent=indent) for n, t in entries.items()}
    return "\n".join([title, *(f"  {name}\n{text}" for name, text in texts.items())])


def _ratio(values: Sequence[float | None]) -> list[str]:
    if len(values) < 2:
        return []
    first, second = values
    return [f"{second / first:.3g}" if first and second is not None else "-"]
