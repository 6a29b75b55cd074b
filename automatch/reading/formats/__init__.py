"""All kinds of sources that can be read. One more is one file and one name in a tuple below."""

from automatch.reading.formats import key_list, live_module, mapping, safetensors_file, torch_legacy, torch_zip
from automatch.reading.source import FileFormat, ObjectFormat

# the first that accepts reads; the tests of one on another's files keep them apart
FILE_FORMATS: tuple[FileFormat, ...] = (
    safetensors_file.FORMAT,
    torch_zip.FORMAT,
    torch_legacy.FORMAT,
    key_list.FORMAT,
)
OBJECT_FORMATS: tuple[ObjectFormat, ...] = (live_module.FORMAT, mapping.FORMAT)

__all__ = ["FILE_FORMATS", "OBJECT_FORMATS"]
