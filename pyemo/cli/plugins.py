"""``pyemo plugins``: what is installed, and what is wrong with it. Exit status 1 if a plug-in is broken."""

from __future__ import annotations

import argparse
import textwrap

from pyemo import plugins
from pyemo.cli.table import format_table


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-import", action="store_true", help="list only; do not import the plug-ins to find broken ones"
    )


def run(arguments: argparse.Namespace) -> int:
    found = plugins.info(load=not arguments.no_import)
    rows = [(p.name, p.group.removesuffix("s"), p.distribution, p.version, p.state) for p in found]
    print(format_table(("name", "kind", "distribution", "version", "state"), rows))
    broken = [plugin for plugin in found if plugin.state == "broken"]
    for plugin in broken:
        print(
            f"\n{plugin.group.removesuffix('s')} '{plugin.name}' of {plugin.distribution} {plugin.version} ({plugin.target}):"
        )
        print(textwrap.indent(plugin.error.strip(), "  "))
    return 1 if broken else 0
