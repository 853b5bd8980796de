"""The report and the archive to hand in: `python -m labutils report` and `pack`."""

from labutils.handin.archive import archive_name, contents, objections, write_archive
from labutils.handin.sections import grading

__all__ = ["archive_name", "contents", "grading", "objections", "write_archive"]
