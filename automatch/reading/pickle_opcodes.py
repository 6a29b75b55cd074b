"""One function for each instruction of the pickle protocols 0 to 5, as data: see `safe_pickle`.

Names and meanings as in the standard library's `pickletools`. Each function raises ValueError
(or what Python raises for an empty stack) where the instruction does not fit its operands.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from struct import Struct
from typing import Any

from automatch.reading.pickle_machine import Machine
from automatch.reading.records import ArrayRecord, Call, Global, TensorRecord
from automatch.reading.torch_builders import check_keys, describe_array, make_global

Handler = Callable[[Machine], None]
INT4 = Struct("<i")
UINT2 = Struct("<H")
UINT4 = Struct("<I")
UINT8 = Struct("<Q")
DOUBLE = Struct(">d")
HIGHEST_PROTOCOL = 5
PLAIN_KEYS = frozenset((str,))


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


def _line(m: Machine) -> bytes:
    stop = m.data.find(b"\n", m.pos, m.end)
    if stop < 0:
        raise ValueError("it ends too early")
    begin, m.pos = m.pos, stop + 1
    return m.data[begin:stop]


def _text(data: bytes) -> str:
    return str(data, "utf-8", "surrogatepass")


def _old_text(data: bytes) -> str | bytes:
    """A string of Python 2: text where it is text, else bytes."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        return data


def _pop_mark(m: Machine) -> list[Any]:
    values = m.stack
    m.stack = m.marks.pop()
    return values


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
    line = _line(m)
    m.stack.append({b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line))


def _long_line(m: Machine) -> None:
    m.stack.append(int(_line(m).removesuffix(b"L")))


def _float_line(m: Machine) -> None:
    m.stack.append(float(_line(m)))


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
    line = _line(m).strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise ValueError("a text is not in quotes")
    m.stack.append(_old_text(codecs.escape_decode(line[1:-1])[0]))


def _unicode_line(m: Machine) -> None:
    m.stack.append(str(_line(m), "raw-unicode-escape"))


# --- containers -------------------------------------------------------------------------------


def _mark(m: Machine) -> None:
    if len(m.marks) >= m.depth:
        raise ValueError("it nests too deeply")
    m.marks.append(m.stack)
    m.stack = []


