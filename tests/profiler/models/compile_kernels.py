"""Compile every kernel for sm_90, as the launchers specialise it: prints one line `kernel constants bytes` each."""

from __future__ import annotations

from itertools import product
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from profiler.models.kernels import attention, gemm, rowwise


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
    print(kernel.__name__, *constants.values(), len(compiled.asm["cubin"]))


def pointers(names: str, kind: str = "*bf16") -> dict[str, str]:
    return dict.fromkeys(names.split(), kind)


def numbers(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), "i32")


IDS, SUMS, REAL = {"ids": "*i32", "places": "*i32"}, {"out": "*fp32"}, {"eps": "fp32"}
LENS, SCALE = {"lens": "*i32"}, {"scale": "fp32"}

if __name__ == "__main__":
    kind = pointers("word position type weight bias out") | IDS | REAL | numbers("tokens vocab positions width")
    for types, packed in product((1, 2), (False, True)):
        compile_for_hopper(rowwise.embedding_norm_kernel, kind, {"TYPES": types, "PACKED": packed, "BLOCK": 1024})
    kind = pointers("x bias residual weight shift out") | REAL | numbers("residual_student residual_row width")
    compile_for_hopper(rowwise.add_norm_kernel, kind, {"BLOCK": 1024})
    compile_for_hopper(rowwise.bias_gelu_kernel, pointers("x bias") | numbers("width"), {"BLOCK": 1024})
    kind = pointers("x pooler_bias weight bias") | SUMS | numbers("x_student x_row width outputs")
    compile_for_hopper(rowwise.vote_kernel, kind, {"POOLED": True, "BLOCK": 1024, "OUTPUTS": 2})
    kind = pointers("weight bias") | pointers("votes out", "*fp32") | numbers("students batch outputs classes")
    compile_for_hopper(rowwise.tally_kernel, kind, {"OUTPUTS": 2, "CLASSES": 2})

    kind = pointers("qkv bias out") | LENS | SCALE | numbers("rows tokens heads width")
    for (queries, keys, single), packed in product(((16, 16, True), (64, 128, True), (64, 64, False)), (False, True)):
        block = {"HEAD": 64, "DIMS": 64, "QUERIES": queries, "KEYS": keys, "SINGLE": single, "PACKED": packed}
        compile_for_hopper(attention.attention_kernel, kind, block)
    kind = pointers("query bias keys_values out") | LENS | SCALE | numbers("batch rows tokens heads width")
    for keys, packed in product((16, 128), (False, True)):
        block = {"HEAD": 64, "DIMS": 64, "KEYS": keys, "PACKED": packed}
        compile_for_hopper(attention.first_attention_kernel, kind, block)

    kind = pointers("a b bias out") | numbers("a_student a_row b_student b_row rows columns inner")
    for tile in gemm.TILES.values():
        block = {"GELU": True, "EVEN": True, "ROWS": tile.rows, "COLUMNS": tile.columns, "INNER": tile.inner}
        resources = {"num_warps": tile.warps, "num_stages": tile.stages}
        compile_for_hopper(gemm.gemm_kernel, kind, {**block, "GROUP": 8}, **resources)
