"""Instructions of a pickle that push a value, use the memo or belong to the stream itself.

Names and meanings as in the standard library's `pickletools`. Each function raises ValueError
(or what Python raises for an empty stack) where the instruction does not fit its operands.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from struct import Struct

from automatch.reading.pickle_machine import Machine

Handler = Callable[[Machine], None]
INT4 = Struct("<i")
UINT1 = Struct("<B")
UINT2 = Struct("<H")
UINT4 = Struct("<I")
UINT8 = Struct("<Q")
DOUBLE = Struct(">d")
HIGHEST_PROTOCOL = 5


# --- reading operands -------------------------------------------------------------------------


def _take(m: Machine, count: int) -> bytes:
    begin = m.pos
    if count > m.end - begin:
        raise ValueError("it ends too early" if m.end == m.size else "an instruction crosses the end of its frame")
    m.pos = begin + count
    return m.data[begin : m.pos]


def _number(m: Machine, form: Struct) -> int:
    begin = m.pos
    if form.size > m.end - begin:
        raise ValueError("it ends too early")
    m.pos = begin + form.size
    value: int = form.unpack_from(m.data, begin)[0]
    return value


def line_of(m: Machine) -> bytes:
    """An operand that ends with its line."""
    stop = m.data.find(b"\n", m.pos, m.end)
    if stop < 0:
        raise ValueError("it ends too early")
    begin, m.pos = m.pos, stop + 1
    return m.data[begin:stop]


def text(data: bytes) -> str:
    """A text of Python 3; half characters are kept, and refused where they become a key."""
    return str(data, "utf-8", "surrogatepass")


def _old_text(data: bytes) -> str | bytes:
    """A string of Python 2: text where it is text, else bytes."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        return data


# --- values -----------------------------------------------------------------------------------


def _push(value: object) -> Handler:
    def handler(m: Machine) -> None:
        m.stack.append(value)

    return handler


def _push_bytes(form: Struct, convert: Callable[[bytes], object]) -> Handler:
    """A length, then that many bytes; the length is compared with what is left before anything is allocated."""

    def handler(m: Machine) -> None:
        m.stack.append(convert(_take(m, _number(m, form))))

    return handler


def _push_number(form: Struct) -> Handler:
    def handler(m: Machine) -> None:
        m.stack.append(_number(m, form))

    return handler


def _binint1(m: Machine) -> None:
    if m.pos >= m.end:
        raise ValueError("it ends too early")
    m.stack.append(m.data[m.pos])
    m.pos += 1


def _long(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _int_line(m: Machine) -> None:
    line = line_of(m)
    m.stack.append({b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line))


def _long_line(m: Machine) -> None:
    m.stack.append(int(line_of(m).removesuffix(b"L")))


def _float_line(m: Machine) -> None:
    m.stack.append(float(line_of(m)))


def _binunicode(m: Machine) -> None:
    begin = m.pos + 4
    if begin > m.end:
        raise ValueError("it ends too early")
    stop = begin + UINT4.unpack_from(m.data, begin - 4)[0]
    if stop > m.end:
        raise ValueError("a text is longer than what is left")
    m.stack.append(str(m.data[begin:stop], "utf-8", "surrogatepass"))
    m.pos = stop


def _string_line(m: Machine) -> None:
    line = line_of(m).strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a text is not in quotes")
    m.stack.append(_old_text(codecs.escape_decode(line[1:-1])[0]))


def _unicode_line(m: Machine) -> None:
    m.stack.append(str(line_of(m), "raw-unicode-escape"))


# --- memo -------------------------------------------------------------------------------------


def _binput(m: Machine) -> None:
    if m.pos >= m.end:
        raise ValueError("it ends too early")
    m.memo[m.data[m.pos]] = m.stack[-1]
    m.pos += 1


def _binget(m: Machine) -> None:
    if m.pos >= m.end:
        raise ValueError("it ends too early")
    m.stack.append(m.memo[m.data[m.pos]])
    m.pos += 1


def _long_binput(m: Machine) -> None:
    pos = m.pos
    if pos + 4 > m.end:
        raise ValueError("it ends too early")
    m.memo[UINT4.unpack_from(m.data, pos)[0]] = m.stack[-1]
    m.pos = pos + 4


def _long_binget(m: Machine) -> None:
    m.stack.append(m.memo[_number(m, UINT4)])


def _put_line(m: Machine) -> None:
    number = int(line_of(m))
    if number < 0:
        raise ValueError("a negative memo number")
    m.memo[number] = m.stack[-1]


def _get_line(m: Machine) -> None:
    m.stack.append(m.memo[int(line_of(m))])


def _memoize(m: Machine) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


# --- the stream itself --------------------------------------------------------------------------


def _proto(m: Machine) -> None:
    if _take(m, 1)[0] > HIGHEST_PROTOCOL:
        raise ValueError("a pickle protocol that does not exist")


def _frame(m: Machine) -> None:
    length = _number(m, UINT8)
    if m.end != m.size or length > m.size - m.pos:
        raise ValueError("a frame inside a frame" if m.end != m.size else "it ends too early")
    m.end = m.pos + length


def refused(m: Machine) -> None:
    """An instruction that has no place in a checkpoint."""
    raise ValueError(f"instruction 0x{m.data[m.pos - 1]:02x}, which no checkpoint needs")


VALUES: dict[bytes, Handler] = {
    b"J": _push_number(INT4),
    b"M": _push_number(UINT2),
    b"G": _push_number(DOUBLE),
    b"\x8a": _push_bytes(UINT1, _long),
    b"\x8b": _push_bytes(UINT4, _long),
    b"U": _push_bytes(UINT1, _old_text),
    b"T": _push_bytes(UINT4, _old_text),
    b"\x8c": _push_bytes(UINT1, text),
    b"\x8d": _push_bytes(UINT8, text),
    b"C": _push_bytes(UINT1, bytes),
    b"B": _push_bytes(UINT4, bytes),
    b"\x8e": _push_bytes(UINT8, bytes),
    b"\x96": _push_bytes(UINT8, bytes),
    b"N": _push(None),
    b"\x88": _push(True),
    b"\x89": _push(False),
    b"I": _int_line,
    b"L": _long_line,
    b"F": _float_line,
    b"K": _binint1,
    b"S": _string_line,
    b"V": _unicode_line,
    b"X": _binunicode,
    b")": _push(()),
    b"p": _put_line,
    b"q": _binput,
    b"r": _long_binput,
    b"g": _get_line,
    b"h": _binget,
    b"j": _long_binget,
    b"\x94": _memoize,
    b"\x80": _proto,
    b"\x95": _frame,
}
