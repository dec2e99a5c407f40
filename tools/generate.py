"""Generates `comity/v1` from `proto/`; with `--check`, only says whether it is up to date.

The generators have an environment of their own, `.gen-venv`: grpcio-tools holds protobuf back,
and the committed code runs on every newer protobuf than the one it was made with.
Standard library only, so any Python 3.11 or later runs it.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
PACKAGE = Path("comity/v1")
ENVIRONMENT = ROOT / ".gen-venv"
PINNED = (
    "grpcio-tools==1.76.0",
    "mypy-protobuf==5.1.0",
    "protobuf==6.33.5",
    "grpcio==1.76.0",
    "setuptools==80.9.0",
)
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def environment(python: str = sys.executable) -> Path:
    """The bin folder of an environment which holds exactly the pinned generators."""
    stamp = ENVIRONMENT / "pinned.txt"
    bin_folder = ENVIRONMENT / "bin"
    wanted = "\n".join(PINNED)
    if stamp.exists() and stamp.read_text() == wanted and (bin_folder / "python").exists():
        return bin_folder
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    uv = shutil.which("uv") or shutil.which("uv", path=str(ROOT / ".venv/bin"))
    if uv:
        subprocess.run([uv, "venv", "-q", "--python", python, ENVIRONMENT], check=True)
        install: list[str | Path] = [uv, "pip", "install", "-q", "--python", bin_folder / "python"]
    else:
        venv.create(ENVIRONMENT, with_pip=True)
        install = [bin_folder / "python", "-m", "pip", "install", "-q"]
    subprocess.run([*install, *PINNED], check=True)
    stamp.write_text(wanted)
    return bin_folder


def generate(proto: Path, out: Path) -> None:
    """Writes message modules, gRPC modules and the stubs of both under `out`."""
    bin_folder = environment()
    sources = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
    services = [name for name in sources if "\nservice " in (proto / name).read_text()]
    protoc: list[str | Path] = [bin_folder / "python", "-m", "grpc_tools.protoc"]
    protoc += [
        f"--proto_path={proto}",
        f"--plugin=protoc-gen-mypy={bin_folder / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={bin_folder / 'protoc-gen-mypy_grpc'}",
    ]
    messages = [f"--python_out={out}", f"--mypy_out=quiet:{out}"]
    subprocess.run([*protoc, *messages, *sources], check=True)
    if services:
        stubs = [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"]
        subprocess.run([*protoc, *stubs, *services], check=True)


def generated(folder: Path) -> set[str]:
    """Names of the files in `folder` which a generator wrote."""
    return {path.name for path in folder.glob("*") if path.name.endswith(SUFFIXES)}


def differences(fresh: Path, committed: Path) -> list[str]:
    """Names of generated files which are missing, stale or left over in `committed`."""
    names = generated(fresh) | generated(committed)
    _, changed, unreadable = filecmp.cmpfiles(fresh, committed, names, shallow=False)
    return sorted({*changed, *unreadable})


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 on drift")
    parser.add_argument("--proto", type=Path, default=PROTO, help="the folder of .proto files")
    parser.add_argument("--out", type=Path, default=ROOT, help="the folder which gets comity/v1")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        generate(arguments.proto.resolve(), Path(scratch))
        fresh, committed = Path(scratch) / PACKAGE, arguments.out / PACKAGE
        stale = differences(fresh, committed)
        if arguments.check:
            for name in stale:
                print(f"{PACKAGE / name} does not match proto/; run `make proto`")
            return 1 if stale else 0
        committed.mkdir(parents=True, exist_ok=True)
        for name in stale:
            if (fresh / name).exists():
                shutil.copyfile(fresh / name, committed / name)
            else:
                (committed / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
