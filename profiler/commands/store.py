"""python -m profiler store: write the trained adapters of a study into a folder that serves them."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, metavar="STUDY", help="what python -m profiler adapters wrote")
    parser.add_argument("--teacher", type=Path, required=True, metavar="DIR", help="the encoder that it was given")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the store and the encoder")
    parser.add_argument("--on-look-up", action="store_true", help="those that were trained on looked-up states")
    parser.add_argument(
        "--classes", type=int, metavar="N", help="of the store, as measured by profiler tenants (default: the most)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Write it and say how it is served."""
    from profiler.studies.exporting import STORE, TRAINED, export
    from profiler.tenants.opening import KIND

    trained = TRAINED[arguments.on_look_up]
    found = export(arguments.study, arguments.teacher, arguments.out, trained, arguments.classes)
    its, out = found.shape, arguments.out
    print(f"{out}: {len(found.names)} tenants, {its.layers} layers of {KIND}{its.width}, {its.classes} classes, "
          f"{its.bytes:,} bytes each")  # fmt: skip
    print(
        f"measure: python -m profiler tenants TABLE --layers {its.layers} --width {its.width} --classes {its.classes}"
    )
    print(f"serve:   python -m simulator serve --table TABLE --weights {out} --adapters {out / STORE} "
          f'--adapter-budget 64MiB --policy "lru(greedy)"')  # fmt: skip
    return 0
