"""The private folders and environment variables of a process that imports `scdata`.

On import, `scdata` 1.6.6 creates folders, rewrites its configuration, requests files and reads `.env` of its cache.
Here it finds everything in place, and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack, contextmanager, suppress

from scflows.locks import FOLDER, locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from scflows.integrations.smartcitizen.access import Access

#: Without `framework: chupiflow` the package overwrites this file and loses the second line.
CONFIGURATION = "framework: chupiflow\ndata: {reload_metadata: false}\n"
#: The example files that the package would copy if missing, 720 kB that no device needs.
EXAMPLES = ("raw/example.csv", "raw/geodata.csv", "uploads/example_upload_1.json", "uploads/example_zenodo_upload.yaml")
#: The files that it requests on import.
BLUEPRINT, CALIBRATIONS, NAMES = "blueprints/sc_air.json", "calibrations/calibrations.json", "names/SCDevice.json"
#: The allowed keys of a blueprint; the package refuses others.
BLUEPRINT_KEYS = ("meta", "channels", "checks", "exports")
#: The environment variables that are passed on.
VARIABLES = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "PYTHONPATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "COVERAGE_PROCESS_START",
)


@contextmanager
def private_folder(state_path: str) -> Iterator[str]:
    """Make an empty folder for one process, removed at the end of the block; so are those whose processes died."""
    above = os.path.join(state_path, "device")
    os.makedirs(above, mode=0o700, exist_ok=True)
    folder = os.path.join(above, f"{os.getpid()}-{os.urandom(4).hex()}")
    with ExitStack() as stack:
        with locked(os.path.join(above, ".lock")):
            _sweep(above)
            os.mkdir(folder, 0o700)
            stack.enter_context(locked(folder, how=FOLDER))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def variables_of(folder: str, access: Access, around: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the process: the addresses, the token and its folders."""
    import site

    variables = {name: around[name] for name in VARIABLES if around.get(name)}
    variables.setdefault("PATH", os.defpath)
    return {
        **variables,
        "API_URL": access.api_url,
        "BASE_POSTPROCESSING_URL": access.files_url,
        **({"SC_BEARER": access.token} if access.token else {}),
        # Also hides ~/.netrc, whose login would replace the token.
        "HOME": folder,
        "XDG_CONFIG_HOME": os.path.join(folder, "config"),
        "XDG_CACHE_HOME": os.path.join(folder, "cache"),
        "PYTHONUSERBASE": site.getuserbase(),
        "PYTHONUTF8": "1",
        "TQDM_DISABLE": "1",
        # One thread, because more would only cost memory and CPU for the data of one device.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def furnish(folder: str, files_url: str, read: Callable[[str], bytes]) -> None:
    """Create the files that the package reads on import; `read` returns a file of the file host.

    Raises the errors of `read`, and ValueError for an invalid file.
    """
    blueprint = _mapping(read(files_url + BLUEPRINT), BLUEPRINT)
    calibrations = _mapping(read(files_url + CALIBRATIONS), CALIBRATIONS)
    names = json.loads(read(files_url + NAMES))
    if not isinstance(names, list) or not names:
        raise ValueError(f"{NAMES} is not a list of names")
    known_keys = {key: blueprint[key] for key in BLUEPRINT_KEYS if key in blueprint}
    cache = os.path.join(folder, "cache", "scdata")
    for name in ("interim", "raw", "uploads"):
        os.makedirs(os.path.join(cache, name))
    for name, value in (
        ("blueprints", {"sc_air": known_keys}),
        ("calibrations", calibrations),
        ("names", {"SCDevice": names}),
    ):
        with open(os.path.join(cache, "interim", f"{name}.json"), "w", encoding="utf-8") as file:
            json.dump(value, file)
    for name in EXAMPLES:
        with open(os.path.join(cache, name), "wb"):
            pass
    os.makedirs(os.path.join(folder, "config", "scdata"))
    with open(os.path.join(folder, "config", "scdata", "config.yaml"), "w", encoding="utf-8") as file:
        file.write(CONFIGURATION)


def _mapping(content: bytes, name: str) -> dict[str, Any]:
    value = json.loads(content)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a mapping")
    return value


def _sweep(above: str) -> None:
    """Remove the folders of processes that were killed: the kernel has released their locks."""
    for name in os.listdir(above):
        folder = os.path.join(above, name)
        if not name.startswith("."):
            with suppress(OSError), locked(folder, wait=False, how=FOLDER):
                shutil.rmtree(folder, ignore_errors=True)
