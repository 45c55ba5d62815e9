"""The Open Inference Protocol, version 2: what a request says, and how an answer is written. JSON, or binary tensors.

https://github.com/kserve/open-inference-protocol, and Triton's extension "binary_tensor_data".
"""

from simulator.endpoint.protocol.reply import VERSION, Reply, config, metadata, offered, write
from simulator.endpoint.protocol.request import Inference, Limits, read
from simulator.endpoint.protocol.tensors import BadRequest

__all__ = ["VERSION", "BadRequest", "Inference", "Limits", "Reply", "config", "metadata", "offered", "read", "write"]
