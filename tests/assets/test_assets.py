"""Weight files: download from a real (local) server, import, verification."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyemo import assets
from pyemo.cli import main
from pyemo.errors import AssetError

CONTENT = bytes(range(256)) * 1000  # several chunks


class Server(http.server.ThreadingHTTPServer):
    body = CONTENT
    status = 200
    announced: int | None = None
    requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights.onnx"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(self.server.announced or len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYEMO_HOME", str(tmp_path / "home"))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "home"


@pytest.fixture
def known(server: Server, monkeypatch: pytest.MonkeyPatch) -> assets.Asset:
    """A known asset with the content that the server sends."""
    asset = assets.Asset(
        name="toy",
        file="weights.onnx",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
        licence="MIT",
        url=server.url,
        purpose="a test",
    )
    monkeypatch.setitem(assets.ASSETS, "toy", asset)
    return asset


def files(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_pull_verifies_and_keeps(known: assets.Asset, server: Server, home: Path) -> None:
    steps: list[tuple[int, int]] = []
    file = assets.pull("toy", lambda done, total: steps.append((done, total)))
    assert file == home / "files" / "weights.onnx" == assets.path("toy")
    assert file.read_bytes() == CONTENT
    assert len(steps) > 1
    assert steps == sorted(steps)
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    (home / "ordinary").write_text("")
    assert file.stat().st_mode == (home / "ordinary").stat().st_mode  # others may read it as they may any file
    assets.pull("toy")
    assert server.requests == 1  # the second time nothing is fetched


@pytest.mark.parametrize(
    ("body", "announced", "status", "reason"),
    [
        (b"<html>log in</html>", None, 200, r"19 bytes with the SHA-256"),
        (CONTENT[:-1] + b"!", None, 200, r"256000 bytes with the SHA-256"),
        (CONTENT + b"!", None, 200, r"more than 256000 bytes"),
        (CONTENT[:1000], 256_000, 200, r"1000 bytes with the SHA-256|cannot fetch"),  # the connection ends early
        (b"", None, 404, r"cannot fetch 'toy' from http://127.0.0.1:\d+/weights.onnx: Not Found"),
    ],
)
def test_pull_of_something_else_leaves_what_was_there(
    known: assets.Asset, server: Server, home: Path, body: bytes, announced: int | None, status: int, reason: str
) -> None:
    damaged = home / "files" / "weights.onnx"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"damaged before")
    server.body, server.announced, server.status = body, announced, status
    with pytest.raises(AssetError, match=reason):
        assets.pull("toy")
    assert files(home) == ["files/weights.onnx"]
    assert damaged.read_bytes() == b"damaged before"

    server.body, server.announced, server.status = CONTENT, None, 200
    assert assets.pull("toy").read_bytes() == CONTENT  # a damaged file is replaced


def test_pull_without_a_network(
    known: assets.Asset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens: connections are refused
        port = unused.getsockname()[1]
        monkeypatch.setitem(assets.ASSETS, "toy", dataclasses.replace(known, url=f"http://127.0.0.1:{port}/w"))
        assert main(["assets", "pull", "toy"]) == 1
    message = capsys.readouterr().err
    assert "cannot fetch 'toy'" in message
    assert "refused" in message
    assert "pyemo assets import weights.onnx" in message
    assert files(home) == []


def test_path_tells_what_to_do(known: assets.Asset, home: Path) -> None:
    with pytest.raises(
        AssetError, match=r"not on this machine.*`pyemo assets pull toy`.*`pyemo assets import weights.onnx`"
    ):
        assets.path("toy")
    file = assets.pull("toy")
    file.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(AssetError, match=r"weights.onnx was changed: its SHA-256 is .*`pyemo assets pull toy`"):
        assets.path("toy")
    with pytest.raises(AssetError, match=r"no asset is called 'yunett'; did you mean 'yunet'\?"):
        assets.path("yunett")


def test_import_recognises_a_file_by_its_content(known: assets.Asset, tmp_path: Path) -> None:
    mine = tmp_path / "renamed.bin"
    mine.write_bytes(CONTENT)
    assert assets.import_file(mine) is known
    assert assets.path("toy").read_bytes() == CONTENT
    assert mine.exists()
    assert assets.import_file(mine, "toy") is known
    with pytest.raises(AssetError, match=r"renamed.bin is not yunet but toy \(a test\)"):
        assets.import_file(mine, "yunet")


def test_import_of_one_asset_for_another(
    known: assets.Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(assets.ASSETS, "toy2", dataclasses.replace(known, name="toy2", file="2.onnx", sha256="0" * 64))
    mine = tmp_path / "mine.bin"
    mine.write_bytes(CONTENT)
    assert main(["assets", "import", "toy2", str(mine)]) == 1
    assert "mine.bin is not toy2 but toy (a test)" in capsys.readouterr().err
    assert main(["assets", "import", "toy", str(mine)]) == 0
    assert assets.path("toy").read_bytes() == CONTENT


def test_asset_that_only_its_authors_page_has(
    known: assets.Asset, server: Server, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setitem(assets.ASSETS, "toy", dataclasses.replace(known, can_be_fetched=False))
    for look in (assets.path, assets.pull):
        with pytest.raises(AssetError, match=r"[Bb]ring the file from http.* `pyemo assets import weights.onnx`"):
            look("toy")
    assert server.requests == 0
    assert files(home) == []
    (home / "files").mkdir(parents=True)
    (home / "files" / "weights.onnx").write_bytes(b"damaged")
    with pytest.raises(AssetError, match=r"was changed: .*`pyemo assets import weights.onnx` brings it again"):
        assets.path("toy")


def test_import_of_something_unknown(known: assets.Asset, tmp_path: Path, home: Path) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(b"other")
    with pytest.raises(AssetError, match=r"not a known asset: .*; toy: weights.onnx, "):
        assets.import_file(other)
    with pytest.raises(AssetError, match=r"cannot import .*absent.bin: No such file"):
        assets.import_file(tmp_path / "absent.bin")
    with pytest.raises(AssetError, match=r"cannot import .*: Is a directory"):
        assets.import_file(tmp_path)
    assert files(home) == []


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("PYEMO_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert assets.home() == tmp_path / "pyemo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert assets.home() == Path.home() / ".cache" / "pyemo"


def test_command_lists_states(known: assets.Asset, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def state() -> str:
        assert main(["assets"]) == 0
        (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("toy ")]
        return row.split()[1]

    assert state() == "absent"
    assert main(["assets", "pull", "toy"]) == 0
    assert str(home / "files" / "weights.onnx") in capsys.readouterr().out.replace("\n", "")
    assert state() == "present"
    (home / "files" / "weights.onnx").write_bytes(b"")
    assert state() == "damaged"


@pytest.mark.parametrize(
    "arguments",
    [
        ["pull"],
        ["import"],
        ["list", "x"],
        ["fetch"],
        ["pull", "toy", "--as", "x"],
        ["import", "toy", "f", "g"],
        ["import", "toy", "f", "--name", "toy"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["assets", *arguments])
    assert caught.value.code == 2


def test_the_real_files(shared_data: Path) -> None:
    for asset in list(assets.ASSETS.values()):
        (file,) = shared_data.glob(f"*/{asset.file}")
        assert file.stat().st_size == asset.size
        assert assets.import_file(file) is asset
        assert assets.path(asset.name).read_bytes() == file.read_bytes()
