"""The registry of plug-ins: Python entry points in the five groups of :data:`GROUPS`.

Names are listed without importing anything; a plug-in is imported when it is first used, and whatever goes wrong then stays with that
plug-in. The environment variable ``PYEMO_PLUGINS`` limits plug-ins of other distributions to a comma-separated list of distributions,
plug-in names or ``distribution:name``; set but empty it admits none. Those that pyemo ships are always admitted.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

from pyemo import contracts
from pyemo.errors import PluginError, PyemoError, did_you_mean

GROUPS: Mapping[str, type] = {
    "backbones": contracts.Backbone,
    "aggregators": contracts.Aggregator,
    "fusions": contracts.Fusion,
    "detectors": contracts.Detector,
    "datasets": contracts.Dataset,
}
"""Kind of plug-in -> its protocol. The entry-point group is the kind after ``pyemo.``, for instance ``pyemo.backbones``."""

SUPPLIED: Mapping[str, frozenset[str]] = {
    "aggregators": frozenset({"feature_dim"}),
    "fusions": frozenset({"dims", "num_classes"}),
}
"""Arguments that pyemo itself passes to the plug-ins of a kind; all others are options of the recipe."""

ENVIRONMENT_VARIABLE = "PYEMO_PLUGINS"
State = Literal["listed", "ok", "broken", "blocked", "ambiguous"]


@dataclass(frozen=True)
class PluginInfo:
    """One line of ``pyemo plugins``."""

    name: str
    group: str
    """A key of :data:`GROUPS`."""
    distribution: str
    version: str
    target: str
    """``module:attribute``."""
    state: State
    """``listed``: not imported yet; ``ok``: imported, contract version right; ``broken``: see ``error``; ``blocked``: kept out by
    ``PYEMO_PLUGINS``; ``ambiguous``: imported by ``distribution:name`` only, because another distribution has one of this name."""
    error: str = ""
    """Traceback or explanation of a broken plug-in."""


@dataclass(frozen=True)
class _Entry:
    group: str
    name: str
    distribution: str
    version: str
    point: metadata.EntryPoint | None
    """None: the distribution's entry points cannot be read; ``unreadable`` says why."""
    unreadable: str = ""

    def __str__(self) -> str:
        kind = self.group.removesuffix("s")
        return f"{kind} '{self.name}' of {self.distribution} {self.version}"

    @property
    def target(self) -> str:
        return self.point.value if self.point else ""

    def admitted(self) -> bool:
        allowed = os.environ.get(ENVIRONMENT_VARIABLE)
        if allowed is None or _normalized(self.distribution) == "pyemo":
            return True
        for item in filter(None, (part.strip() for part in allowed.split(","))):
            distribution, colon, name = item.rpartition(":")
            if colon:
                if _normalized(distribution) == _normalized(self.distribution) and name == self.name:
                    return True
            elif item == self.name or _normalized(item) == _normalized(self.distribution):
                return True
        return False


def names(group: str) -> list[str]:
    """Names that :func:`get` knows, without importing anything; ``distribution:name`` where a plain name is ambiguous."""
    entries = _admitted(group)
    return sorted(f"{e.distribution}:{e.name}" if _is_ambiguous(e, entries) else e.name for e in entries)


def info(*, load: bool = False) -> list[PluginInfo]:
    """All plug-ins, also blocked and broken ones. ``load`` imports each that is admitted, so that broken ones are found."""
    found = []
    for entry in _discover():
        state: State = "listed"
        error = ""
        if not entry.admitted():
            state = "blocked"
        else:
            if load or entry in _loaded:
                _, error = _load(entry)
                state = "broken" if error else "ok"
            if not error and _is_ambiguous(entry, _admitted(entry.group)):
                state = "ambiguous"
        found.append(PluginInfo(entry.name, entry.group, entry.distribution, entry.version, entry.target, state, error))
    return found


def get(group: str, name: str) -> Callable[..., Any]:
    """The plug-in itself (a callable that :func:`create` calls), imported and with its contract version checked.

    Args:
        group: a key of :data:`GROUPS`.
        name: ``name``, or ``distribution:name`` where several distributions have one of that name.

    Raises:
        PluginError: unknown, blocked, ambiguous or broken plug-in, or one for another contract version.
    """
    entry = _find(group, name)
    factory, error = _load(entry)
    if error:
        summary = error.strip().splitlines()[-1]
        raise PluginError(f"{entry} ({entry.target}) is broken: {summary} (`pyemo plugins` shows all of it)")
    return factory


def create(group: str, name: str, /, **options: Any) -> Any:
    """Call a plug-in with ``options`` and check that what it makes satisfies the protocol of its group.

    Raises:
        PluginError: as :func:`get`; an option is unknown, missing or refused; the object lacks a part of the protocol.
    """
    factory = get(group, name)
    entry = _find(group, name)
    _check_options(entry, factory, options)
    try:
        made = factory(**options)
    except PyemoError:
        raise
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise PluginError(f"{entry}: creating it with ({given}) failed: {type(error).__name__}: {error}") from error
    protocol = GROUPS[entry.group]
    if not isinstance(made, protocol):
        members = {*protocol.__annotations__, *(member for member in vars(protocol) if not member.startswith("_"))}
        lacking = ", ".join(sorted(member for member in members if not hasattr(made, member)))
        raise PluginError(
            f"{entry} made a {type(made).__name__}, which lacks {lacking}: see pyemo.contracts.{protocol.__name__}"
        )
    return made


def refresh() -> None:
    """Forget what is installed and what was imported; for use after an installation in the running process."""
    _discover.cache_clear()
    _loaded.clear()


_loaded: dict[_Entry, tuple[Any, str]] = {}


@functools.cache
def _discover() -> tuple[_Entry, ...]:
    # Not metadata.entry_points(): one distribution with unreadable metadata would take all others with it.
    found: dict[str, list[_Entry]] = {}
    for distribution in metadata.distributions():
        points: list[metadata.EntryPoint] = []
        unreadable = ""
        try:
            points = [point for point in distribution.entry_points if _group(point.group) in GROUPS]
        except Exception:
            unreadable = traceback.format_exc()
        if points or (unreadable and _announces(distribution)):
            name, version = _identify(distribution)
            entries = [_Entry(_group(point.group), point.name, name, version, point) for point in points]
            if unreadable:
                entries = [_Entry(group, "?", name, version, None, unreadable) for group in _announces(distribution)]
            found.setdefault(_normalized(name), entries)  # an older copy further down sys.path is shadowed
    order = list(GROUPS)
    return tuple(
        sorted(
            (entry for entries in found.values() for entry in entries),
            key=lambda entry: (order.index(entry.group), entry.name, _normalized(entry.distribution)),
        )
    )


def _announces(distribution: metadata.Distribution) -> list[str]:
    """Groups for which a distribution with unreadable entry points has some."""
    try:
        text = distribution.read_text("entry_points.txt") or ""
    except Exception:
        return []
    return [group for group in GROUPS if f"[pyemo.{group}]" in text]


def _identify(distribution: metadata.Distribution) -> tuple[str, str]:
    try:
        return distribution.metadata["Name"] or "unknown", distribution.version or "unknown"
    except Exception:  # no METADATA file
        return "unknown", "unknown"


def _admitted(group: str) -> list[_Entry]:
    return [entry for entry in _discover() if entry.group == _checked(group) and entry.admitted()]


def _find(group: str, name: str) -> _Entry:
    kind = _checked(group).removesuffix("s")
    distribution, _, plain = name.rpartition(":")
    matching = [
        entry
        for entry in _discover()
        if entry.group == _checked(group)
        and entry.name == plain
        and (not distribution or _normalized(entry.distribution) == _normalized(distribution))
    ]
    admitted = [entry for entry in matching if entry.admitted()]
    if len(admitted) == 1:
        return admitted[0]
    if admitted:
        raise PluginError(
            f"{kind} '{name}' is ambiguous: "
            + " and ".join(f"{entry.distribution} {entry.version} ({entry.target})" for entry in admitted)
            + " have one of this name; choose with "
            + " or ".join(f"'{entry.distribution}:{entry.name}'" for entry in admitted)
        )
    if matching:
        raise PluginError(f"{matching[0]} is kept out by {ENVIRONMENT_VARIABLE}={os.environ[ENVIRONMENT_VARIABLE]!r}")
    known = names(group)
    raise PluginError(
        f"no {kind} is called '{name}'"
        + did_you_mean(name, known, ".")
        + (f" There are {', '.join(known)}." if known else " None is installed; is pyemo itself?")
    )


def _load(entry: _Entry) -> tuple[Any, str]:
    """The plug-in and "", or None and what is wrong with it; imported once, good or bad."""
    if entry not in _loaded:
        _loaded[entry] = _import(entry)
    return _loaded[entry]


def _import(entry: _Entry) -> tuple[Any, str]:
    if entry.point is None:
        return None, entry.unreadable
    try:
        factory = entry.point.load()
    except KeyboardInterrupt:
        raise
    except BaseException:  # a plug-in may even call sys.exit() when imported
        return None, traceback.format_exc()
    expected = contracts.CONTRACT_VERSION
    version = getattr(factory, "contract_version", None)
    if version is None:
        return None, f"{entry.target} has no contract_version; this pyemo expects contract_version = {expected}"
    if version != expected:
        return None, f"{entry.target} has contract_version {version!r}; this pyemo expects {expected}"
    if not callable(factory):
        return None, f"{entry.target} is a {type(factory).__name__}, expected a class or another callable"
    return factory, ""


def _check_options(entry: _Entry, factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except ValueError:  # written in C: the call itself must tell
        return
    parameters = signature.parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        supplied = SUPPLIED.get(entry.group, frozenset())
        named = [p.name for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}]
        accepted = [parameter for parameter in named if parameter not in supplied]
        for option in options:
            if option not in named:
                raise PluginError(
                    f"{entry} has no option '{option}'"
                    + did_you_mean(option, accepted)
                    + f" (its options: {', '.join(accepted) or 'none'})"
                )
    try:
        signature.bind(**options)
    except TypeError as error:
        raise PluginError(f"{entry}: {error}") from error


def _is_ambiguous(entry: _Entry, entries: list[_Entry]) -> bool:
    return sum(other.name == entry.name for other in entries) > 1


def _group(entry_point_group: str) -> str:
    return entry_point_group.removeprefix("pyemo.") if entry_point_group.startswith("pyemo.") else ""


def _checked(group: str) -> str:
    kind = group.removeprefix("pyemo.")
    if kind not in GROUPS:
        raise PluginError(f"no kind of plug-in is called {group!r}; there are {', '.join(GROUPS)}")
    return kind


def _normalized(distribution: str) -> str:
    """As PyPI compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
