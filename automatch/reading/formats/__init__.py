"""All kinds of sources that can be read. One more is one file and one name in a tuple below."""

from automatch.reading.formats import (
    folder,
    key_list,
    live_module,
    mapping,
    numpy_archive,
    plain_pickle,
    safetensors_file,
    sharded_index,
    torch_legacy,
    torch_zip,
)
from automatch.reading.source import FileFormat, ObjectFormat

# the first that accepts reads: a special kind stands before the general one
FILE_FORMATS: tuple[FileFormat, ...] = (
    folder.FORMAT,
    safetensors_file.FORMAT,
    numpy_archive.FORMAT,
    torch_zip.FORMAT,
    torch_legacy.FORMAT,
    plain_pickle.FORMAT,
    sharded_index.FORMAT,
    key_list.FORMAT,
)
OBJECT_FORMATS: tuple[ObjectFormat, ...] = (live_module.FORMAT, mapping.FORMAT)

__all__ = ["FILE_FORMATS", "OBJECT_FORMATS"]
