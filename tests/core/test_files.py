"""Files that appear whole, what killed processes leave, and a disk that is full before memory is mapped."""

import errno
import os
import subprocess
import sys
from unittest.mock import Mock

import pytest
from refusals import refuses

from labutils import files
from labutils.errors import LabError
from labutils.files import atomic_file, part_file, regular, reserve, sweep


def test_atomic_file_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "new" / "a.bin"
    with atomic_file(path) as file:
        file.write(b"old")
    message = r"a\.bin cannot be written: No space left.* bytes are free in .*new: make room"
    with pytest.raises(LabError, match=message), atomic_file(path) as file:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as file:
        file.write(b"%d" % (1 // 0))
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]
    for odd in (path / "under", tmp_path / ("x" * 300), tmp_path / "a\0b", tmp_path / ("x" * 5000)):
        with pytest.raises(LabError, match=r"^.{,700}cannot be written"), atomic_file(odd):
            pass


KILLED = """
import os, sys
from labutils.files import atomic_file
with atomic_file(sys.argv[1]) as file:
    file.write(b"half")
    print("written", flush=True)
    sys.stdin.read()
"""


def test_part_files_of_dead_processes_are_removed_and_those_of_living_ones_stay(tmp_path):
    run = [sys.executable, "-c", KILLED, str(tmp_path / "a.bin")]
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        mine = tmp_path / ".video.mp4.part"  # is none of ours
        mine.write_bytes(b"")
        with part_file(tmp_path / "b.bin"):
            sweep(tmp_path)
            assert len(list(tmp_path.glob(".[ab].bin.*.part"))) == 2
        process.kill()
    with atomic_file(tmp_path / "b.bin"):  # a later start
        sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [mine.name, "b.bin"]


def test_the_first_file_that_is_written_to_a_folder_sweeps_it(tmp_path):
    left = tmp_path / ".last.ckpt.0123abcd.part"
    left.write_bytes(b"half")
    with atomic_file(tmp_path / "best.ckpt"):
        assert not left.exists()


@pytest.mark.parametrize("known", [True, False])
def test_room_is_taken_before_it_is_used(tmp_path, monkeypatch, known):
    if not known:
        monkeypatch.setattr(os, "posix_fallocate", Mock(side_effect=OSError(errno.EOPNOTSUPP, "not here")))
    with open(tmp_path / "a", "w+b") as file:
        reserve(file, 3_000_000)
        assert os.fstat(file.fileno()).st_size == 3_000_000 <= os.fstat(file.fileno()).st_blocks * 512
    monkeypatch.setattr(os, "posix_fallocate", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with open(tmp_path / "a", "w+b") as file, pytest.raises(OSError, match="No space"):
        reserve(file, 3_000_000)


def test_a_message_shows_a_path_on_one_line(tmp_path):
    refuses(r"^[^\n\x00]{,700}$", regular, tmp_path / "a\nb")
    assert files.shown("a\nb\0\x1b[31m") == "a?b??[31m"
