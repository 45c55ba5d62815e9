"""The gallery: every plot, from real simulations, on a page that shows the commands that made them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import shlex
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from analysis.plots import PLOTS
from analysis.sweeps.frames import read
from analysis.sweeps.origin import code_digest
from analysis.sweeps.sweeping import Progress
from profiler.table import LatencyTable, shipped
from traces.shared.atomic import make_folder, write_text

_SEVEN = "'adaptive;fixed(students=1);fixed(students=2);fixed(students=4);nexus;clipper;slackfit'"
_PLANNED = (
    "--trace mmpp:levels=1/3,stays=1/0.5,duration=5 --rate 1000 --slo-ms 60 --min-accuracy 0.858 "
    "--model students-2x384 --seeds 5"
)
_EXITS = "--model teacher-12x384 --trace poisson:duration=1200 --load 0.2 --slo-ms 100"
#: What the plots are of: the commands, by what they write into the scratch folder.
INPUTS = {
    "adaptive": "python -m simulator --policy adaptive --out adaptive",
    "timeout": "python -m simulator --policy 'timeout(max_batch=8)' --out timeout",
    "shed": "python -m simulator --policy 'admission(greedy, max_waiting=20)' --out shed",
    "four": "python -m simulator --policy adaptive --trace mmpp:duration=60,levels=1/4,stays=4/1 --load 0.9 --gpus 4 "
    "--out four",
    "loads": "python -m analysis sweep --policy 'adaptive;greedy;timeout;fixed(students=2);nexus' "
    "--trace poisson:duration=100 --load 0.1:1.2:0.1 --seeds 0-4 --jobs 1 --out loads",
    "gpus": "python -m analysis sweep --table h200-modelled --policy 'adaptive;greedy;timeout;nexus' "
    "--trace poisson:duration=0.1 --rate 150000 --gpus 1-8 --slo-ms 5 --seeds 0-2 --jobs 1 --out gpus",
    "targets": "python -m analysis sweep --policy 'adaptive;nexus' --trace poisson:duration=100 --load 0.1:1.1:0.2 "
    "--slo-ms 25,50,100,200,400 --seeds 0-2 --jobs 1 --out targets",
    "bursts": "python -m analysis sweep --policy 'adaptive;nexus' --load 0.1:1.1:0.2 --seeds 0-2 --jobs 1 --out bursts "
    "--trace 'gamma:duration=100,cv=1;gamma:duration=100,cv=2;gamma:duration=100,cv=4;gamma:duration=100,cv=8'",
    "policies": "python -m analysis sweep --trace poisson:duration=100 --load 0.7 --seeds 0-4 --jobs 1 "
    f"--policy {_SEVEN} --out policies",
    "capacities.parquet": "python -m analysis capacity --policy 'adaptive;greedy;timeout;fixed(students=2);nexus' "
    "--seeds 0-2 --requests 5000 --jobs 1 --out capacities.parquet",
    "compared.parquet": "python -m analysis compare --trace poisson:duration=100 --load 0.7 --seeds 5 "
    f"--policy {_SEVEN} --out compared.parquet",
    "plan": f"python -m analysis plan {_PLANNED} --policy 'adaptive;nexus;timeout' --jobs 1 --out plan",
    "certain": f"python -m simulator --policy 'certain(greedy)' {_EXITS} --reference none --out certain",
    "static": f"python -m simulator --policy 'static(greedy)' {_EXITS} --reference none --out static",
    "kept": "python -m analysis sweep --policy 'certain(greedy);static(greedy);apparate(greedy);"
    f"apparate_released(greedy);greedy' {_EXITS} --seeds 0-2 --jobs 1 --out kept",
    "crossover.parquet": "python -m analysis crossover --trace burst:duration=60,factor=5,start=25,length=9 "
    "--load 0.2,0.6,1,2 --slo-ms 50,100,200,400 --policy adaptive --seeds 1 --jobs 1 --out crossover.parquet",
    "depends.csv": f"python -m analysis sensitivity {_PLANNED} --policy adaptive --jobs 1 --out depends.csv",
}


class Picture(NamedTuple):
    """A plot of the gallery: its name, what it is of, what to see in it, and further options of the command."""

    plot: str
    of: str
    says: str
    options: str = ""

    def command(self, scratch: Path) -> str:
        """What draws it, in the scratch folder."""
        options = self.options
        if "CEILING" in options:
            options = options.replace("CEILING", f"{read(scratch / 'compared.parquet')['ceiling'][0]:.6f}")
        return " ".join(
            filter(None, ("python -m analysis plot", self.plot, self.of, options, f"--dpi 160 --out {self.plot}.png"))
        )


PICTURES = (
    Picture(
        "timeline", "adaptive timeout shed", "One burst, three answers to it: fewer students, a queue, rejections."
    ),
    Picture("latency-cdf", "adaptive timeout shed", "A curve that ends below 100 % turned the rest away."),
    Picture("latency-tail", "adaptive timeout shed", "Where a curve crosses the SLO is the share that missed it."),
    Picture("batch-sizes", "adaptive timeout shed", "What each policy made of the same arrivals."),
    Picture("padding", "adaptive timeout", "Which lengths the waste comes from: mixed batches, or empty places."),
    Picture("gantt", "four", "Every bar is a batch; gaps are idle time."),
    Picture("latency-load", "loads", "The hockey stick, and where it bends."),
    Picture("attainment-load", "loads", "The line is 99 %."),
    Picture("goodput-rate", "loads", "Nothing lies above the diagonal, where everything is on time."),
    Picture("goodput-gpus", "gpus", "Where the curves meet the line, another GPU buys nothing."),
    Picture("gpus-needed", "gpus", "For 99 % on time; in brackets the best and the worst seed."),
    Picture("map-slo", "targets", "How tight a target each load allows."),
    Picture("map-burstiness", "bursts", "The same load is harder the more its gaps vary."),
    Picture("accuracy-latency", "policies", "The front: no policy is better in both at once."),
    Picture("accuracy-goodput", "policies", "No policy lies above the dashed curve.", "-p optimum=CEILING"),
    Picture("weighted", "compared.parquet", "Both at once: accuracies summed over on-time answers."),
    Picture("differences", "compared.parquet", "Paired, on common random numbers; the intervals hold together."),
    Picture("capacity", "capacities.parquet", "One number per policy: how much traffic it carries."),
    Picture("plan", "plan", "The first filled point is what to buy."),
    Picture("techniques", "crossover.parquet", "The stronger a colour, the longer its lead."),
    Picture("exits", "certain static", "Half of the answers need two thirds of the layers."),
    Picture("ramps", "certain static", "Both go by the same ramps; one of them follows what it sees."),
    Picture("agreement-latency", "kept", "Sooner to the left; what is below 99 % breaks the promise."),
    Picture("tornado", "depends.csv", "The longest bar is the assumption to check first."),
)


def make(out: Path, scratch: Path, on_progress: Progress | None = None) -> None:
    """Run every command in the scratch folder, and write the pictures and the page into `out`.

    The numbers of the pictures stay in the scratch folder.
    What the scratch folder has from before is used again; ValueError where other code, tables or commands made it.
    Raises ValueError that names a command that fails.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    make_folder(out)
    _claim(scratch)
    missing = [command for name, command in INPUTS.items() if not (scratch / name).exists()]
    steps: list[Callable[[], None]] = [partial(run, command, scratch) for command in missing]
    steps += [partial(_draw, picture, scratch, out) for picture in PICTURES]
    told = on_progress or (lambda done, total: None)
    for done, step in enumerate(steps):
        told(done, len(steps))
        step()
    write_text(out / "README.md", page(scratch))
    told(len(steps), len(steps))


