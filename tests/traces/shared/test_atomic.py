"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from traces.shared.atomic import make_folder, replacing, replacing_folder, write_text


def test_a_file_takes_its_place_whole_with_the_permissions_of_the_umask(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    old = os.umask(0o027)
    try:
        with replacing(target) as part:
            part.write_text("new")
            part.chmod(0o600)
            assert not target.exists()
    finally:
        os.umask(old)
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder"), replacing(tmp_path / "missing/a.txt"):
        raise AssertionError("not reached")


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_was_there_stays_where_writing_fails(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail() -> None:
        with replacing(target) as part:
            part.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failing_exchange_puts_the_old_output_back(tmp_path, monkeypatch):
    out = tmp_path / "run"
    out.mkdir()
    (out / "run.json").write_text("old")
    rename = Path.rename

    def fails_for_the_new_one(path, target):
        if path.name.endswith(".tmp"):
            raise OSError("refused")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails_for_the_new_one)
    with pytest.raises(OSError, match="refused"), replacing_folder(out):
        pass
    assert (out / "run.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_takes_its_place_also_where_a_process_of_the_same_number_was_killed(tmp_path):
    (tmp_path / f".run.{os.getpid()}.tmp").mkdir()  # two containers on one volume have the same numbers
    (tmp_path / "run").mkdir()
    old = os.umask(0o027)
    try:
        with replacing_folder(tmp_path / "run") as first, replacing_folder(tmp_path / "run") as second:
            assert first != second
            (second / "new").touch()
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o750
    assert sorted(each.name for each in tmp_path.iterdir()) == [f".run.{os.getpid()}.tmp", "run"]


def test_a_folder_is_made_where_a_symlink_points_to(tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "out")
    for _ in range(2):
        make_folder(tmp_path / "out")
        make_folder(tmp_path / "out" / "more")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "out" / "more").is_dir()


def test_a_symlink_is_written_through_and_stays(tmp_path):
    real = tmp_path / "disk"
    (real / "run").mkdir(parents=True)
    (real / "run" / "old").touch()
    (tmp_path / "run").symlink_to(real / "run")
    (tmp_path / "a.txt").symlink_to(real / "a.txt")  # where nothing is yet
    with replacing_folder(tmp_path / "run") as folder:
        (folder / "new").touch()
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "run").is_symlink()
    assert (tmp_path / "a.txt").is_symlink()
    assert [each.name for each in (real / "run").iterdir()] == ["new"]
    assert (real / "a.txt").read_text() == "new"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.txt", "disk", "run"]
    assert sorted(each.name for each in real.iterdir()) == ["a.txt", "run"]
