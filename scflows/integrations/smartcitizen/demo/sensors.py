"""The sensors of the mock's kits, and their invented readings."""

from __future__ import annotations

import math
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

DAY = 86400


@dataclass(frozen=True)
class Sensor:
    """A kind of sensor, whose values are a daily wave around a middle, with noise."""

    id: int
    key: str  #: as the names file calls its column
    name: str
    unit: str
    middle: float
    swing: float
    noise: float

    def value(self, device: int, time: int) -> float:
        """Return the value of this sensor of a device at a time (epoch), always the same."""
        wave = math.sin(2 * math.pi * (time % DAY) / DAY + device % 7)
        return round(self.middle + self.swing * wave + self.noise * (chance(device, self.id, time) - 0.5), 4)

    def shown(self) -> dict[str, Any]:
        """Return its description on the platform, without the last value."""
        measurement = {"id": self.id, "uuid": uuid("measurement", self.id), "name": self.key.lower()}
        return {
            "id": self.id,
            "uuid": uuid("sensor", self.id),
            "name": self.name,
            "description": self.key,
            "unit": self.unit,
            "default_key": self.key.lower(),
            "measurement": {**measurement, "description": self.key, "definition": None},
            "tags": [],
        }


#: Those that kits have themselves; what processing adds has other ids.
SENSORS = {
    sensor.id: sensor
    for sensor in (
        Sensor(10, "BATT", "Battery SCK", "%", 80, 5, 1),
        Sensor(14, "LIGHT", "BH1730FVC - Light", "lux", 300, 250, 20),
        Sensor(53, "NOISE_A", "ICS43432 - Noise", "dBA", 52, 6, 4),
        Sensor(55, "TEMP", "Sensirion SHT31 - Temperature", "ºC", 18, 6, 0.4),
        Sensor(56, "HUM", "Sensirion SHT31 - Humidity", "%", 55, 15, 2),
        Sensor(58, "PRESS", "NXP MPL3115A2 - Barometric pressure", "kPa", 101.2, 0.4, 0.05),
        Sensor(87, "PM_25", "Plantower PMS5003 - PM2.5", "ug/m3", 14, 5, 3),
        Sensor(88, "PM_10", "Plantower PMS5003 - PM10", "ug/m3", 21, 7, 4),
        Sensor(133, "ADC_48_0", "ADS1115 ADC 48 - Channel 0", "V", 0.36, 0.02, 0.004),
        Sensor(134, "ADC_48_1", "ADS1115 ADC 48 - Channel 1", "V", 0.31, 0.01, 0.004),
        Sensor(135, "ADC_48_2", "ADS1115 ADC 48 - Channel 2", "V", 0.23, 0.01, 0.004),
        Sensor(136, "ADC_48_3", "ADS1115 ADC 48 - Channel 3", "V", 0.24, 0.01, 0.004),
        Sensor(139, "ADC_49_0", "ADS1115 ADC 49 - Channel 0", "V", 0.24, 0.01, 0.004),
        Sensor(140, "ADC_49_1", "ADS1115 ADC 49 - Channel 1", "V", 0.23, 0.01, 0.004),
    )
}
#: The kit itself, and the gas sensors on top of it.
KIT = (10, 14, 53, 55, 56, 58, 87, 88)
GASES = (133, 134, 135, 136, 139, 140)


@dataclass(frozen=True)
class Series:
    """The times of readings: from `first` to `last` every `interval` seconds, without the holes."""

    first: int  #: epoch
    last: int
    interval: int
    holes: tuple[tuple[int, int], ...] = ()  #: from, to: no readings in between

    def times(self, begin: int, end: int) -> Iterator[int]:
        """Return the times of the readings from `begin` to `end`, inclusive, oldest first."""
        steps = max(0, -((self.first - begin) // self.interval))
        for time in range(self.first + steps * self.interval, min(end, self.last) + 1, self.interval):
            if not any(start <= time < stop for start, stop in self.holes):
                yield time


def chance(*numbers: int) -> float:
    """Return a number from 0 to 1 that depends only on the arguments (splitmix64)."""
    mixed = 0x9E3779B97F4A7C15
    for number in numbers:
        mixed = (mixed ^ number) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return mixed / 2**64


def uuid(kind: str, number: int) -> str:
    """Return a UUID that depends only on the arguments."""
    from uuid import NAMESPACE_URL, uuid5

    return str(uuid5(NAMESPACE_URL, f"https://demo.invalid/{kind}/{number}"))
