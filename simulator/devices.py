"""Which devices a run names: this machine's, or running servers."""

from __future__ import annotations

#: What this machine may run batches on.
DEVICES = ("cpu", "cuda")


def refuse_tenants(device: str | None, asked: bool) -> None:
    """Raise ValueError where adapters are asked for on a device that is not this machine's own."""
    if asked and device not in (None, *DEVICES):
        raise ValueError(
            f"--device {device:.60}: adapters of tenants move on {' and '.join(DEVICES)} alone, and a running server "
            "holds its own weights: leave out --adapters, --adapter-budget and policies such as lru"
        )


def devices_of(device: str | None, gpus: int) -> int:
    """How many devices serve: of servers, one per address. Raises ValueError for an unknown device or another count."""
    if device is None or "://" not in device:
        if device not in (None, *DEVICES):
            raise ValueError(f"device is {device!r:.60}; it must be one of {', '.join(DEVICES)}, or http://HOST:PORT")
        return gpus
    from profiler.servers.client import addresses

    urls = addresses(device)
    if gpus not in (1, len(urls)):
        raise ValueError(f"--gpus is {gpus}, but {len(urls)} servers are named: each of them is one device")
    return len(urls)
