"""Making the sandbox's environment: whole or not at all, once, and from what is pinned."""

import base64
import hashlib
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from understudy.confine.filters import filters_exist
from understudy.sandbox.building import NotBuilt, build_environment, built_environment
from understudy.sandbox.environment import read_environment
from understudy.sandbox.opening import environment_in
from understudy.sandbox.profiles import PROFILES, pins

pytestmark = pytest.mark.skipif(not filters_exist(), reason="there is no sandbox on this machine")

Pin = Callable[[str], str]


@pytest.fixture
def pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pin:
    """Makes a wheel of that version, the only one that pip finds, and gives its line of requirements."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))

    def made(version: str) -> str:
        path = wheels / f"ipython-{version}-py3-none-any.whl"
        files = {
            "IPython/__init__.py": f"__version__ = {version!r}\n",
            f"ipython-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: ipython\nVersion: {version}\n",
            f"ipython-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = [f"{name},{_digest(text)},{len(text)}" for name, text in files.items()]
        with zipfile.ZipFile(path, "w") as wheel:
            for name, text in files.items():
                wheel.writestr(name, text)
            wheel.writestr(f"ipython-{version}.dist-info/RECORD", "\n".join(record) + "\n")
        return f"ipython=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"

    return made


def _digest(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def silent(what: str, done: int, total: int) -> None:
    pass


def version_in(folder: Path) -> str:
    (package,) = environment_in(folder).glob("lib/python3*/site-packages/IPython/__init__.py")
    return package.read_text("utf-8")


def test_an_environment_is_made_once_told_of_and_replaced_by_another(tmp_path: Path, pin: Pin) -> None:
    folder = tmp_path / "sandbox"
    told: list[tuple[str, int, int]] = []
    one = pin("1.0")
    assert build_environment(folder, "minimal", one, progress=lambda *words: told.append(words))
    assert [words[0] for words in told] == ["making the environment", "fetching ipython", "installing"]
    assert not build_environment(folder, "minimal", one, progress=silent)
    assert read_environment(environment_in(folder))
    assert not list(environment_in(folder).glob("lib/python3*/site-packages/pip"))
    built = built_environment(folder)
    assert built is not None
    assert (built.profile, built.python) == ("minimal", f"{sys.version_info.major}.{sys.version_info.minor}")
    assert build_environment(folder, "standard", pin("2.0"), progress=silent)
    assert "2.0" in version_in(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["environment", "environment.lock"]


def test_a_build_that_fails_or_is_interrupted_leaves_the_old_one(tmp_path: Path, pin: Pin) -> None:
    folder = tmp_path / "sandbox"
    one, two = pin("1.0"), pin("2.0")
    build_environment(folder, "minimal", one, progress=silent)
    changed = re.sub("sha256:.", "sha256:f", two.replace("sha256:f", "sha256:0"))
    with pytest.raises(NotBuilt):
        build_environment(folder, "standard", changed, progress=silent)

    def interrupted(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_environment(folder, "standard", two, progress=interrupted)
    (folder / "environment.new-killed").mkdir()
    assert not build_environment(folder, "minimal", one, progress=silent)
    assert "1.0" in version_in(folder)
    assert build_environment(folder, "standard", two, progress=silent)
    assert sorted(path.name for path in folder.iterdir()) == ["environment", "environment.lock"]


def test_without_a_way_to_packages_it_says_how_to_name_a_mirror(tmp_path: Path, pin: Pin) -> None:
    with pytest.raises(NotBuilt, match="PIP_INDEX_URL"):
        build_environment(tmp_path / "sandbox", "minimal", pin("1.0").replace("ipython", "iwheel"), progress=silent)
    assert built_environment(tmp_path / "sandbox") is None


@pytest.mark.parametrize(
    ("says", "refusal"),
    [
        ("echo 3 10", "pinned for Python 3.11 to 3.13, and .* is 3.10: name another one with `--python`"),
        ("exit 1", "apt-get install python3-venv"),
    ],
)
def test_an_interpreter_that_will_not_do_is_refused_with_what_mends_it(tmp_path: Path, says: str, refusal: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{says}\n")
    python.chmod(0o755)
    with pytest.raises(NotBuilt, match=refusal):
        build_environment(tmp_path / "sandbox", "minimal", "", python=str(python), progress=silent)
    with pytest.raises(NotBuilt, match="no Python interpreter"):
        build_environment(tmp_path / "sandbox", "minimal", "", python="no-such-python", progress=silent)
    assert not (tmp_path / "sandbox").exists()


def test_every_profile_holds_the_one_before_it_and_each_pin_has_hashes() -> None:
    before: set[str] = set()
    for profile in PROFILES:
        lines = pins(profile).replace("\\\n", "").splitlines()[1:]
        assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+ +(--hash=sha256:[0-9a-f]{64}\s*)+", line) for line in lines)
        names = {line.split()[0] for line in lines}
        assert before < names
        before = names
    assert any(name.startswith("ipython==") for name in before)
