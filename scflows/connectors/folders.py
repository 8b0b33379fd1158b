"""Pairs of folders: which files of one folder have no counterpart in another, found by listings alone."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from scflows.errors import StepError
from scflows.storage import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

#: Names that are never sources: hidden files, locks of office programs, copies of editors, files still being written.
LEFT_OUT_PREFIXES = (".", "~$")
LEFT_OUT_SUFFIXES = ("~", ".part", ".tmp", ".swp")
ANY = "*"


@dataclass(frozen=True)
class Place:
    """A folder and a pattern for the names in it."""

    folder: str
    pattern: str = ANY  #: `*` stands for any characters, `?` for one

    @classmethod
    def of(cls, text: str, pattern: str | None = None) -> Place:
        """Return the place that `FOLDER` or `FOLDER/PATTERN` means."""
        head, slash, tail = text.rstrip("/").rpartition("/")
        if _has_wildcard(tail):
            return cls(head or ("/" if slash else "."), tail)
        return cls(text, pattern or ANY)

    @property
    def wildcards(self) -> int:
        return self.pattern.count("*") + self.pattern.count("?")

    def __str__(self) -> str:
        return self.folder if self.pattern == ANY else f"{self.folder.rstrip('/')}/{self.pattern}"


@dataclass(frozen=True)
class Pair:
    """What a job makes from what."""

    sources: tuple[tuple[str, Place], ...]  #: by name; the first decides which targets there are
    target: Place
    newer: bool = False  #: make a target again if one of its sources is newer
    settle: float = 0.0  #: leave alone files changed more recently than that, in seconds

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Pair:
        """Return the pair of a job's options, which have been checked."""
        pattern = options.get("pattern")
        given = options.get("sources") or {"source": options["source"]}
        sources = tuple((str(name), Place.of(text, pattern)) for name, text in given.items())
        return cls(sources, Place.of(options["target"]), bool(options.get("newer")), float(options.get("settle") or 0))

    def target_name(self, name: str, found: tuple[str, ...]) -> str:
        """Return the name of the target for a source; `found` is what the wildcards of its pattern stand for."""
        if self.target.pattern == ANY:
            return name
        parts, rest = [], list(found)
        for letter in self.target.pattern:
            parts.append(rest.pop(0) if letter in "*?" and rest else letter)
        return "".join(parts)


@dataclass(frozen=True)
class Item:
    """One target that can be made now."""

    name: str  #: of the target
    sources: tuple[tuple[str, str], ...]  #: names of the sources, and their paths below the root


@dataclass
class Plan:
    """The state of a pair, from its listings. The keys and items are the names of targets."""

    ready: list[Item] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)  #: with the reason
    problems: dict[str, str] = field(default_factory=dict)  #: files that cannot be processed, with the reason
    present: set[str] = field(default_factory=set)  #: targets that are there

    @property
    def has_work(self) -> bool:
        return bool(self.ready or self.problems)


@dataclass
class Listing:
    """The names in a folder, without those that are left out."""

    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)  #: names that are neither, with the reason


def make_plan(pair: Pair, root: str, now: float | None = None, listings: dict[str, Listing] | None = None) -> Plan:
    """Compare the folders of a pair, which are below `root`, a path with links resolved.

    `listings` are those that the caller has already, by folder; new ones are added. Raises StepError if a folder cannot
    be read or leads out of `root`.
    """
    moment = time.time() if now is None else now
    listings = {} if listings is None else listings
    for place in [place for _, place in pair.sources] + [pair.target]:
        if place.folder not in listings:
            listings[place.folder] = read_folder(root, place.folder)
    plan = Plan()
    targets = listings[pair.target.folder]
    plan.present = _own_targets(pair, targets.files)
    if len(pair.sources) == 1:
        (key, place), listing = pair.sources[0], listings[pair.sources[0][1].folder]
        found = _matches(place, listing.files)
        items = {pair.target_name(name, part): ((key, _join(place.folder, name)),) for name, part in found.items()}
        for name, part in _matches(place, listing.problems).items():
            plan.problems[pair.target_name(name, part)] = f"{_join(place.folder, name)}: {listing.problems[name]}"
    else:
        items = _combined(pair, listings, plan)
    for name in list(plan.problems):
        if name in plan.present:
            del plan.problems[name]
    _sort_items(pair, root, items, targets, plan, moment)
    return plan


