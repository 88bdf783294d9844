"""Makes the profiles' lists of pins anew: `python -m understudy.sandbox.profiles.pin`, run with Python 3.11.

pip resolves all that is wanted at once, so that a package has one version in every profile, and is asked for the
wheels of each supported Python and processor without downloading them. What has no wheel for one of them is an error.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

FOLDER: Final = Path(__file__).parent
PYTHONS: Final = ("3.11", "3.12", "3.13")
PROCESSORS: Final = ("x86_64", "aarch64")
_GLIBCS: Final = (17, 24, 26, 27, 28)  # of manylinux tags: pip does not conclude from the newest to the older ones


class _Metadata(Struct):
    name: str
    version: str
    requires_dist: list[str] = []


class _Archive(Struct):
    hashes: dict[str, str]


class _Download(Struct):
    archive_info: _Archive


class _Wheel(Struct):
    metadata: _Metadata
    download_info: _Download


class _Report(Struct):
    install: list[_Wheel]


def main() -> None:
    """Writes PROFILE.txt for every profile."""
    wanted = tomllib.loads((FOLDER / "wanted.toml").read_text("utf-8"))
    every = [name for names in wanted.values() for name in names]
    chosen = {_key(wheel): wheel.metadata.version for wheel in _resolved(every, PYTHONS[0], PROCESSORS[0])}
    pins = [f"{name}=={version}" for name, version in chosen.items()]
    hashes: dict[str, set[str]] = {name: set() for name in chosen}
    needs: dict[str, set[str]] = {name: set() for name in chosen}
    for python in PYTHONS:
        for processor in PROCESSORS:
            found = list(_resolved(pins, python, processor))
            for wheel in found:
                if chosen.get(_key(wheel)) != wheel.metadata.version:
                    raise SystemExit(f"{_key(wheel)} is needed for Python {python} on {processor} only")
                hashes[_key(wheel)].add(wheel.download_info.archive_info.hashes["sha256"])
                needs[_key(wheel)] |= {_plain(need) for need in wheel.metadata.requires_dist if "extra ==" not in need}
            sys.stderr.write(f"Python {python} on {processor}: {len(found)} wheels\n")
    before: list[str] = []
    for profile, names in wanted.items():
        before += names
        _write(profile, {name: chosen[name] for name in sorted(_closure(before, needs))}, hashes)


def _write(profile: str, versions: Mapping[str, str], hashes: Mapping[str, set[str]]) -> None:
    lines = ["# Made by `python -m understudy.sandbox.profiles.pin` from wanted.toml."]
    for name, version in versions.items():
        lines += [f"{name}=={version}", *(f"    --hash=sha256:{each}" for each in sorted(hashes[name]))]
        lines[-len(hashes[name]) - 1 : -1] = [f"{line} \\" for line in lines[-len(hashes[name]) - 1 : -1]]
    (FOLDER / f"{profile}.txt").write_text("\n".join(lines) + "\n", "utf-8")


def _closure(names: Sequence[str], needs: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    left = [_plain(name) for name in names]
    while left:
        name = left.pop()
        if name in needs and name not in reached:
            reached.add(name)
            left += needs[name]
    return reached


def _resolved(requirements: Sequence[str], python: str, processor: str) -> Iterator[_Wheel]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
        command += ["--only-binary", ":all:", "--target", folder, "--python-version", python, "--implementation", "cp"]
        command += ["--report", str(report)]
        for minor in reversed(_GLIBCS):
            command += ["--platform", f"manylinux_2_{minor}_{processor}"]
        command += ["--platform", f"manylinux2014_{processor}"]
        subprocess.run([*command, *requirements], check=True)  # noqa: S603 - a fixed command and our own list
        yield from msgspec.convert(json.loads(report.read_text("utf-8")), _Report).install


def _key(wheel: _Wheel) -> str:
    return _plain(wheel.metadata.name)


def _plain(requirement: str) -> str:
    """The name that a requirement begins with, as indexes spell it."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


if __name__ == "__main__":
    main()
