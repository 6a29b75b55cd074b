"""Says what a file is that is no checkpoint, and what to do about it."""

from __future__ import annotations

from automatch.reading.source import File

WANTED = "expected safetensors, a torch checkpoint, *.index.json or *.keys.json"

# first bytes -> what it is, and the way out
KNOWN: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the weights; run `git lfs pull` or download the file itself"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras, h5py); convert it to safetensors first"),
    (b"GGUF", "a GGUF file; convert it to safetensors first"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\xfd7zXZ", "an xz archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
    (b"\x93NUMPY", "a single NumPy array without a name; save a state_dict"),
    (b"\x7fELF", "a program"),
)


def refusal(file: File) -> str:
    """One sentence on a file that no format accepts: its name, what it is, the way out."""
    if not file.size:
        return f"{file.path}: the file is empty; fetch or save it again"
    for magic, what in KNOWN:
        if file.head.startswith(magic):
            return f"{file.path}: {what}"
    start = file.head[:1024].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return f"{file.path}: a web page, not a checkpoint; the download was redirected or needs a login"
    if file.head[257:262] == b"ustar":
        return (
            f"{file.path}: a tar archive; torch files of this kind (before 0.1.10) are refused, "
            f"unpack any other archive first"
        )
    if file.path.suffix == ".py":
        return f"{file.path}: a program, not a checkpoint; name what builds the model in it, as {file.path}:Net"
    if _is_text(file.head):
        return f"{file.path}: a text file, not a checkpoint; {WANTED}"
    if file.path.suffix == ".safetensors":
        return f"{file.path}: no safetensors header; the file is damaged or of another kind"
    return f"{file.path}: not a checkpoint; {WANTED}"


def _is_text(head: bytes) -> bool:
    try:
        head[:4096].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > 4000 and b"\0" not in head
    return b"\0" not in head[:4096]
