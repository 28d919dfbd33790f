"""``pyemo assets``: weight files that are not part of the package."""

from __future__ import annotations

import argparse
from pathlib import Path

from pyemo import assets
from pyemo.cli.table import format_table
from pyemo.errors import PyemoError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "pull", "import"),
        default="list",
        help="list what is known and what is there (the default); pull: download and verify; import: take over a file of this machine",
    )
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="NAME|FILE",
        help="name of what to pull; or the file to import, after the name of what it must be if you like",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--name", help="import: which known file it must be; without it, the SHA-256 tells")
    choice.add_argument(
        "--as", dest="model", metavar="NAME", help="import: Keras weights of mini-Xception, as a model of this name"
    )
    parser.set_defaults(usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    action, targets = arguments.action, arguments.targets
    if len(targets) not in {"list": (0,), "pull": (1,), "import": (1, 2)}[action]:
        arguments.usage_error("pull takes a NAME, import a FILE or a NAME and a FILE, list nothing")
    if (arguments.name or arguments.model) and action != "import":
        arguments.usage_error("--name and --as are for import")
    if len(targets) == 2 and (arguments.name or arguments.model):
        arguments.usage_error("a NAME before the FILE, --name and --as exclude one another")
    name, target = (arguments.name, *targets) if len(targets) == 1 else targets or (None, None)
    if action == "pull":
        _show(assets.find(target), _pull(target))
    elif action == "import" and arguments.model:
        from pyemo.weights.keras import import_mini_xception

        print(f"imported as the model {arguments.model}: {import_mini_xception(Path(target), arguments.model)}")
    elif action == "import":
        asset = assets.import_file(target, name)
        _show(asset, assets.path(asset.name))
    else:
        _list()
    return 0


def _list() -> None:
    rows = [
        (asset.name, _state(asset.name), f"{asset.size / 1e3:,.0f} kB", asset.licence, asset.purpose)
        for asset in assets.ASSETS.values()
    ]
    print(format_table(("name", "state", "size", "licence", "purpose"), rows))
    print(f"\nkept in {assets.home()} (PYEMO_HOME)")


def _state(name: str) -> str:
    if not assets.is_present(name):
        return "absent"
    try:
        assets.path(name)
    except PyemoError:
        return "damaged"
    return "present"


def _pull(name: str) -> Path:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()) as display:
        task = display.add_task(name, total=assets.find(name).size)
        return assets.pull(name, lambda done, total: display.update(task, completed=done, total=total))


def _show(asset: assets.Asset, file: Path) -> None:
    print(f"{asset.name} ({asset.licence}): {file}")
    if asset.is_model:
        from pyemo.weights.keras import import_mini_xception

        print(f"loads as the model {asset.name}: {import_mini_xception(file, asset.name)}")