def _sort_items(pair: Pair, root: str, items: dict[str, Any], targets: Listing, plan: Plan, now: float) -> None:
    """Decide for each possible target whether it is made now."""
    names = items if pair.newer else items.keys() - plan.present
    for name in sorted(names):
        sources = items[name]
        if name in plan.present and not _is_newer(root, sources, _join(pair.target.folder, name), now):
            continue
        if name in targets.folders or (name in targets.problems and not targets.problems[name].startswith("link")):
            plan.problems[name] = f"{_join(pair.target.folder, name)}: it is not a file, so the target cannot be made"
            continue
        if pair.settle and (age := _youngest(root, sources, now)) < pair.settle:
            plan.waiting[name] = f"changed {age:.0f} s ago, settles after {pair.settle:g} s"
            continue
        plan.ready.append(Item(name, tuple(sources)))


def _combined(pair: Pair, listings: dict[str, Listing], plan: Plan) -> dict[str, Any]:
    """Return the sources of each target with several; what waits for a source goes to the plan."""
    (first, place), *others = pair.sources
    loose = all(each.pattern.endswith(".*") for _, each in pair.sources)
    partners = []
    for key, other in others:
        by_part: dict[tuple[str, ...], list[str]] = {}
        names = _matches(other, [*listings[other.folder].files, *listings[other.folder].problems])
        for name in sorted(names):
            by_part.setdefault(_part(names[name], loose), []).append(name)
        partners.append((key, other, names, by_part))
    items: dict[str, Any] = {}
    used: set[tuple[str, tuple[str, ...]]] = set()
    problems = listings[place.folder].problems
    leading = _matches(place, [*listings[place.folder].files, *problems])
    for name, part in leading.items():
        target = pair.target_name(name, part)
        sources = [(first, _join(place.folder, name))]
        if name in problems:
            plan.problems[target] = f"{sources[0][1]}: {problems[name]}"
        missing = []
        for key, other, _names, by_part in partners:
            used.add((key, _part(part, loose)))
            candidates = by_part.get(_part(part, loose), [])
            if not candidates:
                missing.append(str(other))
                continue
            # Of two with different endings, the one with the ending of the first source.
            ending = os.path.splitext(name)[1]
            chosen = next((each for each in candidates if each.endswith(ending)), candidates[0])
            sources.append((key, _join(other.folder, chosen)))
            if chosen in listings[other.folder].problems:
                plan.problems[target] = f"{sources[-1][1]}: {listings[other.folder].problems[chosen]}"
        if missing:
            if target not in plan.present:
                plan.waiting[target] = f"waiting for {' and '.join(missing)}"
        elif target not in plan.problems:
            items[target] = tuple(sources)
    known = {_part(part, loose) for part in leading.values()}
    for _key, _other, names, by_part in partners:
        for part, candidates in by_part.items():
            name = candidates[0]
            target = pair.target_name(name, names[name])
            if part not in known and target not in plan.present:
                plan.waiting.setdefault(target, f"waiting for {place}")
    return items


