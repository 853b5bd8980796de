"""What is wrong with a run: named findings with their evidence, from what the run left."""

from labutils.doctor.examine import examine
from labutils.doctor.findings import CATALOGUE, Case, Finding

__all__ = ["CATALOGUE", "Case", "Finding", "examine"]
