"""A table and a trace on disk, and the command line on them."""

from __future__ import annotations

import json

from simulator.__main__ import main

LATENCY = "model,students,depth,hidden,batch,tokens,latency_us"
ROWS = [
    f"students-2x8,{k},2,8,{b},{t},{300 + 40 * k + k * b * t}" for k in (1, 2, 4) for b in (1, 4, 16) for t in (16, 64)
]
TRACE = "arrival_s,tokens\n0.0,9\n0.001,40\n0.001,12\n0.5,64\n"


def write_table(folder, rows=ROWS, accuracy=True, header=LATENCY, **meta):
    """A table's folder: three levels, three batch sizes, two lengths, one task."""
    folder.mkdir(exist_ok=True)
    (folder / "latency.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "meta.json").write_text(json.dumps({"device": "a formula", "kind": "modelled"} | meta))
    if accuracy:
        lines = [f"students-2x8,{k},toy,{1 - 0.1 / k}" for k in (1, 2, 4)]
        (folder / "accuracy.csv").write_text("\n".join(["model,students,task,accuracy", *lines]) + "\n")
    return folder


class Command:
    """`python -m simulator` in a folder of its own; `printed` has its output."""

    def __init__(self, folder, capsys):
        self.folder, self.capsys = folder, capsys
        self.table, self.out = write_table(folder / "toy"), folder / "run"
        self.trace = folder / "requests.csv"
        self.trace.write_text(TRACE)

    def __call__(self, *arguments, trace=None, table=None, out=None):
        named = {"--trace": trace or self.trace, "--table": table or self.table, "--out": out or self.out}
        return self.bare(*(str(part) for pair in named.items() for part in pair), *arguments)

    def bare(self, *arguments):
        status = main([str(each) for each in arguments])
        self.printed, self.complained = self.capsys.readouterr()
        return status
