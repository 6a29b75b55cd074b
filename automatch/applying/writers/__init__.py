"""All kinds of files that can be written. One more is one file and one name in the tuple."""

from automatch.applying.plan import Writer
from automatch.applying.writers import safetensors_file, torch_zip

WRITERS: tuple[Writer, ...] = (safetensors_file.WRITER, torch_zip.WRITER)

__all__ = ["WRITERS"]
