"""Compile every kernel for sm_90, as the launchers specialise it, with the warps and stages that they ask for.

Prints one line `kernel constants warps=N bytes spilled` each, where ptxas tells what was spilled.
"""

from __future__ import annotations

import re
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from profiler.models.kernels import attention, gemm, head, rowwise

PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"


def compile_for_hopper(kernel: Any, types: dict[str, str], constants: dict[str, Any], **options: int) -> None:
    """Pointers and integers are taken to be divisible by 16, as they are for BERT's shapes."""
    names = kernel.arg_names
    signature = {name: types.get(name, "constexpr") for name in names}
    aligned = {
        (index,): [["tt.divisibility", 16]] for index, name in enumerate(names) if types.get(name, "fp32") != "fp32"
    }
    values = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, signature, constexprs=values, attrs=aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    warps = options.get("num_warps", 4)
    print(kernel.__name__, *constants.values(), f"warps={warps}", len(compiled.asm["cubin"]), spilled(compiled))


def spilled(compiled: Any) -> int:
    """Bytes that the kernel's registers had no room for."""
    command = [PTXAS, "-v", "--gpu-name=sm_90a", "-o", "/dev/null", "/dev/stdin"]
    said = subprocess.run(command, input=compiled.asm["ptx"], capture_output=True, text=True, check=True).stderr
    return max(int(number) for number in re.findall(r"(\d+) bytes spill stores", said))


def pointers(names: str, kind: str = "*bf16") -> dict[str, str]:
    return dict.fromkeys(names.split(), kind)


def numbers(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), "i32")


IDS, SUMS, REAL = {"ids": "*i32", "places": "*i32"}, {"out": "*fp32"}, {"eps": "fp32"}
LENS, SCALE = {"lens": "*i32"}, {"scale": "fp32"}

if __name__ == "__main__":
    kind = pointers("word position type weight bias out") | IDS | REAL | numbers("tokens vocab positions width")
    kind |= pointers("given_lens lens places", "*i32")
    for types, packed in ((2, False), (1, True)):
        block = {"TYPES": types, "PACKED": packed, "BLOCK": 1024, "LENS": not packed}
        compile_for_hopper(rowwise.embedding_norm_kernel, kind, block)
    kind = pointers("x bias residual weight shift out") | REAL | numbers("residual_student residual_row width")
    compile_for_hopper(rowwise.add_norm_kernel, kind, {"BLOCK": 1024})
    compile_for_hopper(rowwise.bias_gelu_kernel, pointers("x bias") | numbers("width"), {"BLOCK": 1024})
    kind = pointers("x pooler_bias weight bias") | SUMS | numbers("x_student x_row width outputs")
    compile_for_hopper(rowwise.vote_kernel, kind, {"POOLED": True, "BLOCK": 1024, "OUTPUTS": 2})
    kind = pointers("weight bias") | pointers("votes out", "*fp32") | numbers("students batch outputs classes")
    compile_for_hopper(rowwise.tally_kernel, kind, {"STUDENTS": 32, "OUTPUTS": 16, "CLASSES": 16})

    kind = pointers("x pooler pooler_bias projection projection_bias head shift")
    kind |= pointers("votes out", "*fp32") | pointers("counter", "*i32")
    kind |= numbers("x_student x_row batch width outputs classes")
    block = {"ROWS": head.ROWS, "BLOCK": head.BLOCK, "OUTPUTS": 16, "CLASSES": 16, "CHUNK": 16}
    compile_for_hopper(head.head_kernel, kind, block)

    kind = pointers("qkv bias out") | LENS | SCALE | numbers("rows tokens heads width")
    for (queries, keys, single), packed in product(((16, 16, True), (64, 128, True), (64, 64, False)), (False, True)):
        block = {"HEAD": 64, "DIMS": 64, "QUERIES": queries, "KEYS": keys, "SINGLE": single, "PACKED": packed}
        compile_for_hopper(attention.attention_kernel, kind, block, num_warps=2 if queries <= 32 else 4)
    kind = pointers("query bias keys_values out") | LENS | SCALE | numbers("batch rows tokens heads width")
    for keys, packed in ((16, False), (128, True)):
        block = {"HEAD": 64, "DIMS": 64, "KEYS": keys, "PACKED": packed}
        compile_for_hopper(attention.first_attention_kernel, kind, block)

    kind = pointers("a b bias out") | numbers("a_student a_row b_student b_row rows columns inner")
    for name, tile in gemm.TILES.items():
        block = {"GELU": name != "wide", "EVEN": True, "ROWS": tile.rows, "COLUMNS": tile.columns, "INNER": tile.inner}
        resources = {"num_warps": tile.warps, "num_stages": tile.stages}
        compile_for_hopper(gemm.gemm_kernel, kind, {**block, "GROUP": 8}, **resources)
    kind |= pointers("parts", "*fp32") | pointers("counter", "*i32")
    for name in ("narrow", "middle"):
        tile = gemm.TILES[name]
        block = {"GELU": True, "SPLITS": gemm.splits(768, tile)}
        block |= {"ROWS": tile.rows, "COLUMNS": tile.columns, "INNER": tile.inner}
        resources = {"num_warps": tile.warps, "num_stages": tile.stages}
        compile_for_hopper(gemm.split_gemm_kernel, kind, block, **resources)
