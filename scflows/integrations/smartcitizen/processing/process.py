"""Process a device: load its new readings, compute its channels, post them and move the date forward.

Runs in a device's process (see `child`). The platform's date is moved after each piece, so that the next run continues
where this one stopped.
"""

from __future__ import annotations

import os
import time

from scflows.integrations.smartcitizen.processing.log_stream import DEBUG, WARNING, say
from scflows.integrations.smartcitizen.processing.time_range import (
    Piece,
    end_of_readings,
    minute_of,
    next_date,
    next_piece,
    warm_up,
)
from scflows.integrations.smartcitizen.readings import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from scflows.integrations.smartcitizen.processing.child import Child

#: The outcomes, used as the run's reason.
DEVICE_NOT_VALID = "ABORTED DEVICE_NOT_VALID"
NOT_VALID_FOR_PROCESSING = "ABORTED NOT_VALID_FOR_PROCESSING"
EMPTY_DATA = "ABORTED EMPTY_DATA"
LOADING_FAILED = "ABORTED LOADING_FAILED"
PROCESSING_FAILED = "ABORTED PROCESSING_FAILED"
POSTPROCESSING_UPDATE_FAILED = "ABORTED POSTPROCESSING_UPDATE_FAILED"
DATA_POSTING_FAILED = "FAILED DATA_POSTING_FAILED"
PROCESSED = "SUCCESS PROCESSED AND UPLOADED"
#: The only module that channels may call, because blueprints come from the platform and are not trusted.
FUNCTIONS = "scdata.device.process"


class Ended(Exception):
    """The end of the work, with an outcome and a reason."""

    def __init__(self, outcome: str, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome


def process(given: dict[str, Any], child: Child, clock: Callable[[], float] = time.time) -> dict[str, Any]:
    """Process the device `given["device"]`, at most `pieces` pieces of `limit` minutes each.

    `retries` is the number of attempts to post each chunk, `seconds` the time limit (null: none). Return the outcome
    and all counts; failures are outcomes, not exceptions.
    """
    import asyncio

    result: dict[str, Any] = {
        "outcome": PROCESSED,
        "message": "",
        "device": given["device"],
        "dry_run": child.is_dry,
        "pieces": 0,
        "rows": 0,
        "readings": 0,
        "channels": {},
        "not_posted": {},
        "begin": None,
        "until": None,
        "minutes_left": 0,
    }
    try:
        with asyncio.Runner() as runner:
            work = _Work(given, child, result, clock)
            work.make()
            while work.may_go_on() and (piece := work.next_piece(runner)) is not None:
                work.take(piece, runner)
        if not result["pieces"] and not work.may_go_on():
            raise Ended(LOADING_FAILED, "there was not enough time")
        if not result["pieces"]:
            raise Ended(EMPTY_DATA, work.why_nothing())
        result["message"] = work.summary()
    except Ended as ended:
        result["outcome"] = ended.outcome
        result["message"] = str(ended)
        if result["pieces"]:
            result["message"] += f" (before that: {work.summary()})"
    import resource

    result["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return result


class _Work:
    """The progress of one device."""

    def __init__(self, given: dict[str, Any], child: Child, result: dict[str, Any], clock: Callable[[], float]) -> None:
        self.given = given
        self.clock = clock
        self.child = child
        self.result = result
        self.device: Any = None
        self.sensors: list[str] = []
        self.at: int | None = None  #: how far it is processed; None: never
        self.ends = None if given["seconds"] is None else time.monotonic() + given["seconds"]
        self.longest = 0.0  #: duration of the longest piece, in seconds
        self.looked = 0  #: the number of pieces started

    def make(self) -> None:
        """Load the device. Raises Ended."""
        try:
            scdata = self.child.scdata()
        except Exception as error:
            raise Ended(LOADING_FAILED, f"scdata cannot be set up: {_error_text(error)}") from error
        try:
            self.device = scdata.Device(params=scdata.APIParams(id=self.given["device"]))
            foreign, shown = foreign_calls(self.device), self.device.handler.json.id
        except Exception as error:
            raise Ended(DEVICE_NOT_VALID, self._because(_error_text(error))) from error
        if shown != self.given["device"]:
            raise Ended(DEVICE_NOT_VALID, f"the platform answered with device {shown}")
        # Checked before loading, which reads the device again and sets it to False for a bare name of hardware.
        if not self.device.valid_for_processing:
            raise Ended(NOT_VALID_FOR_PROCESSING, self._because("it has a blueprint but no hardware"))
        if foreign:
            raise Ended(DEVICE_NOT_VALID, "; ".join(foreign))
        self.sensors = self.device.required_sensors
        if not self.device.channels:
            raise Ended(POSTPROCESSING_UPDATE_FAILED, "its blueprint has no channels")
        if not self.sensors:
            # An empty list would load every sensor.
            raise Ended(EMPTY_DATA, "it has none of the sensors that its channels need")
        self.at = _epoch(self.device.handler.latest_postprocessing)
        start = _epoch(self.device.__versions_start__())
        if start is not None and self.at is not None:
            # Readings from before the hardware are not processed.
            self.at = max(self.at, start)

    def may_go_on(self) -> bool:
        """Return True if there is time for another piece; always for the first."""
        if self.result["pieces"] >= self.given["pieces"]:
            return False
        if not self.looked:
            return True
        return self.ends is None or time.monotonic() + 1.5 * self.longest < self.ends

    def next_piece(self, runner: Any) -> Piece | None:
        """Return the next piece that may have readings; None if there are none. Raises Ended."""
        end = self._end()
        if end is None:
            return None
        if self.at is None:
            self.at = self._first_reading(runner, None)
        return None if self.at is None else next_piece(self.at, self.given["limit"], end)

    def take(self, piece: Piece, runner: Any) -> None:
        """Load, process and post a piece, and move the date. Raises Ended."""
        begun = time.monotonic()
        self.looked += 1
        device = self.device
        channels = [channel.model_dump() for channel in device.channels]
        before = warm_up(channels, piece.begin)
        rows = self._loaded(piece, before, runner)
        if not rows:
            # A gap: continue with the next reading.
            self.at = None if piece.is_last else self._first_reading(runner, piece.end)
            if self.at is None:
                # There are no later readings.
                self.at = piece.end if piece.is_last else self._end()
            return
        self._process(piece)
        last = _seconds(device.data)[-1]
        self._post(runner, next_date(last))
        self._count(piece, rows, last)
        self.at = piece.end
        self.longest = max(self.longest, time.monotonic() - begun)
        self._tell_left()

    def why_nothing(self) -> str:
        """Return why there was no piece."""
        date = _epoch(self.device.handler.latest_postprocessing)
        if date is not None and date > self.clock():
            return f"its processing date is in the future: readings before {stamp(date)} are ignored"
        return "no new readings of the sensors that its channels need"

    def summary(self) -> str:
        """Return a summary in one line."""
        result = self.result
        pieces = f" in {result['pieces']} pieces" if result["pieces"] > 1 else ""
        behind = f"; {result['minutes_left']} minutes are left for the next run" if result["minutes_left"] else ""
        would = "would post " if result["dry_run"] else ""
        return (
            f"{would}{result['readings']} readings of {len(result['channels'])} channels{pieces},"
            f" up to {result['until']}{behind}"
        )

    def _end(self) -> int | None:
        last = _epoch(self.device.handler.last_reading_at)
        return None if last is None else end_of_readings(last, self.clock())

    def _load(self, runner: Any, begin: int | None, end: int | None, limit: int | None) -> bool:
        """Load the sensors that the device needs; return False if there are no readings. Raises Ended."""
        from pandas import DataFrame, Timestamp

        device, options = self.device, self.device.options
        options.min_date = None if begin is None else Timestamp(begin, unit="s", tz="UTC")
        options.max_date = None if end is None else Timestamp(end, unit="s", tz="UTC")
        options.limit, options.channels = limit, self.sensors
        # Otherwise a request without readings would leave the old data.
        device.handler.data = DataFrame()
        try:
            is_loaded = bool(runner.run(device.load()))
        except Exception as error:
            raise Ended(LOADING_FAILED, self._because(_error_text(error))) from error
        failed = sorted(set(device.handler.failed_sensors))
        if failed and not is_loaded:
            raise Ended(LOADING_FAILED, f"no readings of {', '.join(failed)}")
        if failed:
            raise Ended(PROCESSING_FAILED, f"the readings of {', '.join(failed)} could not be loaded")
        return is_loaded

    def _loaded(self, piece: Piece, before: int, runner: Any) -> int:
        """Load a piece and `before` seconds ahead of it; return the number of its rows. Raises Ended."""
        # Without a limit, because the platform's limit counts stored readings per sensor, not minutes.
        if not self._load(runner, piece.begin - before, None if self._reaches(piece) else piece.end, None):
            return 0
        times = _seconds(self.device.data)
        rows = int(((times >= piece.begin) & (times < piece.end)).sum())
        self.device.data = self.device.data.loc[times < piece.end].copy()
        return rows

    def _reaches(self, piece: Piece) -> bool:
        """Return True if it includes the last reading, which the connector would exclude by an end date."""
        last = _epoch(self.device.handler.last_reading_at)
        return piece.is_last and last is not None and last < piece.end

    def _first_reading(self, runner: Any, begin: int | None) -> int | None:
        """Return the minute of the first reading since `begin`; None if there is none. Raises Ended."""
        if not self._load(runner, begin, None, 1):
            return None
        first = int(_seconds(self.device.data)[0])
        start = _epoch(self.device.__versions_start__())
        found = minute_of(first)
        return found if begin is None and start is None else max(found, begin or 0, start or 0)

    def _process(self, piece: Piece) -> None:
        device, voice = self.device, self.child.voice
        assert voice is not None
        voice.errors.clear()
        try:
            is_processed = device.process()
        except Exception as error:
            raise Ended(PROCESSING_FAILED, _error_text(error)) from error
        if not is_processed and voice.errors:
            raise Ended(PROCESSING_FAILED, "; ".join(voice.errors))
        if not is_processed:
            raise Ended(PROCESSING_FAILED, "scdata gives no reason")
        device.data = device.data.loc[_seconds(device.data) >= piece.begin]

    def _post(self, runner: Any, date: int) -> None:
        from pandas import Timestamp

        device, child = self.device, self.child
        try:
            is_updated = device.update_postprocessing_date()
        except Exception as error:
            raise Ended(POSTPROCESSING_UPDATE_FAILED, _error_text(error)) from error
        if not is_updated or not device.handler.update_latest_postprocessing(Timestamp(date, unit="s", tz="UTC")):
            raise Ended(POSTPROCESSING_UPDATE_FAILED, "scdata did not take the new date")
        if "SC_BEARER" not in os.environ:
            if not child.is_dry:
                raise Ended(DATA_POSTING_FAILED, "SC_BEARER is not set")
            # Without a token it would not show what it would post; this one is never sent.
            os.environ["SC_BEARER"] = "none"
        child.door.changed = None
        posting = device.post(
            columns="channels",
            dry_run=child.is_dry,
            max_retries=self.given["retries"],
            with_postprocessing=not child.is_dry,
        )
        try:
            is_posted = runner.run(posting)
        except Exception as error:
            raise Ended(DATA_POSTING_FAILED, self._because(_error_text(error))) from error
        self.result["not_posted"].update(device.handler.not_posted)
        if not is_posted:
            failed = [f"{name}: {why}" for name, why in device.handler.not_posted.items() if "failed" in why]
            why = "; ".join(failed) or "the readings were posted, but the new date was refused"
            raise Ended(DATA_POSTING_FAILED, self._because(why))
        answered = _date_in(child.door.changed)
        if not child.is_dry and answered is not None and answered != date:
            # The platform reports this with a success status.
            raise Ended(
                DATA_POSTING_FAILED,
                "the readings were posted, but the platform did not change the date: only researchers and admins may",
            )

    def _count(self, piece: Piece, rows: int, last: int) -> None:
        result = self.result
        result["pieces"] += 1
        result["rows"] += rows
        result["begin"] = result["begin"] or stamp(piece.begin)
        result["until"] = stamp(last)
        count = 0
        for name, posted in self.device.handler.posted.items():
            count += posted["readings"]
            known = result["channels"].setdefault(name, {"id": posted["id"], "readings": 0})
            known["readings"] += posted["readings"]
        result["readings"] += count
        would = "would be posted" if self.child.is_dry else "posted"
        say(f"piece {result['pieces']}: {rows} rows up to {stamp(last)}, {count} readings {would}")
        if not count:
            say("no channel has a value in it", WARNING)

    def _tell_left(self) -> None:
        end = self._end()
        assert self.at is not None
        self.result["minutes_left"] = max(0, (end - self.at) // 60) if end is not None else 0

    def _because(self, why: str) -> str:
        """Return the reason with the problems seen by the gate, which the libraries' messages lack."""
        problems = [each for each in self.child.door.problems if each not in why]
        return "; ".join([*problems, why])


def foreign_calls(device: Any) -> list[str]:
    """Return a message for each channel that calls a function outside that module."""
    from importlib import import_module

    found = []
    versions = [channel for version in device.versions or [] for channel in version["channels"]]
    for channel in [*(each.model_dump() for each in device.channels), *versions]:
        module, function = str(channel["module"]), str(channel["function"])
        is_own = module == FUNCTIONS or module.startswith(FUNCTIONS + ".")
        if is_own and function.isidentifier():
            try:
                called = getattr(import_module(module), function, None)
            except ImportError:
                continue  # There is no such function, which processing reports.
            is_own = called is None or str(getattr(called, "__module__", "")).startswith(FUNCTIONS)
        else:
            is_own = False
        if not is_own:
            message = f"channel {channel['name']!r} calls {module}.{function}, which is not among {FUNCTIONS}"
            if message not in found:
                found.append(message)
    return found


def _seconds(data: Any) -> Any:
    """Return the times of a frame's rows, as epochs."""
    from pandas import Timedelta, Timestamp

    return ((data.index - Timestamp(0, tz="UTC")) // Timedelta(seconds=1)).to_numpy()


def _epoch(date: Any) -> int | None:
    if date is None:
        return None
    from pandas import Timestamp

    at = Timestamp(date)
    return int((at.tz_localize("UTC") if at.tzinfo is None else at).timestamp())


def _date_in(device: dict[str, Any] | None) -> int | None:
    """Return how far a device is processed according to its JSON."""
    from scflows.integrations.smartcitizen.device import parse_date

    asked = (device or {}).get("postprocessing")
    try:
        found = parse_date(asked.get("latest_postprocessing")) if isinstance(asked, dict) else None
    except ValueError:
        found = None
    return None if found is None else int(found)


def _error_text(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory; increase the option `memory`"
    lines = str(error).strip().splitlines()
    say(str(error), DEBUG)
    return f"{type(error).__name__}: {' '.join(line.strip() for line in lines[:4])}"[:600]
