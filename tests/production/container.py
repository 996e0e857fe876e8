"""The image, built and run without a daemon: by buildah over a base that is made here, and by crun.

The base has the name that the Dockerfile says, the Debian of this machine and its Python of that version. It is kept in
`.venv-image`, with the wheels that the lock names, so that a second build is quicker and needs no index.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.test_readme import ROOT

DOCKERFILE = ROOT / "Dockerfile"
KEPT = ROOT / ".venv-image"
USER = 10001
_FROM = re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)[0]
_LOCKS = [ROOT / "requirements" / name for name in ("build.txt", "image.txt")]
_LIBRARIES = "ca-certificates,libssl3,libsqlite3-0,libffi8,zlib1g,libbz2-1.0,liblzma5,libreadline8"
_HIERARCHY = Path("/sys/fs/cgroup")


def why_missing() -> str | None:
    """Say what an image cannot be built without here; None where it can."""
    missing = [each for each in ("buildah", "crun", "debootstrap") if shutil.which(each) is None]
    if missing:
        return f"not installed here: {', '.join(missing)} (apt-get install --no-install-recommends {' '.join(missing)})"
    if os.geteuid() != 0:
        return "an image is built and run by root here: it has files of several owners, and a user of its own"
    if platform.freedesktop_os_release().get("ID") != "debian":
        return "the base of the image is made of the Debian of this machine, which is none"
    return None if _python() else f"no Python {_version()} of its own prefix, as of pyenv, is on this machine"


def _version() -> str:
    found = re.match(r"python:(3\.\d+)-slim$", _FROM)
    assert found is not None, _FROM
    return found[1]


def _python() -> Path | None:
    """Return a Python of the version that the image has, with all its files below a prefix of its own."""
    name = f"python{_version()}"
    beneath = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for each in [*sorted(beneath.glob(f"{_version()}.*/bin/{name}")), Path(shutil.which(name) or "/nowhere")]:
        with suppress(OSError, RuntimeError):
            prefix = said(str(each), "-c", "import sys; print(sys.base_prefix)").strip()
            if prefix != "/usr":
                return Path(prefix) / "bin" / name
    return None


def said(*words: str | Path, **given: Any) -> str:
    """Run a command, and return what it printed; a failure comes with what it said."""
    done = subprocess.run([*map(str, words)], capture_output=True, check=False, timeout=900, **given)
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed: {done.stdout[-4_000:].decode()}{done.stderr[-4_000:].decode()}")
    return str(done.stdout, encoding="utf-8")


def base() -> Path:
    """Return the base as an archive, which is made where there is none."""
    python, archive = _python(), KEPT / f"{_FROM.replace(':', '-')}.tar"
    assert python is not None
    if archive.exists():
        return archive
    place = KEPT / "base"
    for each in ("proc", "sys"):  # of a debootstrap that was killed
        if (place / each).is_mount():
            said("umount", place / each)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    said("debootstrap", "--variant=minbase", f"--include={_LIBRARIES}", suite, place)
    left_out = shutil.ignore_patterns("test", "__pycache__", "*.a", "site-packages", "config-*")
    shutil.copytree(
        python.parents[1] / "lib", place / "usr/local/lib", symlinks=True, ignore=left_out, dirs_exist_ok=True
    )
    shutil.copy2(python.resolve(), place / "usr/local/bin" / python.name)
    for name in ("python", "python3"):
        (place / "usr/local/bin" / name).symlink_to(python.name)
    said("chroot", place, "ldconfig")
    said("tar", "--one-file-system", "-C", place, "-cf", f"{archive}.part", ".")
    Path(f"{archive}.part").rename(archive)
    shutil.rmtree(place)
    return archive


def wheels() -> Path:
    """Return a directory with every file that the locks name, got by the settings of this machine."""
    digest = hashlib.sha256(b"".join(each.read_bytes() for each in _LOCKS)).hexdigest()
    place = KEPT / f"wheels-{digest[:16]}"
    if not place.exists():
        python, part = _python(), Path(f"{place}.part")
        given = [word for each in _LOCKS for word in ("-r", str(each))]
        said(str(python), "-m", "pip", "download", "--quiet", "--require-hashes", "--dest", part, *given)
        part.rename(place)
    return place


class Image:
    """What the Dockerfile makes; a place of its own, which is removed with everything in it."""

    def __init__(self, at: Path) -> None:
        self.at = at
        self._store = ["buildah", "--root", str(at / "store"), "--runroot", str(at / "run"), "--storage-driver", "vfs"]
        archive, found = base(), wheels()
        container = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", container, archive, "/")
        self._buildah("commit", "--quiet", "--rm", container, f"docker.io/library/{_FROM}")
        # The settings of pip are of the build alone: nothing of them is in the image.
        (at / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n", encoding="utf-8")
        mounted = [f"--volume={found}:/wheels:ro", f"--volume={at / 'pip.conf'}:/etc/pip.conf:ro"]
        how = ["--isolation=chroot", "--format=docker", "--pull-never", "--layers=false"]
        self._buildah("bud", *how, *mounted, "--tag=loom", ROOT)
        self.config: dict[str, Any] = json.loads(self._buildah("inspect", "--type=image", "loom"))["Docker"]["config"]
        self.root = Path(self._buildah("mount", self._buildah("from", "--pull-never", "localhost/loom")))

    def _buildah(self, *words: str | Path) -> str:
        return said(*self._store, *words).strip()

    def container(self, name: str, volume: Path, *command: str, binds: Mapping[Path, str] | None = None) -> Container:
        """Return a container of it that is not started yet; `binds` are files that are mounted to be read."""
        return Container(self, name, volume, command, binds or {})

    def remove(self) -> None:
        shutil.rmtree(self.at)


class Container:
    """A process of the image, as `docker run --read-only --tmpfs /tmp --volume VOLUME:/data` makes it."""

    def __init__(
        self, image: Image, name: str, volume: Path, command: tuple[str, ...], binds: Mapping[Path, str]
    ) -> None:
        self._image, self._name, self._bundle = image, name, image.at / f"bundle-{name}"
        self._bundle.mkdir()
        said("crun", "spec", cwd=self._bundle)
        spec = json.loads((self._bundle / "config.json").read_text(encoding="utf-8"))
        spec["root"] = {"path": str(image.root), "readonly": True}
        spec["process"] |= {
            "terminal": False,
            "user": dict(zip(("uid", "gid"), map(int, image.config["User"].split(":")), strict=True)),
            "args": [*image.config["Entrypoint"], *(command or image.config["Cmd"])],
            "cwd": image.config["WorkingDir"],
            "env": image.config["Env"],
            "noNewPrivileges": True,
            "capabilities": {},
        }
        bound: list[tuple[str | Path, str, str]] = [(volume, next(iter(image.config["Volumes"])), "rw")]
        bound += [(source, target, "ro") for source, target in (binds or {}).items()]
        spec["mounts"] = [each for each in spec["mounts"] if each["type"] != "cgroup"]
        spec["mounts"] += [
            {"destination": target, "type": "bind", "source": str(source), "options": ["bind", mode]}
            for source, target, mode in bound
        ]
        spec["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]})
        spec["linux"]["namespaces"] = [each for each in spec["linux"]["namespaces"] if each["type"] != "cgroup"]
        spec["linux"].pop("resources", None)
        (self._bundle / "config.json").write_text(json.dumps(spec), encoding="utf-8")
        self._crun = ["crun", "--root", str(image.at / "crun"), "--cgroup-manager=disabled"]

    def __enter__(self) -> Container:
        start = [*self._crun, "run", "--bundle", str(self._bundle), self._name]
        if not (_HIERARCHY / "cgroup.controllers").exists():
            # crun takes no mixture of both versions of control groups, and needs none of them here.
            hidden = f"umount --recursive {_HIERARCHY} && mount -t cgroup2 none {_HIERARCHY}"
            start = ["unshare", "--mount", "sh", "-c", f'{hidden} && exec "$@"', "sh", *start]
        self.process = subprocess.Popen(start, stdout=subprocess.PIPE, stderr=sys.stderr.fileno(), text=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.signal("KILL")
        self.process.communicate(timeout=60)

    def line(self) -> str:
        """Return the next line of its output; empty once it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def until(self, words: str) -> str:
        """Return the line of its output that has these words."""
        for line in iter(self.line, ""):
            if words in line:
                return line
        raise AssertionError(f"[{self._name}] ended, and never said [{words}]")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as its user."""
        inside = ["exec", "--user", f"{USER}:{USER}", "--cwd", "/data", self._name, *words]
        return subprocess.run([*self._crun, *inside], capture_output=True, text=True, check=False, timeout=120)

    def signal(self, name: str) -> None:
        said(*self._crun, "kill", self._name, name)

    def end(self) -> int:
        """Send it SIGTERM, and return its exit code."""
        self.signal("TERM")
        self.process.communicate(timeout=60)
        return self.process.returncode