def read_folder(root: str, folder: str) -> Listing:
    """Return the names in a folder below `root`; none if there is no such folder.

    Raises StepError if it cannot be read, is not a folder, or leads out of `root`.
    """
    listing = Listing()
    try:
        descriptor = os.open(os.path.join(root, folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return listing  # Its first file is yet to come.
    except (OSError, ValueError) as error:
        raise StepError(f"{folder}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        path = _path_of(descriptor, root, folder)
        with os.scandir(descriptor) as entries:
            for entry in entries:
                name = entry.name
                if is_left_out(name):
                    continue
                if entry.is_file(follow_symlinks=False):
                    listing.files.add(name)
                elif entry.is_dir(follow_symlinks=False):
                    listing.folders.add(name)
                elif entry.is_symlink():
                    _add_link(listing, os.path.join(path, name), name)
                else:
                    listing.problems[name] = "is not a regular file"
    except OSError as error:
        raise StepError(f"{folder}: cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    return listing


def _path_of(descriptor: int, root: str, folder: str) -> str:
    """Return the path of an open folder, with links resolved. Raises StepError if it is not below `root`."""
    try:
        # Resolving it piece by piece would cost more than reading it.
        path = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return inside(root, folder)
    if path != root and not path.startswith(root.rstrip("/") + "/"):
        raise StepError(f"{folder!r} leads out of its folder")
    return path


def _add_link(listing: Listing, path: str, name: str) -> None:
    try:
        if os.path.isdir(path):
            listing.folders.add(name)
        elif os.path.isfile(path):
            listing.files.add(name)
        else:
            os.stat(path)
            listing.problems[name] = "link to something that is not a regular file"
    except OSError as error:
        listing.problems[name] = f"link that leads nowhere: {error.strerror}"


def is_left_out(name: str) -> bool:
    """Return whether a name is never a source."""
    return name.startswith(LEFT_OUT_PREFIXES) or name.endswith(LEFT_OUT_SUFFIXES)


def shown(name: str) -> str:
    """Return the name of a file for messages: on one line, and UTF-8."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def place_mistakes(pair: Pair) -> Iterator[str]:
    """Yield why a pair cannot work."""
    counts = {place.wildcards for _, place in pair.sources}
    if len(counts) > 1:
        yield "the patterns of all sources need the same number of wildcards"
    elif pair.target.pattern != ANY and pair.target.wildcards > min(counts):
        yield f"the pattern of the target, {pair.target.pattern!r}, has more wildcards than that of the source"
    first = pair.sources[0][1]
    for _, place in pair.sources:
        if os.path.normpath(place.folder) == os.path.normpath(pair.target.folder) and (
            pair.target.pattern in (ANY, first.pattern)
        ):
            yield "source and target are the same files"
            return


def chain_order(pairs: list[Pair]) -> list[int] | None:
    """Return the order in which each pair comes after those that make its sources; None if there is a circle."""
    makers: dict[str, list[int]] = {}
    for at, pair in enumerate(pairs):
        makers.setdefault(os.path.normpath(pair.target.folder), []).append(at)
    needs = [
        {maker for _, place in pair.sources for maker in makers.get(os.path.normpath(place.folder), ()) if maker != at}
        for at, pair in enumerate(pairs)
    ]
    order: list[int] = []
    done: set[int] = set()
    pending = list(range(len(pairs)))
    while pending:
        later = []
        for at in pending:
            if needs[at] <= done:
                order.append(at)
                done.add(at)
            else:
                later.append(at)
        if len(later) == len(pending):
            return None
        pending = later
    return order


def _own_targets(pair: Pair, names: Iterable[str]) -> set[str]:
    """Return the names that the pair may have made: other pairs may have the same target folder."""
    own = pair.target if pair.target.pattern != ANY else pair.sources[0][1]
    return set(_matches(own, names))


def _matches(place: Place, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the names that fit the pattern, with what its wildcards stand for."""
    if place.pattern == ANY:
        return {name: (name,) for name in names}
    import re

    parts = ["(.*)" if letter == "*" else "(.)" if letter == "?" else re.escape(letter) for letter in place.pattern]
    fit = re.compile("".join(parts), re.DOTALL).fullmatch
    found = {}
    for name in names:
        match = fit(name)
        if match is not None:
            found[name] = match.groups()
    return found


def _part(found: tuple[str, ...], loose: bool) -> tuple[str, ...]:
    """Return what the sources of a target have in common; `loose` ignores the ending."""
    return found[:-1] if loose else found


def _is_newer(root: str, sources: Iterable[tuple[str, str]], target: str, now: float) -> bool:
    """Return whether a source was changed after the target; one from the future only once its time has come."""
    try:
        made = os.stat(os.path.join(root, target)).st_mtime
        return any(made < os.stat(os.path.join(root, path)).st_mtime <= now for _, path in sources)
    except OSError:
        return False


def _youngest(root: str, sources: Iterable[tuple[str, str]], now: float) -> float:
    """Return how long ago the newest source was changed, in seconds; a time in the future does not count."""
    ages = []
    for _, path in sources:
        try:
            ages.append(now - os.stat(os.path.join(root, path)).st_mtime)
        except OSError:
            continue
    return min((age for age in ages if age >= 0), default=float("inf"))


def _join(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder.rstrip('/')}/{name}"


def _has_wildcard(text: str) -> bool:
    return "*" in text or "?" in text
