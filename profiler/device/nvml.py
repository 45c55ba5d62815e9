"""What the driver says about the card: clocks, power, energy, temperature, throttling. Absent where NVML is absent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Bits of NVML's throttle reasons that slow the clocks; 1 (idle) and 2 (application setting) do not.
_REASONS = {0x4: "power cap", 0x8: "hardware", 0x20: "temperature", 0x40: "hardware temperature", 0x80: "power brake"}


class Nvml:
    """One card, read and never set. Every reading that the driver refuses is left out."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library = library
        self._handle = handle

    def state(self) -> dict[str, Any]:
        """Clocks (MHz), power (W), temperature (C), what throttles, as far as the driver tells."""
        library, handle = self._library, self._handle
        readings: dict[str, Callable[[], Any]] = {
            "sm_mhz": lambda: library.nvmlDeviceGetClockInfo(handle, library.NVML_CLOCK_SM),
            "memory_mhz": lambda: library.nvmlDeviceGetClockInfo(handle, library.NVML_CLOCK_MEM),
            "power_w": lambda: library.nvmlDeviceGetPowerUsage(handle) / 1e3,
            "power_cap_w": lambda: library.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3,
            "temperature_c": lambda: library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU),
            "throttled_by": lambda: _reasons(library.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
            "driver": lambda: _text(library.nvmlSystemGetDriverVersion()),
        }
        found = {name: self._read(reading) for name, reading in readings.items()}
        return {name: value for name, value in found.items() if value is not None}

    def energy_j(self) -> float | None:
        """Joules since the driver was loaded, None where the card does not count them."""
        value = self._read(lambda: self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle))
        return None if value is None else value / 1e3

    def _read(self, reading: Callable[[], Any]) -> Any:
        try:
            return reading()
        except (self._library.NVMLError, AttributeError):  # the driver does not tell, or this version does not ask
            return None


def open_nvml(uuid: str = "") -> Nvml | None:
    """The card of this UUID, the only card where there is one; None without nvidia-ml-py, a driver or such a card."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        only = pynvml.nvmlDeviceGetCount() == 1
        return Nvml(pynvml, pynvml.nvmlDeviceGetHandleByIndex(0) if only else pynvml.nvmlDeviceGetHandleByUUID(uuid))
    except pynvml.NVMLError:
        return None


def _reasons(bits: int) -> list[str]:
    return [name for bit, name in _REASONS.items() if bits & bit]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
