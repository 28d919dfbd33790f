"""The registry with real entry points of made-up distributions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from pyemo import plugins
from pyemo.cli import main
from pyemo.errors import AssetError, PluginError

Install = Callable[..., None]

AGGREGATOR = """
from torch import nn
class Median(nn.Module):
    contract_version = 1
    def __init__(self, feature_dim, trim=0.1, *, centre="mean"):
        super().__init__()
        if not 0 <= trim < 0.5:
            raise ValueError(f"trim must be in [0, 0.5), got {trim}")
        self.output_dim = feature_dim
    def forward(self, sequence, mask):
        return sequence.median(dim=1).values
"""


def state(name: str, **arguments: bool) -> plugins.PluginInfo:
    (found,) = [plugin for plugin in plugins.info(**arguments) if plugin.name == name]
    return found


def test_listing_imports_nothing_and_first_use_imports(install: Install) -> None:
    install("robust-things", {"aggregators": {"median": "robust_median:Median"}}, robust_median=AGGREGATOR)
    assert "median" in plugins.names("aggregators")
    listed = state("median")
    assert "robust_median" not in sys.modules
    assert (listed.group, listed.distribution, listed.version) == ("aggregators", "robust-things", "2.1")
    assert (listed.target, listed.state) == ("robust_median:Median", "listed")
    assert plugins.create("aggregators", "median", feature_dim=3).output_dim == 3
    assert state("median").state == "ok"
    assert state("mean").state == "listed"  # one import is not all imports


def test_importing_pyemo_imports_no_plugin_and_no_torch() -> None:
    script = "import sys, pyemo, pyemo.plugins as p; p.info(); print([m for m in sys.modules if m.startswith(('pyemo_', 'torch'))])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
        ("this is no Python", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("class Other: pass", "has no attribute 'Median'"),
        ("class Median: pass", "has no contract_version; this pyemo expects contract_version = 1"),
        ("class Median: contract_version = 99", "contract_version 99; this pyemo expects 1"),
        ("class Made:\n    contract_version = 1\nMedian = Made()", "is a Made, expected a class or another callable"),
    ],
)
def test_a_broken_plugin_is_told_and_harms_no_other(
    install: Install, capsys: pytest.CaptureFixture[str], source: str, reason: str
) -> None:
    install("robust-things", {"aggregators": {"median": "robust_median:Median"}}, robust_median=source)
    assert "median" in plugins.names("aggregators")
    for _ in range(2):  # the second time from what is stored
        with pytest.raises(PluginError, match=r"aggregator 'median' of robust-things 2.1 .* is broken: ") as caught:
            plugins.create("aggregators", "median", feature_dim=3)
        assert reason in str(caught.value)
    assert plugins.create("aggregators", "mean", feature_dim=3).output_dim == 3
    assert state("median").state == "broken"
    assert reason in state("median").error

    plugins.refresh()
    assert main(["plugins"]) == 1
    shown = capsys.readouterr().out
    assert "aggregator 'median' of robust-things 2.1 (robust_median:Median):" in shown
    assert reason in shown
    plugins.refresh()
    assert main(["plugins", "--no-import"]) == 0
    assert "broken" not in capsys.readouterr().out


def test_unreadable_entry_points_harm_no_other(install: Install) -> None:
    install("robust-things", "[pyemo.aggregators]\nmedian without a target\n")
    (unreadable,) = [plugin for plugin in plugins.info(load=False) if plugin.distribution == "robust-things"]
    assert (unreadable.name, unreadable.group) == ("?", "aggregators")
    assert "mean" in plugins.names("aggregators")
    assert [plugin.state for plugin in plugins.info(load=True) if plugin.name == "?"] == ["broken"]


@pytest.mark.parametrize(
    ("source", "lacking"),
    [
        ("class Thing:\n    contract_version = 1\n    def __init__(self, feature_dim): pass", "forward, output_dim"),
        ("def Thing(feature_dim): return None\nThing.contract_version = 1", "NoneType, which lacks contract_version"),
    ],
)
def test_an_object_that_breaks_its_protocol(install: Install, source: str, lacking: str) -> None:
    install("robust-things", {"aggregators": {"thing": "robust_thing:Thing"}}, robust_thing=source)
    with pytest.raises(PluginError, match=r"see pyemo\.contracts\.Aggregator") as caught:
        plugins.create("aggregators", "thing", feature_dim=3)
    assert lacking in str(caught.value)


def test_options(install: Install) -> None:
    install("robust-things", {"aggregators": {"median": "robust_median:Median"}}, robust_median=AGGREGATOR)
    with pytest.raises(PluginError, match=r"no option 'trin'; did you mean 'trim'\? \(its options: trim, centre\)"):
        plugins.create("aggregators", "median", feature_dim=3, trin=0.2)
    with pytest.raises(PluginError, match="missing a required argument: 'feature_dim'"):
        plugins.create("aggregators", "median", trim=0.2)
    with pytest.raises(PluginError, match=r"\(feature_dim=3, trim=0.7\) failed: ValueError: trim must be in"):
        plugins.create("aggregators", "median", feature_dim=3, trim=0.7)


def test_an_error_for_the_user_passes_unchanged(install: Install) -> None:
    source = (
        "from pyemo.errors import AssetError\ndef Late():\n    raise AssetError('fetch it')\nLate.contract_version = 1"
    )
    install("robust-things", {"detectors": {"late": "robust_late:Late"}}, robust_late=source)
    with pytest.raises(AssetError, match=r"^fetch it$"):
        plugins.create("detectors", "late")


def test_two_distributions_with_one_name(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("robust-things", {"aggregators": {"median": "robust_median:Median"}}, robust_median=AGGREGATOR)
    install("Other.Things", {"aggregators": {"median": "other_median:Median"}}, version="0.3", other_median=AGGREGATOR)
    with pytest.raises(PluginError) as caught:
        plugins.get("aggregators", "median")
    for part in ("robust-things 2.1", "Other.Things 0.3", "'robust-things:median'", "'Other.Things:median'"):
        assert part in str(caught.value)
    assert {"robust-things:median", "Other.Things:median"} <= set(plugins.names("aggregators"))
    assert plugins.get("aggregators", "robust-things:median").__module__ == "robust_median"
    assert plugins.get("aggregators", "other-things:median").__module__ == "other_median"  # names as PyPI compares them
    main(["plugins"])
    assert capsys.readouterr().out.count("ambiguous") == 2


def test_a_built_in_is_never_overridden_silently(install: Install) -> None:
    install("robust-things", {"aggregators": {"mean": "robust_median:Median"}}, robust_median=AGGREGATOR)
    with pytest.raises(PluginError, match=r"ambiguous.*pyemo.*robust-things|ambiguous.*robust-things.*pyemo"):
        plugins.get("aggregators", "mean")
    assert plugins.get("aggregators", "pyemo:mean").__module__ == "pyemo_aggregators.mean"


def test_an_older_copy_of_a_distribution_is_shadowed(install: Install) -> None:
    install("robust-things", {"aggregators": {"median": "robust_old:Median"}}, version="1.0", robust_old=AGGREGATOR)
    install("robust-things", {"aggregators": {"median": "robust_median:Median"}}, robust_median=AGGREGATOR)
    assert state("median").version == "2.1"


@pytest.mark.parametrize(
    ("allowed", "admitted"),
    [
        ("", set()),
        (" , ", set()),
        ("robust_things", {"median", "trimmed"}),
        ("trimmed", {"trimmed"}),
        ("nothing-known, robust-things:median", {"median"}),
        ("other-things:median", set()),
    ],
)
def test_allow_list(install: Install, monkeypatch: pytest.MonkeyPatch, allowed: str, admitted: set[str]) -> None:
    points = {"median": "robust_median:Median", "trimmed": "robust_median:Median"}
    install("robust-things", {"aggregators": points}, robust_median=AGGREGATOR)
    monkeypatch.setenv("PYEMO_PLUGINS", allowed)
    assert set(plugins.names("aggregators")) & set(points) == admitted
    assert "mean" in plugins.names("aggregators")
    for name in points:
        if name in admitted:
            assert plugins.get("aggregators", name).__name__ == "Median"
        else:
            assert state(name, load=True).state == "blocked"
            with pytest.raises(PluginError, match="kept out by PYEMO_PLUGINS="):
                plugins.get("aggregators", name)


def test_the_allow_list_settles_a_clash(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("robust-things", {"aggregators": {"mean": "robust_median:Median"}}, robust_median=AGGREGATOR)
    monkeypatch.setenv("PYEMO_PLUGINS", "")
    assert plugins.get("aggregators", "mean").__module__ == "pyemo_aggregators.mean"


def test_unknown_names() -> None:
    with pytest.raises(
        PluginError, match=r"no fusion is called 'lineer'; did you mean 'linear'\? There are .*identity"
    ):
        plugins.get("fusions", "lineer")
    with pytest.raises(PluginError, match=r"no kind of plug-in is called 'fusion'; there are backbones, "):
        plugins.names("fusion")
    assert plugins.get("pyemo.fusions", "linear") is plugins.get("fusions", "linear")


def test_every_built_in_keeps_its_contract(capsys: pytest.CaptureFixture[str]) -> None:
    built_in = [plugin for plugin in plugins.info(load=True) if plugin.distribution == "pyemo"]
    assert {plugin.group for plugin in built_in} == set(plugins.GROUPS)
    assert [plugin.error for plugin in built_in if plugin.state != "ok"] == []
