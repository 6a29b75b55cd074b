"""Any source -> `StateDictSpec`: no tensor data is read, nothing that a file names is imported or called."""

from automatch.reading.choosing import split_at
from automatch.reading.formats.key_list import write_key_list
from automatch.reading.limits import Limits
from automatch.reading.model import ModelSide, read_model
from automatch.reading.reader import format_of, read_checkpoint

__all__ = ["Limits", "ModelSide", "format_of", "read_checkpoint", "read_model", "split_at", "write_key_list"]