def _claim(scratch: Path) -> None:
    """Note in the scratch folder which code, tables and commands make what is in it."""
    commands = hashlib.sha256(repr(INPUTS).encode()).hexdigest()[:16]
    own = " ".join([code_digest(), *(LatencyTable.load(name).digest for name in shipped()), commands])
    stamp = scratch / "made-by.txt"
    before = stamp.read_text(encoding="utf-8") if stamp.exists() else ""
    if before != own and any((scratch / name).exists() for name in INPUTS):
        raise ValueError(
            f"{scratch} has runs of other code, tables or commands: remove it, or choose another --scratch"
        )
    stamp.write_text(own, encoding="utf-8")


def run(command: str, folder: Path) -> None:
    """Run a `python -m PACKAGE ...` of ours in this process, quietly. Raises ValueError where it fails."""
    _, _, package, *arguments = shlex.split(command)
    main = importlib.import_module(f"{package}.__main__").main
    said = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            status = main(arguments)
        except SystemExit as wrong:  # of the parser
            status = wrong.code
    if status:
        raise ValueError(f"{command}: {said.getvalue().strip().splitlines()[-1]}")


def page(scratch: Path) -> str:
    """The Markdown of the gallery."""
    lines = [
        "# Gallery",
        "",
        "Made by `python -m analysis gallery`: real simulations of generated traffic, on shipped tables. Small print",
        "says what served; `(modelled)` means that the device was not measured; illustrative accuracies are called so.",
        "Each plot is 85 mm wide, a column of a page, and a function of a frame and an Axes that a notebook can call:",
        "[the tutorial](../tutorial.md) shows how. Each command also writes the numbers of its plot, as CSV.",
        "",
    ]
    for picture in PICTURES:
        lines += [f"## {picture.plot}", "", f"{PLOTS[picture.plot].idea} {picture.says}", "",
                  f"![{picture.plot}]({picture.plot}.png)", "", "```sh",
                  *(INPUTS[name] for name in picture.of.split()), picture.command(scratch), "```", ""]  # fmt: skip
    return "\n".join(lines[:-1]) + "\n"


def _draw(picture: Picture, scratch: Path, out: Path) -> None:
    run(picture.command(scratch), scratch)
    shutil.copyfile(scratch / f"{picture.plot}.png", out / f"{picture.plot}.png")
