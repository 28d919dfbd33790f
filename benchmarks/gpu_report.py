"""``gpu_report.py TARGET REPORT...``: what the suites measured on a GPU as one JSON file, and as a table."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from pyemo.benchmarking.summary import machine_info, means, read_measurements


def main(target: str, *reports: str) -> None:
    found = [path for path in map(Path, reports) if path.is_file() and path.stat().st_size]
    measurements = read_measurements(found)
    machine = machine_info(found[0]) if found else {}
    document = {
        "machine": machine,
        "measurements": [{**asdict(one), "share": one.share} for one in measurements],
        "means": [asdict(one) for one in means(measurements)],
    }
    Path(target).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if "gpu_copy_bandwidth" in machine:
        print(f"{machine['gpu']}: copy {machine['gpu_copy_bandwidth'] / 1e9:.0f} GB/s, read and written")
    previous = None
    for one in measurements:
        case = f"{one.op}: {one.case}, {one.dtype}"
        if case != previous:
            print(case)
        previous = case
        line = f"  {one.implementation:24} {1e6 * one.median:9.1f} us"
        line += f"  {one.share:6.1%} of copy" if one.share is not None else ""
        line += f"  {one.ratio:5.2f} x best baseline" if one.ours and one.ratio is not None else ""
        line += f"  {one.item_count / one.median:.0f} {one.items}/s" if one.items else ""
        print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
