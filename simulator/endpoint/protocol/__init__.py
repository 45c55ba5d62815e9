"""The Open Inference Protocol, version 2: what a request says, and how an answer is written. JSON, or binary tensors.

https://github.com/kserve/open-inference-protocol, and Triton's extension "binary_tensor_data". And thin routes for
clients of other servers.
"""

from simulator.endpoint.protocol.reply import VERSION, Reply, config, metadata, offered
from simulator.endpoint.protocol.request import LOGITS, Inference, Limits, read
from simulator.endpoint.protocol.routes import THIN, Route, infer
from simulator.endpoint.protocol.tensors import BadRequest

__all__ = [
    "LOGITS",
    "THIN",
    "VERSION",
    "BadRequest",
    "Inference",
    "Limits",
    "Reply",
    "Route",
    "config",
    "infer",
    "metadata",
    "offered",
    "read",
]
