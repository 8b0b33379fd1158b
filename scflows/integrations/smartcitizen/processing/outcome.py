"""How work on a device ends: the codes that operators know, as the run's reason."""

from __future__ import annotations

DEVICE_NOT_VALID = "ABORTED DEVICE_NOT_VALID"
NOT_VALID_FOR_PROCESSING = "ABORTED NOT_VALID_FOR_PROCESSING"
EMPTY_DATA = "ABORTED EMPTY_DATA"
LOADING_FAILED = "ABORTED LOADING_FAILED"
PROCESSING_FAILED = "ABORTED PROCESSING_FAILED"
POSTPROCESSING_UPDATE_FAILED = "ABORTED POSTPROCESSING_UPDATE_FAILED"
DATA_POSTING_FAILED = "FAILED DATA_POSTING_FAILED"
PROCESSED = "SUCCESS PROCESSED AND UPLOADED"
#: Those after which nobody has to look: the work is done, or there was none.
GOOD = (PROCESSED, EMPTY_DATA)


class Ended(Exception):
    """The work ends here, with this outcome, for this reason."""

    def __init__(self, outcome: str, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome
