"""The outcome codes of processing, used as the run's reason."""

from __future__ import annotations

DEVICE_NOT_VALID = "ABORTED DEVICE_NOT_VALID"
NOT_VALID_FOR_PROCESSING = "ABORTED NOT_VALID_FOR_PROCESSING"
EMPTY_DATA = "ABORTED EMPTY_DATA"
LOADING_FAILED = "ABORTED LOADING_FAILED"
PROCESSING_FAILED = "ABORTED PROCESSING_FAILED"
POSTPROCESSING_UPDATE_FAILED = "ABORTED POSTPROCESSING_UPDATE_FAILED"
DATA_POSTING_FAILED = "FAILED DATA_POSTING_FAILED"
PROCESSED = "SUCCESS PROCESSED AND UPLOADED"
#: The outcomes that need no attention.
GOOD = (PROCESSED, EMPTY_DATA)


class Ended(Exception):
    """The end of the work, with an outcome and a reason."""

    def __init__(self, outcome: str, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome
