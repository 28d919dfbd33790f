"""What a run of the suites says: each measurement beside its baselines and its floor, and means over cases."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

OURS = "pyemo"
"""How the names of pyemo's own implementations begin; all others are baselines."""


@dataclass(frozen=True)
class Measurement:
    """Of one implementation of one case. Times are in seconds."""

    op: str
    case: str
    dtype: str
    implementation: str
    threads: int
    median: float
    spread: float
    """Interquartile range."""
    fastest: float
    rounds: int
    floor: float | None = None
    """The least time that the machine would need; None if it is not known."""
    limit: str | None = None
    """What sets the floor: ``"compute"`` or ``"memory"``."""
    items: str | None = None
    """What is counted in ``item_count``, for instance frames."""
    item_count: int = 0
    ratio: float | None = None
    """The median of the fastest baseline over this one; None without a baseline."""
    scaling: float | None = None
    """The median with the fewest threads over this one; None if all was measured with the same number."""

    @property
    def ours(self) -> bool:
        return self.implementation.startswith(OURS)

    @property
    def share(self) -> float | None:
        """The floor over the median: 1 at the machine's limit."""
        return None if self.floor is None else self.floor / self.median


@dataclass(frozen=True)
class Mean:
    """Of the ratios to the best baseline, over the cases of an op in a dtype."""

    op: str
    dtype: str
    implementation: str
    threads: int
    cases: int
    geometric_mean: float
    least: float
    least_case: str


def read_measurements(reports: Iterable[Path]) -> list[Measurement]:
    """The measurements in pytest-benchmark's JSON files, with their ratios, in the order of their cases; the fastest first in each."""
    found = []
    for report in reports:
        for entry in json.loads(report.read_text(encoding="utf-8"))["benchmarks"]:
            stats = entry["stats"]
            found.append(
                Measurement(
                    **entry["extra_info"],
                    median=stats["median"],
                    spread=stats["iqr"],
                    fastest=stats["min"],
                    rounds=stats["rounds"],
                )
            )
    return compare(found)


def compare(measurements: Sequence[Measurement]) -> list[Measurement]:
    """The same with ``ratio`` and ``scaling`` filled in, the implementations of a case from fast to slow."""
    cases: dict[tuple[str, str, str, int], list[Measurement]] = defaultdict(list)
    series: dict[tuple[str, str, str, str], list[Measurement]] = defaultdict(list)
    for one in measurements:
        cases[one.op, one.case, one.dtype, one.threads].append(one)
        series[one.op, one.case, one.dtype, one.implementation].append(one)
    compared = []
    for rows in cases.values():
        baseline = min((row.median for row in rows if not row.ours), default=None)
        for row in sorted(rows, key=lambda row: row.median):
            own = series[row.op, row.case, row.dtype, row.implementation]
            fewest = min(own, key=lambda one: one.threads)
            compared.append(
                replace(
                    row,
                    ratio=None if baseline is None else baseline / row.median,
                    scaling=fewest.median / row.median if len(own) > 1 else None,
                )
            )
    return compared


def means(measurements: Iterable[Measurement]) -> list[Mean]:
    """Of pyemo's implementations; those without a baseline are left out."""
    groups: dict[tuple[str, str, str, int], list[tuple[float, str]]] = defaultdict(list)
    for one in measurements:
        if one.ours and one.ratio is not None:
            groups[one.op, one.dtype, one.implementation, one.threads].append((one.ratio, one.case))
    return [
        Mean(
            op,
            dtype,
            implementation,
            threads,
            len(ratios),
            math.exp(sum(math.log(ratio) for ratio, _ in ratios) / len(ratios)),
            *min(ratios),
        )
        for (op, dtype, implementation, threads), ratios in groups.items()
    ]


def machine_info(report: Path) -> dict[str, Any]:
    """What the suites' conftest put into pytest-benchmark's description of the machine."""
    return json.loads(report.read_text(encoding="utf-8"))["machine_info"]["pyemo"]
