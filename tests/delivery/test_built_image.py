"""The container image, built from its Dockerfile and run as in the manifests.

Only the base image is another one: Debian's Python 3.13, because the tests reach no registry of
images. `make test-image` runs this file.
"""

from __future__ import annotations

import json
import os  # the files of a test belong to the container's user
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from spotalis import __version__
from tests.delivery.installed_operator import installed_operator, wait_for_split
from tests.delivery.test_requirements import pins
from tests.support.cluster import policy, workload_body
from tests.support.control_plane import (
    WITHOUT_PERMISSIONS,
    ControlPlane,
    binaries_or_skip,
)
from tests.support.image import given
from tests.support.local_image import BASE, Container, LocalImages, skip_without_programs

pytestmark = pytest.mark.image

ROOT = Path(__file__).parents[2]
IMAGE = "localhost/spotalis"
EPOCH = 1_700_000_000
USER = 65532
MIB = 1024**2
COMPILERS = {"as", "c++", "cc", "clang", "g++", "gcc", "go", "ld", "make", "rustc", "tcc"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalImages]:
    """The images after a build of these sources."""
    skip_without_programs()
    images = LocalImages(tmp_path_factory.mktemp("images"))
    images.build(IMAGE, ROOT, epoch=EPOCH, version=__version__)
    yield images
    images.close()


@pytest.fixture(scope="module")
def root(images: LocalImages) -> Iterator[Path]:
    """The image's file system."""
    with images.mounted(IMAGE) as root:
        yield root


@pytest.fixture
def container(images: LocalImages, root: Path, tmp_path: Path) -> Container:
    """Runs the image."""
    (tmp_path / "readable").mkdir()
    return Container(
        root, images.configuration(IMAGE), tmp_path, readable=tmp_path / "readable"
    )  # fmt: skip


def test_the_image_says_what_it_is_and_runs_as_a_numeric_user(images: LocalImages) -> None:
    configuration = images.configuration(IMAGE)["config"]
    assert configuration["User"] == f"{USER}:{USER}"
    assert configuration["Cmd"] == ["controller"]
    assert sorted(configuration["ExposedPorts"]) == ["8080/tcp", "8081/tcp", "9443/tcp"]
    labels = {
        name.removeprefix("org.opencontainers.image."): value
        for name, value in configuration["Labels"].items()
        if name.startswith("org.opencontainers.image.")
    }
    assert labels == {
        "title": "Spotalis",
        "description": "Keeps workloads split between spot and on-demand nodes.",
        "licenses": "Apache-2.0",
        "version": __version__,
    }


def test_the_image_adds_layers_of_less_than_120_mib_to_its_base(
    images: LocalImages, root: Path
) -> None:
    base = images.configuration(BASE)["rootfs"]["diff_ids"]
    layers = images.configuration(IMAGE)["rootfs"]["diff_ids"]
    assert layers[: len(base)] == base
    with images.mounted(BASE) as of_base:
        assert 0 < size_of(root) - size_of(of_base) < 120 * MIB


def size_of(folder: Path) -> int:
    files = (path.lstat() for path in folder.rglob("*") if not path.is_dir())
    return sum(stat.st_size for stat in files)


def test_the_image_contains_neither_a_compiler_nor_pip(images: LocalImages, root: Path) -> None:
    assert programs(root) & COMPILERS == set()
    assert files_of_pip(root) == []
    with images.mounted(BASE) as of_base:
        assert files_of_pip(of_base), "the base has pip, so that its absence means something"


def programs(root: Path) -> set[str]:
    folders = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "opt/spotalis/bin")
    return {path.name for name in folders for path in (root / name).glob("*")}


def files_of_pip(root: Path) -> list[str]:
    return [
        str(path.relative_to(root))
        for pattern in ("pip", "pip[0-9]*", "pip-*", "ensurepip")
        for path in root.rglob(pattern)
    ]


def test_all_files_belong_to_root_and_only_root_can_write_them(root: Path) -> None:
    installed = root / "opt" / "spotalis"
    stats = {path: path.lstat() for path in installed.rglob("*") if not path.is_symlink()}
    assert {(stat.st_uid, stat.st_gid) for stat in stats.values()} == {(0, 0)}
    assert [path for path, stat in stats.items() if stat.st_mode & 0o022] == []


def test_version_and_demo_run_read_only_and_without_capabilities(container: Container) -> None:
    assert container.run("version").startswith(f"spotalis {__version__} (Python 3.13.")
    assert "Balanced" in container.run("demo")


def test_the_same_sources_give_the_same_bytes(images: LocalImages, tmp_path: Path) -> None:
    """The copy has other times and modes, as another checkout has."""
    for source in {s for r in given("COPY") if "--from=" not in r for s in r.split()[:-1]}:
        target = tmp_path / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, target, copy_function=shutil.copyfile, ignore=ignored)
        else:
            shutil.copyfile(ROOT / source, target)
    images.build(f"{IMAGE}-again", tmp_path, epoch=EPOCH, version=__version__)
    first, second = images.configuration(IMAGE), images.configuration(f"{IMAGE}-again")
    assert first["rootfs"] == second["rootfs"]
    assert first["config"] == second["config"]


def test_the_bill_of_materials_lists_what_the_image_contains(root: Path, tmp_path: Path) -> None:
    tool = ROOT / ".venv-tools" / "bin" / "cyclonedx-py"
    if not tool.exists():
        pytest.skip(f"{tool} is missing: run `make sbom`")
    file = tmp_path / "sbom.json"
    subprocess.run(
        ["make", "--silent", "sbom", f"SBOM={file}"], cwd=ROOT, check=True, capture_output=True
    )  # fmt: skip
    bill = json.loads(file.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "spotalis"
    assert bill["metadata"]["component"]["version"] == __version__
    listed = {each["name"]: each["version"] for each in bill["components"]}
    [packages] = (root / "opt" / "spotalis" / "lib").glob("python*/site-packages")
    found = dict(
        path.name.removesuffix(".dist-info").lower().replace("_", "-").rsplit("-", 1)
        for path in packages.glob("*.dist-info")
    )
    assert found.pop("spotalis") == __version__
    assert listed == pins("runtime.txt")
    assert found.items() <= listed.items()


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A cluster with the manifests of build/k8s."""
    with ControlPlane.boot(
        tmp_path / "plane", WITHOUT_PERMISSIONS, binaries=binaries_or_skip()
    ) as plane:
        plane.kubectl("apply", "-f", str(ROOT / "build" / "k8s" / "install.yaml"))
        plane.add_nodes(spot=2, on_demand=2)
        yield plane


def test_the_image_places_and_moves_pods_of_a_real_cluster(
    plane: ControlPlane, container: Container, tmp_path: Path
) -> None:
    readable = tmp_path / "readable"

    def command_line(arguments: Sequence[str], variables: Mapping[str, str]) -> list[str]:
        for path in readable.iterdir():
            os.chown(path, USER, USER)
        return container.command_line(arguments, variables)

    deployments = "/apis/apps/v1/namespaces/default/deployments"
    with installed_operator(plane, readable, command_line=command_line):
        plane.request("POST", deployments, workload_body("Deployment", "web", 4, policy(50)))
        wait_for_split(plane, "web", spot=2, on_demand=2)
        none = "spotalis.io/spot-percentage=0"
        plane.kubectl("annotate", "deployment", "web", "--overwrite", none)
        wait_for_split(plane, "web", on_demand=4)
    assert len(plane.evictions("spotalis")) == 2