def _pop(m: Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        _pop_mark(m)


def _pop_to_mark(m: Machine) -> None:
    _pop_mark(m)


def _dup(m: Machine) -> None:
    m.stack.append(m.stack[-1])


def _new_list(m: Machine) -> None:
    m.stack.append([])


def _new_dict(m: Machine) -> None:
    m.stack.append({})


def _new_set(m: Machine) -> None:
    m.stack.append(Call(SET))


def _list(m: Machine) -> None:
    values = _pop_mark(m)
    m.stack.append(values)


def _dict(m: Machine) -> None:
    values = _pop_mark(m)
    result: dict[Any, Any] = {}
    _store(result, values)
    m.stack.append(result)


def _frozenset(m: Machine) -> None:
    values = _pop_mark(m)
    m.stack.append(Call(FROZENSET, members=values))


def _tuple(m: Machine) -> None:
    values = _pop_mark(m)
    m.stack.append(tuple(values))


def _tuple_of(count: int) -> Handler:
    def handler(m: Machine) -> None:
        stack = m.stack
        if len(stack) < count:
            raise ValueError("a tuple lacks values")
        values = tuple(stack[-count:])
        del stack[-count:]
        stack.append(values)

    return handler


def _append(m: Machine) -> None:
    value = m.stack.pop()
    _extend(m.stack[-1], [value])


def _appends(m: Machine) -> None:
    values = _pop_mark(m)
    _extend(m.stack[-1], values)


def _add_items(m: Machine) -> None:
    values = _pop_mark(m)
    if not isinstance(m.stack[-1], Call):
        raise ValueError("values are added to something that is no set")
    m.stack[-1].members.extend(values)


def _extend(target: object, values: list[Any]) -> None:
    if type(target) is list:
        target.extend(values)
    elif type(target) is Call:
        target.members.extend(values)
    else:
        raise ValueError("values are appended to something that is no list")


def _set_item(m: Machine) -> None:
    value = m.stack.pop()
    key = m.stack.pop()
    _store(m.stack[-1], [key, value])


def _set_items(m: Machine) -> None:
    values = _pop_mark(m)
    _store(m.stack[-1], values)


def _store(target: object, values: list[Any]) -> None:
    """Puts alternating keys and values into a dict; a key that holds a tensor may not come twice."""
    if type(target) is Call:
        target = target.items
    if type(target) is not dict or len(values) % 2:
        raise ValueError("values are stored in something that is no dict")
    keys = values[::2]
    if set(map(type, keys)) != PLAIN_KEYS:
        check_keys(keys)
    before = len(target)
    old = {key: target[key] for key in keys if key in target} if target else {}
    target.update(zip(keys, values[1::2], strict=True))
    if len(target) != before + len(keys):
        _check_repeated(keys, values[1::2], old)


def _check_repeated(keys: list[Any], values: list[Any], old: dict[Any, Any]) -> None:
    seen = dict(old)
    for key, value in zip(keys, values, strict=True):
        if key in seen and isinstance(key, str) and any(isinstance(v, TensorRecord) for v in (value, seen[key])):
            raise ValueError(f"key {key[:120]!r} is there twice")
        seen[key] = value


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
    number = int(_line(m))
    if number < 0:
        raise ValueError("a negative memo number")
    m.memo[number] = m.stack[-1]


def _get_line(m: Machine) -> None:
    m.stack.append(m.memo[int(_line(m))])


def _memoize(m: Machine) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


# --- what a real unpickler would import and call ------------------------------------------------


def _find(m: Machine, module: str, name: str) -> Global:
    found = m.globals.get((module, name))
    if found is None:
        found = m.globals[module, name] = make_global(module, name)
    return found


def _global(m: Machine) -> None:
    module, name = _text(_line(m)), _text(_line(m))
    m.stack.append(_find(m, module, name))


def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError("a name to import is no text")
    m.stack.append(_find(m, module, name))


def _call(function: object, args: object) -> object:
    if type(args) is not tuple:
        raise ValueError("the arguments of a call are no tuple")
    if type(function) is Global and function.describe is not None:
        return function.describe(args)
    return Call(function, args)


def _reduce(m: Machine) -> None:
    args = m.stack.pop()
    m.stack[-1] = _call(m.stack[-1], args)


def _newobj_ex(m: Machine) -> None:
    keywords, args = m.stack.pop(), m.stack.pop()
    if type(keywords) is not dict:
        raise ValueError("the keyword arguments of a call are no dict")
    m.stack[-1] = _call(m.stack[-1], args)


def _inst(m: Machine) -> None:
    module, name = _text(_line(m)), _text(_line(m))
    args = _pop_mark(m)
    m.stack.append(_call(_find(m, module, name), tuple(args)))


def _obj(m: Machine) -> None:
    function, *args = _pop_mark(m)
    m.stack.append(_call(function, tuple(args)))


def _build(m: Machine) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if type(target) is Call:
        target.state = state
    elif type(target) is ArrayRecord:
        describe_array(target, state)
    elif type(target) is not dict and type(target) is not TensorRecord:
        raise ValueError("a state is set on something that has none")


def _persistent_id(m: Machine) -> None:
    m.stack.append(m.persistent(m.stack.pop()))


# --- the stream itself --------------------------------------------------------------------------


def _proto(m: Machine) -> None:
    if _take(m, 1)[0] > HIGHEST_PROTOCOL:
        raise ValueError("a pickle protocol that does not exist")


def _frame(m: Machine) -> None:
    length = _number(m, UINT8)
    if m.end != m.size or length > m.size - m.pos:
        raise ValueError("a frame inside a frame" if m.end != m.size else "it ends too early")
    m.end = m.pos + length


def _refused(m: Machine) -> None:
    raise ValueError(f"instruction 0x{m.data[m.pos - 1]:02x}, which no checkpoint needs")


SET = make_global("builtins", "set")
FROZENSET = make_global("builtins", "frozenset")
UINT1 = Struct("<B")

_OF_CODE: dict[bytes, Handler] = {
    b"N": _push(None),
    b"\x88": _push(True),
    b"\x89": _push(False),
    b"I": _int_line,
    b"L": _long_line,
    b"F": _float_line,
    b"J": _push_number(INT4),
    b"K": _binint1,
    b"M": _push_number(UINT2),
    b"G": _push_number(DOUBLE),
    b"\x8a": _push_bytes(UINT1, _long),
    b"\x8b": _push_bytes(UINT4, _long),
    b"S": _string_line,
    b"U": _push_bytes(UINT1, _old_text),
    b"T": _push_bytes(UINT4, _old_text),
    b"V": _unicode_line,
    b"\x8c": _push_bytes(UINT1, _text),
    b"X": _binunicode,
    b"\x8d": _push_bytes(UINT8, _text),
    b"C": _push_bytes(UINT1, bytes),
    b"B": _push_bytes(UINT4, bytes),
    b"\x8e": _push_bytes(UINT8, bytes),
    b"\x96": _push_bytes(UINT8, bytes),
    b"(": _mark,
    b"0": _pop,
    b"1": _pop_to_mark,
    b"2": _dup,
    b"]": _new_list,
    b"}": _new_dict,
    b"\x8f": _new_set,
    b"l": _list,
    b"d": _dict,
    b"\x91": _frozenset,
    b"t": _tuple,
    b")": _push(()),
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"a": _append,
    b"e": _appends,
    b"\x90": _add_items,
    b"s": _set_item,
    b"u": _set_items,
    b"p": _put_line,
    b"q": _binput,
    b"r": _long_binput,
    b"g": _get_line,
    b"h": _binget,
    b"j": _long_binget,
    b"\x94": _memoize,
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"\x81": _reduce,  # NEWOBJ: class and arguments, for us the same
    b"\x92": _newobj_ex,
    b"i": _inst,
    b"o": _obj,
    b"b": _build,
    b"Q": _persistent_id,
    b"\x80": _proto,
    b"\x95": _frame,
}
HANDLERS: tuple[Handler, ...] = tuple(_OF_CODE.get(bytes((code,)), _refused) for code in range(256))
