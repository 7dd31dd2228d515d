"""Keys open the groups they name, and nothing is open to a network unless somebody said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.access import GROUPS, Key, KeyRing, digest_of, group_of
from service.app import create_app
from service.errors import StartupError
from service.settings import Settings

LINE = f"alice:infer,attack:{digest_of('secret')}"


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/", None),
        ("/docs", None),
        ("/healthz", None),
        ("/demo/app.js", None),
        ("/v2/health/ready", None),
        ("/classify", "infer"),
        ("/attacks", "infer"),
        ("/v2/models/mnist/infer", "infer"),
        ("/a/path/nobody/thought/of", "infer"),
        ("/demo", "infer"),
        ("//classify", "infer"),
        ("/attack", "attack"),
        ("/attack/", "attack"),
        ("/latency", "admin"),
        ("/latency/benchmark", "admin"),
        ("/metrics", "admin"),
    ],
)
def test_each_path_has_its_group_and_an_unknown_one_is_not_open(path: str, group: str | None) -> None:
    assert group_of(path) == group


def test_a_key_is_found_by_itself_alone() -> None:
    keys = KeyRing.of(Settings(api_keys=(LINE, f"bob:admin:{digest_of('other')}")))
    found = keys.find("secret")
    assert found is not None
    assert (found.name, set(found.groups)) == ("alice", {"infer", "attack"})
    assert found.line() == LINE
    for wrong in ("", "secre", "Secret", LINE, digest_of("secret"), "é"):
        assert keys.find(wrong) is None


@pytest.mark.parametrize(
    "line",
    ["purifier_secret", f"alice:root:{digest_of('x')}", "alice:infer:abc", f":infer:{digest_of('x')}", LINE + "0"],
)
def test_a_malformed_line_is_refused_and_not_quoted_since_it_may_be_a_key(line: str) -> None:
    with pytest.raises(StartupError, match="key 1 of api_keys is not NAME:GROUPS:SHA256") as refused:
        KeyRing.of(Settings(api_keys=(line,)))
    assert line not in str(refused.value)


def test_keys_come_from_the_environment_and_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(f"# of the team\n\n{LINE}\n")
    monkeypatch.setenv("PURIFIER_API_KEYS_FILE", str(file))
    monkeypatch.setenv("PURIFIER_API_KEYS", f"a:infer:{digest_of('1')} b:infer:{digest_of('2')}")
    keys = KeyRing.of(Settings())
    assert all(keys.find(key) for key in ("secret", "1", "2"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "cannot be read"), (b"# none\n", "holds no key"), (b"\xff", "cannot be read"), (b"\nx\n", "line 2 of")],
)
def test_a_file_without_good_keys_is_refused(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    file = tmp_path / "keys.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StartupError, match=sentence):
        KeyRing.of(Settings(api_keys_file=file))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "my-host.example"])
def test_it_is_not_open_to_a_network_unless_somebody_said_so(host: str) -> None:
    with pytest.raises(StartupError, match=r"python -m service.keys.*127.0.0.1.*PURIFIER_ALLOW_ANONYMOUS=true"):
        create_app(Settings(host=host))
    create_app(Settings(host=host, allow_anonymous=True))
    create_app(Settings(host=host, api_keys=(LINE,)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_on_loopback_it_is_open(host: str) -> None:
    assert not KeyRing.of(Settings(host=host))


def test_keys_and_everybody_contradict_each_other() -> None:
    with pytest.raises(StartupError, match="one of the two"):
        KeyRing.of(Settings(host="0.0.0.0", allow_anonymous=True, api_keys=(LINE,)))


def test_every_group_can_be_named() -> None:
    assert Key.parse(f"a:{','.join(GROUPS)}:{digest_of('x')}", "it").groups == set(GROUPS)
