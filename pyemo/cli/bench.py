"""``pyemo bench [PART]``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyemo.cli import bench_label_paired

if TYPE_CHECKING:
    from rich.table import Table

    from pyemo.benchmarking.accuracy import Deviation
    from pyemo.benchmarking.summary import Mean, Measurement

LABEL_PAIRED = "label-paired"
_QUICK = 3


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure this machine: pyemo's ops, models made faster by pyemo.accelerate, and the pipeline, each against the fastest alternatives, "
        "in turn within one process, and beside the time that the machine's measured peaks allow. DIR gets summary.json, chart.png, chart.svg "
        "and pytest-benchmark's report. Needs pip install 'pyemo[bench]'."
    )
    parser.epilog = "Exit status: 0 done, 1 an error or a case that failed, 2 wrong usage, 130 interrupted (what was done is written)."
    parser.add_argument(
        "part",
        nargs="?",
        default="ops",
        choices=["ops", "models", "pipeline", "accuracy", "all", LABEL_PAIRED],
        help="what to measure (default: ops); accuracy: the largest errors of the ops against float64, on each instruction set; all: these "
        "four; label-paired: how well fusions of face and voice recognise emotions, see below",
    )
    parser.add_argument(
        "-k", dest="expression", metavar="EXPR", help="only cases that match, for instance 'stage1 and not backward'"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default: runs/bench-PART)")
    speed = parser.add_mutually_exclusive_group()
    speed.add_argument("--rounds", type=_positive, metavar="N", help="timed calls of each implementation")
    speed.add_argument(
        "--quick", action="store_true", help=f"the same as --rounds {_QUICK}: for a look, not for figures"
    )
    parser.add_argument(
        "--no-compile", action="store_true", help="leave out the baselines of torch.compile, which take longest"
    )
    parser.add_argument(
        "--threads",
        type=_thread_counts,
        default=[None],
        metavar="N,N",
        help="numbers of threads; with several, only a few cases (or those of -k), and how much faster they are with more",
    )
    bench_label_paired.add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    from pyemo.errors import ConfigError
    from pyemo.files import check_writable

    out = arguments.out or Path("runs") / f"bench-{arguments.part}"
    check_writable(out)
    if arguments.part == LABEL_PAIRED:
        return bench_label_paired.run(arguments, out)
    if arguments.overrides:
        raise ConfigError(f"key=value is for {LABEL_PAIRED} only, got {arguments.overrides[0]!r}")
    document: dict[str, Any] = {"command": ["pyemo", "bench", *sys.argv[2:]]}
    status = 0
    if arguments.part != "accuracy":
        status = _measure(arguments, out, document)
    if arguments.part in ("accuracy", "all") and status != 130:
        _check_accuracy(document)
    _write(document, out)
    print(f"written: {out}")
    return status


def _measure(arguments: argparse.Namespace, out: Path, document: dict[str, Any]) -> int:
    from pyemo.benchmarking.suites import check_requirements, run_suites, suite_files

    check_requirements(compiles=not arguments.no_compile)
    files = suite_files(arguments.part)
    several = len(arguments.threads) > 1
    reports: list[Path] = []
    status = 0
    try:
        for threads in arguments.threads:
            reports.append(out / (f"pytest-benchmark-{threads}-threads.json" if threads else "pytest-benchmark.json"))
            reports[-1].unlink(missing_ok=True)
            good = run_suites(
                files,
                reports[-1],
                expression=arguments.expression,
                threads=threads,
                scaling=several and not arguments.expression,
                rounds=_QUICK if arguments.quick else arguments.rounds,
                compiles=not arguments.no_compile,
            )
            status = status if good else 1
    except KeyboardInterrupt:
        print("pyemo: interrupted; what was measured follows", file=sys.stderr)
        status = 130
    _report([path for path in reports if path.is_file() and path.stat().st_size], arguments, out, document)
    return status


def _report(reports: Sequence[Path], arguments: argparse.Namespace, out: Path, document: dict[str, Any]) -> None:
    from pyemo.benchmarking.chart import chart
    from pyemo.benchmarking.summary import machine_info, means, read_measurements
    from pyemo.files import written_whole

    measurements = read_measurements(reports)
    if not measurements:
        return
    # The first run's load is that of others alone.
    machine = {**machine_info(reports[-1]), "load": machine_info(reports[0])["load"]}
    machine["threads"] = ", ".join(map(str, sorted({one.threads for one in measurements})))
    averages = means(measurements)
    _print(*_machine_lines(machine))
    if arguments.no_compile:
        _print("without the baselines of torch.compile")
    _print(_measurement_table(measurements), _mean_table(averages) if averages else "")
    document |= {
        "machine": machine,
        "compiled_baselines": not arguments.no_compile,
        "measurements": [{**asdict(one), "share": one.share} for one in measurements],
        "means": [asdict(one) for one in averages],
    }
    figure = chart(measurements, _machine_lines(machine)[0])
    for name in ("chart.png", "chart.svg"):
        with written_whole(out / name) as temporary:
            figure.savefig(temporary, dpi=150)


def _check_accuracy(document: dict[str, Any]) -> None:
    from pyemo.benchmarking.accuracy import deviations
    from pyemo.benchmarking.machine import describe

    document.setdefault("machine", describe())
    found = list(deviations())
    document["deviations"] = [asdict(one) for one in found]
    _print(_deviation_table(found))


def _write(document: dict[str, Any], out: Path) -> None:
    from pyemo.files import written_whole

    with written_whole(out / "summary.json") as temporary:
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _machine_lines(machine: dict[str, Any]) -> list[str]:
    versions = ", ".join(
        f"{name} {machine[name]}"
        for name in ("pyemo", "torch", "timm", "librosa", "scikit-image", "numpy", "python")
        if name in machine
    )
    peaks = [f"copy {machine['copy_bandwidth'] / 1e9:.1f} GB/s (read and written)"]
    peaks += [f"matrix products {dtype} {peak / 1e9:.0f} GFLOP/s" for dtype, peak in machine["gemm_peak"].items()]
    if "gpu_copy_bandwidth" in machine:
        peaks.append(f"GPU copy {machine['gpu_copy_bandwidth'] / 1e9:.0f} GB/s")
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']} (torch: {machine['torch_isa']}), threads: {machine['threads']}",
        *(
            [f"{machine['gpu']}, CUDA {machine['cuda']}, pyemo's kernels: {machine['cuda_kernels']}"]
            if "gpu" in machine
            else []
        ),
        f"{machine['system']}; {versions}",
        f"measured peaks: {'; '.join(peaks)}",
    ]
    if float(machine["load"]) > 0.5:
        lines.append(f"warning: the load was {machine['load']} before the measurements; other processes distort them")
    return lines


def _measurement_table(measurements: Sequence[Measurement]) -> Table:
    threads = len({one.threads for one in measurements}) > 1
    items = any(one.items for one in measurements)
    columns = ["case", "dtype", "implementation", "median ms", "IQR ms", "x best baseline", "of floor"]
    columns += ["items/s"] if items else []
    columns += ["threads", "x fewest threads"] if threads else []
    table = _table(columns, left=3)
    previous = None
    for one in measurements:
        case = f"{one.op}: {one.case}"
        here = (case, one.dtype, one.threads)
        if previous not in (None, here):
            table.add_section()
        cells = [case, one.dtype] if previous != here else ["", ""]
        cells += [one.implementation, f"{1e3 * one.median:.3f}", f"{1e3 * one.spread:.3f}"]
        cells += [_number(one.ratio, ".2f"), _number(one.share, ".1%")]
        cells += [f"{one.item_count / one.median:.1f} {one.items}" if one.items else ""] if items else []
        cells += [str(one.threads), _number(one.scaling, ".2f")] if threads else []
        table.add_row(*cells, style="bold" if one.ours else "")
        previous = here
    return table


def _mean_table(averages: Iterable[Mean]) -> Table:
    table = _table(
        ["op", "dtype", "implementation", "threads", "cases", "x best baseline (geometric mean)", "least", "in"], left=3
    )
    for one in averages:
        table.add_row(
            one.op,
            one.dtype,
            one.implementation,
            str(one.threads),
            str(one.cases),
            f"{one.geometric_mean:.2f}",
            f"{one.least:.2f}",
            one.least_case,
        )
    return table


def _deviation_table(found: Iterable[Deviation]) -> Table:
    """A row for each quantity, a column for each instruction set."""
    rows: dict[tuple[str, str, str, float], dict[str, float]] = {}
    for one in found:
        rows.setdefault((one.op, one.quantity, one.dtype, one.largest), {})[one.isa] = one.error
    isas = list(dict.fromkeys(isa for errors in rows.values() for isa in errors))
    table = _table(["op", "quantity", "dtype", "largest value", *(f"error, {isa}" for isa in isas)], left=3)
    for (op, quantity, dtype, largest), errors in rows.items():
        table.add_row(op, quantity, dtype, f"{largest:.3g}", *(f"{errors[isa]:.1e}" for isa in isas))
    return table


def _table(columns: Sequence[str], left: int) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right", no_wrap=True)
    return table


def _print(*blocks: Table | str) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 500  # a file or another tool gets whole lines
    for block in blocks:
        console.print(block, soft_wrap=isinstance(block, str), markup=False)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text!r}")
    return int(text)


def _thread_counts(text: str) -> list[int]:
    counts = [_positive(part) for part in text.split(",")]
    if len(set(counts)) < len(counts):
        raise argparse.ArgumentTypeError(f"expected different numbers, got {text!r}")
    return sorted(counts)
