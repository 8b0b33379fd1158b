"""The files of the mock's file host: hardware, blueprints, calibrations, names."""

from __future__ import annotations

from scflows.integrations.smartcitizen.demo.sensors import SENSORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The addresses of the real files, which the connector replaces by its own base address.
RAW = "https://raw.githubusercontent.com/fablabbcn/smartcitizen-data/master"
PAGE = "https://github.com/fablabbcn/smartcitizen-data/blob/master"
SINCE = "2020-01-01"
#: The serial numbers of the gas sensors by slot. Their first digits say what they measure.
CO, NO2, OX = "162000001", "202000001", "204000001"
SLOTS = {"AS_48_01": CO, "AS_48_23": NO2, "AS_49_01": OX}


def all_files() -> dict[str, Any]:
    """Return the files by path; bytes are served unchanged, other values as JSON."""
    files: dict[str, Any] = {
        "names/SCDevice.json": [
            {"id": each.id, "name": each.key, "description": each.name, "unit": each.unit} for each in SENSORS.values()
        ],
        "calibrations/calibrations.json": {
            CO: _calibration("0.45", "0"),
            NO2: _calibration("-0.35", "0"),
            OX: _calibration("-0.40", "-0.37"),
            "162000009": {**_calibration("0.45", "0"), "we_sensitivity_mv_ppb": ""},
        },
    }
    for name, blueprint in _blueprints().items():
        files[f"blueprints/{name}.json"] = blueprint
    for name, hardware in _hardware().items():
        files[f"hardware/{name}.json"] = hardware
    return files


def _hardware() -> dict[str, Any]:
    now = {"from": SINCE, "to": None}
    change = "2026-01-01"
    return {
        "demo-kit": _recipe("sck_demo", [{"ids": {}, **now}]),
        "demo-gas": _recipe("sc_air", [{"ids": SLOTS, **now}]),
        "demo-forward": {**_recipe("sck_demo", [{"ids": {}, **now}]), "forwarding": "nilu"},
        "demo-two-versions": _recipe(
            "sc_air",
            [
                {"ids": {"AS_48_01": CO}, "from": SINCE, "to": change},
                {"ids": {"AS_48_01": CO, "AS_48_23": NO2}, "from": change, "to": None},
            ],
        ),
        "demo-uncalibrated": _recipe("sc_air", [{"ids": {"AS_48_01": "162999999"}, **now}]),
        "demo-half-calibrated": _recipe("sc_air", [{"ids": {"AS_48_01": "162000009"}, **now}]),
        "demo-no-blueprint": _recipe("sck_missing", [{"ids": {}, **now}]),
        "demo-old-blueprint": _recipe("sck_old", [{"ids": {}, **now}]),
        "demo-no-channels": _recipe("sck_empty", [{"ids": {}, **now}]),
        "demo-foreign-module": _recipe("sck_foreign", [{"ids": {}, **now}]),
        "demo-foreign-blueprint": {
            **_recipe("", [{"ids": {}, **now}]),
            "blueprint_url": "https://files.example.org/blueprints/sck.json",
        },
        "demo-wrong-shape": {"blueprint_url": f"{RAW}/blueprints/sck_demo.json", "versions": "all of them"},
        "demo-not-json": b"<html><body>Sign in to see this file</body></html>",
    }


def _recipe(blueprint: str, versions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "blueprint_url": f"{RAW}/blueprints/{blueprint}.json",
        "description": "made up",
        "versions": versions,
        "forwarding": None,
    }


def _blueprints() -> dict[str, Any]:
    kit = [
        _channel(301, "TEMP_CLEAN", "clean_ts", [], {"name": "TEMP", "limits": [-40, 60]}, "degC"),
        _channel(302, "NOISE_CLEAN", "clean_ts", [], {"name": "NOISE_A", "limits": [20, 99]}, "dBA"),
        _channel(
            303,
            "PM_25_ADJUSTED",
            "poly_ts",
            [],
            {"channels": ["PM_25", "HUM"], "coefficients": [0.5, -0.01], "extra_term": 6},
            "ug/m3",
        ),
    ]
    foreign = {**_channel(304, "NOISE_OTHER", "system", [], {"name": "NOISE_A"}, "dBA"), "module": "os"}
    return {
        "sc_air": _blueprint([*_gas_channels()]),
        "sck_demo": _blueprint(kit),
        "sck_empty": _blueprint([]),
        "sck_foreign": _blueprint([*kit, foreign]),
        "sck_old": {"meta": {}, "metrics": kit},
    }


def _blueprint(channels: list[dict[str, Any]]) -> dict[str, Any]:
    return {"meta": {}, "checks": [], "exports": [], "channels": channels}


def _gas_channels() -> list[dict[str, Any]]:
    found = [_channel(None, "EC_SENSOR_TEMP", "ec_sensor_temp", [], {"priority": "TEMP"}, "degC")]
    for number, (gas, electrode) in enumerate((("CO", "CO"), ("NO2", "NO2"), ("O3", "OX"))):
        names = [f"{electrode}_WE", f"{electrode}_AE"]
        found += [_channel(None, name, "channel_names", [], {"channel": None}, "V") for name in names]
        unknown = {"we": None, "ae": None, "alphasense_id": None, "t": "EC_SENSOR_TEMP"}
        # The cross-sensitivity of the ozone sensor is computed from NO2.
        needs = [*names, "EC_SENSOR_TEMP", *(["NO2"] if gas == "O3" else [])]
        found.append(_channel(152 + number, gas, "alphasense_803_04", needs, unknown, "ppb"))
    return found


def _channel(
    number: int | None, name: str, function: str, needs: list[str], kwargs: dict[str, Any], unit: str
) -> dict[str, Any]:
    """Return a channel; `needs` lists other channels, which are computed before it."""
    return {
        "id": number,
        "name": name,
        "description": f"{name}, made up",
        "unit": unit,
        "post": number is not None,
        "function": function,
        "module": "scdata.device.process",
        "depends_on": needs,
        "kwargs": kwargs,
        "args": None,
    }


def _calibration(sensitivity: str, cross: str) -> dict[str, str]:
    return {
        "ae_electronic_zero_mv": "220",
        "ae_sensor_zero_mv": "15",
        "we_electronic_zero_mv": "225",
        "we_sensor_zero_mv": "20",
        "we_sensitivity_mv_ppb": sensitivity,
        "we_cross_sensitivity_no2_mv_ppb": cross,
    }
