"""The checks of `make check` which would otherwise be believed without having bitten."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import generate

ROOT = Path(__file__).resolve().parents[2]
BUF = Path(sys.executable).with_name("buf")
PARCEL = """\
syntax = "proto3";
package comity.v1;
service ParcelService {
  rpc SendParcel(SendParcelRequest) returns (SendParcelResponse);
}
enum ParcelSize {
  PARCEL_SIZE_UNSPECIFIED = 0;
  PARCEL_SIZE_SMALL = 1;
}
message SendParcelRequest {
  string parcel_id = 1;
  uint32 grams = 2;
  ParcelSize size = 3;
}
message SendParcelResponse {}
"""


def buf(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BUF, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def parcel(tmp_path: Path) -> Path:
    """One more proto beside a copy of ours, in a workspace where all were just released."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    path = tmp_path / "proto/comity/v1/parcel.proto"
    path.write_text(PARCEL)
    built = buf(tmp_path, "build", "-o", "proto/released.binpb")
    assert built.returncode == 0, built.stdout + built.stderr
    return path


def breaking(parcel: Path) -> subprocess.CompletedProcess[str]:
    return buf(parcel.parents[3], "breaking", "--against", "proto/released.binpb")


def test_protos_as_released_break_nothing(parcel: Path) -> None:
    found = breaking(parcel)
    assert found.returncode == 0, found.stdout


def test_a_new_field_breaks_nothing(parcel: Path) -> None:
    field = "uint32 grams = 2;"
    parcel.write_text(PARCEL.replace(field, f"{field} bool fragile = 4;"))
    found = breaking(parcel)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("released", "changed", "complaint"),
    [
        ("uint32 grams", "uint64 grams", "changed type"),
        ("uint32 grams", "repeated uint32 grams", "changed cardinality"),
        ("uint32 grams", "uint32 weight", "changed name"),
        ("uint32 grams = 2;", "", "was deleted"),
        ("uint32 grams = 2;", "uint32 grams = 5;", "was deleted"),
        ("PARCEL_SIZE_SMALL = 1;", "PARCEL_SIZE_SMALL = 2;", "was deleted"),
        ("  rpc SendParcel(SendParcelRequest) returns (SendParcelResponse);\n", "", "was deleted"),
    ],
)
def test_a_change_which_breaks_others_is_refused(
    parcel: Path, released: str, changed: str, complaint: str
) -> None:
    assert released in PARCEL
    parcel.write_text(PARCEL.replace(released, changed))
    compiled = buf(parcel.parents[3], "build")
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    found = breaking(parcel)
    assert found.returncode == 100, found.stderr
    assert complaint in found.stdout


def test_our_own_protos_are_compared(parcel: Path) -> None:
    limits = parcel.with_name("limits.proto")
    text = limits.read_text()
    limits.write_text(text.replace("uint32 max_len = 3;", "uint64 max_len = 3;"))
    assert limits.read_text() != text
    found = breaking(parcel)
    assert found.returncode == 100, found.stderr
    assert '"max_len"' in found.stdout


def test_drift_of_generated_code_is_named(tmp_path: Path) -> None:
    fresh, committed = tmp_path / "fresh", tmp_path / "committed"
    for folder in (fresh, committed):
        folder.mkdir()
        (folder / "same_pb2.py").write_text("same")
        (folder / "stale_pb2.pyi").write_text(folder.name)
    (fresh / "missing_pb2_grpc.py").write_text("new")
    (committed / "left_over_pb2.py").write_text("old")
    (committed / "__init__.py").write_text("written by hand")
    assert generate.differences(fresh, committed) == [
        "left_over_pb2.py",
        "missing_pb2_grpc.py",
        "stale_pb2.pyi",
    ]
