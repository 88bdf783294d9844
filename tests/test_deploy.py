"""What is shipped to run in containers fits together: as far as can be told without an engine that runs them."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.cli.docs import commands_of
from understudy.settings import SETTINGS

ROOT = Path(__file__).parents[1]
FILES = (ROOT / "compose.yaml", ROOT / "deploy" / "compose.yaml")
NODES = yaml.safe_load(FILES[1].read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = NODES["services"]
SECRET = re.compile("PASSWORD|SECRET|API_KEY|DATABASE_URL|REDIS_URL")
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
# Of the compose specification, what these files have a use for: a key that is misspelt is no key.
SERVICE_KEYS = {
    *("build", "command", "depends_on", "entrypoint", "environment", "extra_hosts", "healthcheck", "image", "init"),
    *("networks", "ports", "restart", "stop_grace_period", "volumes"),
}


def composed(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    known = {setting.env for setting in SETTINGS}
    for service in composed(path)["services"].values():
        named = {name for name in service.get("environment", {}) if name.startswith("UNDERSTUDY_")}
        assert named <= known


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_only_the_front_is_published_and_only_to_this_machine(path: Path) -> None:
    published = [port for service in composed(path)["services"].values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8000:8000"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_the_context_of_the_build_is_the_repository(path: Path) -> None:
    contexts = {service["build"] for service in composed(path)["services"].values() if "build" in service}
    assert [(path.parent / context).resolve() for context in contexts] == [ROOT]


def test_nothing_starts_without_secrets_and_none_has_a_default() -> None:
    text = FILES[1].read_text("utf-8")
    optional = {"UPSTREAM_BASE_URL", "UPSTREAM_API_KEY"}
    for name, rest in re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", text):
        assert rest.startswith(":?") or (name in optional and rest == ":-"), name
    for service in SERVICES.values():
        for name, said in service.get("environment", {}).items():
            assert not SECRET.search(name) or "${" in said, name


def test_images_are_pinned() -> None:
    for service in SERVICES.values():
        if "build" not in service:
            assert re.fullmatch(r"[a-z/]+:.*\d.*", service["image"]), service["image"]


def test_services_have_known_keys_and_refer_to_what_there_is() -> None:
    networks, volumes = set(), set()
    for name, service in SERVICES.items():
        assert service.keys() <= SERVICE_KEYS, name
        assert set(service["networks"]) <= NODES["networks"].keys()
        networks |= set(service["networks"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FILES[1].parent / source).is_file(), source
            else:
                volumes.add(source)
    assert networks == NODES["networks"].keys()
    assert volumes == NODES["volumes"].keys()


def test_whoever_waits_for_another_service_waits_for_something_that_comes() -> None:
    for service in SERVICES.values():
        for name, said in service.get("depends_on", {}).items():
            other = SERVICES[name]
            match said["condition"]:
                case "service_healthy":
                    assert "healthcheck" in other or ("build" in other and "HEALTHCHECK" in DOCKERFILE), name
                    assert other["restart"] == "unless-stopped"
                case "service_completed_successfully":
                    assert other["restart"] == "on-failure"
                case condition:
                    raise AssertionError(condition)


def test_nginx_asks_the_nodes_where_they_listen() -> None:
    lines = (ROOT / "deploy" / "nodes.conf").read_text("utf-8")
    asked = re.findall(r"^server ([\w-]+):(\d+)", lines, re.MULTILINE)
    assert [name for name, _ in asked] == [name for name, service in SERVICES.items() if "build" in service]
    assert {port for _, port in asked} == set(re.findall(r"^EXPOSE (\d+)", DOCKERFILE, re.MULTILINE))


def test_the_bucket_that_is_made_is_the_one_that_nodes_use() -> None:
    (made,) = re.findall(r"mc mb --ignore-existing store/(\S+)", SERVICES["bucket"]["command"][0])
    assert SERVICES["node-1"]["environment"]["UNDERSTUDY_FILES_URL"].startswith(f"s3://{made}/")


def test_the_image_is_built_of_what_the_ignore_file_lets_through() -> None:
    let_through = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.*)", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]
    ]
    assert sorted(copied) == sorted(let_through)
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("unit", sorted((ROOT / "deploy").glob("*.service")), ids=lambda unit: unit.stem)
def test_units_of_systemd_start_commands_that_there_are(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not here")
    text = unit.read_text("utf-8")
    program = "/opt/understudy/bin/understudy"
    (command,) = re.findall(rf"^ExecStart={program} (\w+)$", text, re.MULTILINE)
    assert f"understudy {command}" in dict(commands_of())
    (tmp_path / unit.name).write_text(text.replace(program, "/bin/true"), "utf-8")
    words = ["systemd-analyze", "verify", str(tmp_path / unit.name)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")


def test_compose_itself_takes_the_files() -> None:
    """Debian 12 has no Compose that knows all of this, so this is tried only where another one is."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and _says(*command, "version", "--short").startswith("2."):
            break
    else:
        pytest.skip("there is no Docker Compose 2 here")
    wanted = set(re.findall(r"\$\{(\w+):\?", FILES[1].read_text("utf-8")))
    for path in FILES:
        assert "services:" in _says(*command, "-f", str(path), "config", **dict.fromkeys(wanted, "x"))
    for name in wanted:
        assert "services:" not in _says(*command, "-f", str(FILES[1]), "config", **dict.fromkeys(wanted - {name}, "x"))


def _says(*command: str, **variables: str) -> str:
    ended = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=30, check=False
    )
    return ended.stdout
