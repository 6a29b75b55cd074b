"""One function for each instruction of the pickle protocols 0 to 5: containers, and calls that nobody makes.

Names and meanings as in the standard library's `pickletools`. Each function raises ValueError
(or what Python raises for an empty stack) where the instruction does not fit its operands.
"""

from __future__ import annotations

from typing import Any

from automatch.module_versions import ATTRIBUTE
from automatch.reading.pickle_machine import Machine
from automatch.reading.pickle_values import VALUES, Handler, line_of, refused, text
from automatch.reading.records import ArrayRecord, Call, Global, TensorRecord
from automatch.reading.torch_builders import check_keys, describe_array, make_global

PLAIN_KEYS = frozenset((str,))
COPIED = frozenset((list, tuple, dict, str, bytes))


def _pop_mark(m: Machine) -> list[Any]:
    values = m.stack
    m.stack = m.marks.pop()
    return values


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


# --- what a real unpickler would import and call ------------------------------------------------


def _find(m: Machine, module: str, name: str) -> Global:
    found = m.globals.get((module, name))
    if found is None:
        found = m.globals[module, name] = make_global(module, name)
    return found


def _global(m: Machine) -> None:
    module, name = text(line_of(m)), text(line_of(m))
    m.stack.append(_find(m, module, name))


def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError("a name to import is no text")
    m.stack.append(_find(m, module, name))


def _call(m: Machine, function: object, args: object) -> object:
    if type(args) is not tuple:
        raise ValueError("the arguments of a call are no tuple")
    if type(function) is Global and function.describe is not None:
        # the plain containers copy their last argument; three bytes of pickle can ask for a large one again
        if args and type(args[-1]) in COPIED:
            m.copies -= len(args[-1])
            if m.copies < 0:
                raise ValueError("it copies more values than any checkpoint needs (limit copied)")
        return function.describe(args)
    return Call(function, args)


def _reduce(m: Machine) -> None:
    args = m.stack.pop()
    m.stack[-1] = _call(m, m.stack[-1], args)


def _newobj_ex(m: Machine) -> None:
    keywords, args = m.stack.pop(), m.stack.pop()
    if type(keywords) is not dict:
        raise ValueError("the keyword arguments of a call are no dict")
    m.stack[-1] = _call(m, m.stack[-1], args)


def _inst(m: Machine) -> None:
    module, name = text(line_of(m)), text(line_of(m))
    args = _pop_mark(m)
    m.stack.append(_call(m, _find(m, module, name), tuple(args)))


def _obj(m: Machine) -> None:
    function, *args = _pop_mark(m)
    m.stack.append(_call(m, function, tuple(args)))


def _build(m: Machine) -> None:
    state = m.stack.pop()
    target = m.stack[-1]
    if type(target) is Call:
        target.state = state
    elif type(target) is ArrayRecord:
        describe_array(target, state)
    elif type(target) is dict and type(state) is dict:
        if ATTRIBUTE in state:
            m.metadata[id(target)] = (target, state[ATTRIBUTE])
    elif type(target) is not dict and type(target) is not TensorRecord:
        raise ValueError("a state is set on something that has none")


def _persistent_id(m: Machine) -> None:
    m.stack.append(m.persistent(m.stack.pop()))


SET = make_global("builtins", "set")
FROZENSET = make_global("builtins", "frozenset")

CONTAINERS_AND_CALLS: dict[bytes, Handler] = {
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
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"a": _append,
    b"e": _appends,
    b"\x90": _add_items,
    b"s": _set_item,
    b"u": _set_items,
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"\x81": _reduce,  # NEWOBJ: class and arguments, for us the same
    b"\x92": _newobj_ex,
    b"i": _inst,
    b"o": _obj,
    b"b": _build,
    b"Q": _persistent_id,
}
_OF_CODE = {**VALUES, **CONTAINERS_AND_CALLS}
HANDLERS: tuple[Handler, ...] = tuple(_OF_CODE.get(bytes((code,)), refused) for code in range(256))
