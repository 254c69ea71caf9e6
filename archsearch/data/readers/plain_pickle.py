"""Pickles of plain data, read without running them: lists, dicts, texts, whole numbers and arrays of these.

The file is walked opcode by opcode. Nothing that it names is imported or called: numpy's array and dtype, and the
encoding of bytes by Python 3, are known by their names and rebuilt from their arguments here.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from archsearch.errors import DataError

_MARK = object()
_ARRAY, _DTYPE, _RECONSTRUCT, _ENCODE, _EMPTY_BYTES = "array", "dtype", "reconstruct", "encode", "bytes"
_BUFFER = "buffer"  # of protocol 5
_NAMED = {
    "numpy ndarray": _ARRAY,
    "numpy dtype": _DTYPE,
    "numpy.core.multiarray _reconstruct": _RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": _RECONSTRUCT,
    "numpy.core.numeric _frombuffer": _BUFFER,
    "numpy._core.numeric _frombuffer": _BUFFER,
    "_codecs encode": _ENCODE,
    "__builtin__ bytes": _EMPTY_BYTES,
}
_BYTES = {"SHORT_BINSTRING", "BINSTRING", "STRING"}  # of Python 2; pickletools gives them as latin-1
_VALUES = {
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "UNICODE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS, _GETS = {"PUT", "BINPUT", "LONG_BINPUT"}, {"GET", "BINGET", "LONG_BINGET"}
_NOTHING = {"PROTO", "FRAME"}
_BYTE = ("u1", b"u1", "|u1", b"|u1")
_WHOLE = {"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"}

_Values = np.ndarray[Any, np.dtype[np.integer[Any]]]


@dataclass(frozen=True)
class _Name:
    """Stands for something known that a pickle names."""

    kind: str


@dataclass
class _Dtype:
    """The code of a number's type, such as u1 or i8, and the order of its bytes."""

    code: object
    order: object = "|"


@dataclass
class _Array:
    """An array before its state is known, and then its values."""

    values: _Values | None = None


@dataclass
class _Machine:
    """The stack and the memo of a pickle. whole: arrays may hold whole numbers of any size, not bytes alone."""

    whole: bool = False
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def step(self, code: str, argument: Any) -> None:
        """Do what an opcode says. Raises ValueError for what plain data do not need."""
        if code in _VALUES:
            self.stack.append(argument)
        elif code in _BYTES:
            self.stack.append(argument.encode("latin-1"))
        elif code in _PUTS or code == "MEMOIZE":
            self.memo[len(self.memo) if code == "MEMOIZE" else argument] = self.stack[-1]
        elif code in _GETS:
            self.stack.append(self.memo[argument])
        elif code in _CONSTANTS:
            self.stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            self.stack.append(_EMPTY[code]())
        elif code in _TUPLES:
            values = self.stack[-_TUPLES[code] :]
            if len(values) < _TUPLES[code]:
                raise ValueError("it ends before a tuple does")
            self.stack[-_TUPLES[code] :] = [tuple(values)]
        elif code in _STEPS:
            _STEPS[code](self)
        elif code in ("GLOBAL", "STACK_GLOBAL"):
            self.name(*((argument, 0) if code == "GLOBAL" else (" ".join(self.stack[-2:]), 2)))
        elif code not in _NOTHING:
            raise ValueError(f"it holds {code}, which plain data do not")

    def pop(self) -> Any:
        """The last value."""
        return self.stack.pop()

    def marked(self) -> list[Any]:
        """The values behind the last mark, taken off with it."""
        place = next(i for i in range(len(self.stack) - 1, -1, -1) if self.stack[i] is _MARK)
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def name(self, named: str, taken: int) -> None:
        """Something known, in place of the last values; nothing else is allowed, and nothing is imported."""
        del self.stack[len(self.stack) - taken :]
        if named not in _NAMED:
            raise ValueError(f"it names {named.replace(' ', '.', 1)[:80]}, which plain data do not need")
        self.stack.append(_Name(_NAMED[named]))

    def reduce(self) -> None:
        """A call, of what is known alone."""
        arguments, called = self.pop(), self.pop()
        kind = called.kind if isinstance(called, _Name) and isinstance(arguments, tuple) else ""
        if kind == _RECONSTRUCT:
            self.stack.append(_Array())
        elif kind == _DTYPE:
            self.stack.append(_Dtype(arguments[0]))
        elif kind == _ENCODE and arguments[1:] == ("latin1",) and isinstance(arguments[0], str):
            self.stack.append(arguments[0].encode("latin-1"))
        elif kind == _EMPTY_BYTES and not arguments:
            self.stack.append(b"")
        elif kind == _BUFFER:
            data, dtype, shape, order = arguments
            self.stack.append(_Array(self.array(shape, dtype, order == "F", data)))
        else:
            raise ValueError("it calls something, which plain data do not need")

    def build(self) -> None:
        """The state of an array, or of a dtype."""
        state = self.pop()
        made = self.stack[-1]
        if isinstance(made, _Array) and made.values is None:
            _, shape, dtype, by_columns, data = state
            made.values = self.array(shape, dtype, by_columns, data)
        elif isinstance(made, _Dtype):
            made.order = state[1]
        else:
            raise ValueError("it sets the state of something, which plain data do not need")

    def array(self, shape: Any, dtype: Any, by_columns: Any, data: Any) -> _Values:
        """The values of an array, from its bytes."""
        kind = _kind(dtype, self.whole)
        if not (isinstance(data, bytes | bytearray) and all(type(size) is int and size >= 0 for size in shape)):
            raise ValueError("an array is not made of bytes")
        if prod(shape) * kind.itemsize != len(data):
            raise ValueError(f"an array of shape {shape} has {len(data):,} bytes")
        return np.frombuffer(bytes(data), kind).reshape(shape, order="F" if by_columns else "C")


def _kind(dtype: Any, whole: bool) -> np.dtype[Any]:
    """The numbers that an array holds; only bytes, unless `whole`."""
    code = dtype.code if isinstance(dtype, _Dtype) else None
    if code in _BYTE:
        return np.dtype(np.uint8)
    text = code.decode("latin-1") if isinstance(code, bytes) else code
    if not (whole and text in _WHOLE):
        raise ValueError(f"an array has the dtype {text if isinstance(text, str) else '?'}: pixels are uint8")
    return np.dtype(f"{'>' if dtype.order in ('>', b'>') else '<'}{text}")


def _list(machine: _Machine) -> None:
    machine.stack.append(machine.marked())


def _tuple(machine: _Machine) -> None:
    machine.stack.append(tuple(machine.marked()))


def _append(machine: _Machine) -> None:
    value = machine.pop()
    _extend(machine, [value])


def _appends(machine: _Machine) -> None:
    values = machine.marked()
    _extend(machine, values)


def _extend(machine: _Machine, values: list[Any]) -> None:
    if type(machine.stack[-1]) is not list:
        raise ValueError("it appends to something that is no list")
    machine.stack[-1].extend(values)


def _set(machine: _Machine, values: list[Any]) -> None:
    if type(machine.stack[-1]) is not dict or len(values) % 2:
        raise ValueError("it sets an item of something that is no dict")
    if not all(type(key) in (str, bytes) for key in values[::2]):  # to hash a tuple of tuples may take for ever
        raise ValueError("a dict has a key that is no text")
    machine.stack[-1].update(zip(values[::2], values[1::2], strict=True))


def _setitem(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _set(machine, [key, value])


def _setitems(machine: _Machine) -> None:
    values = machine.marked()
    _set(machine, values)


def _dict(machine: _Machine) -> None:
    values = machine.marked()
    machine.stack.append({})
    _set(machine, values)


_STEPS: dict[str, Callable[[_Machine], None]] = {
    "MARK": lambda machine: machine.stack.append(_MARK),
    "LIST": _list, "TUPLE": _tuple, "DICT": _dict, "APPEND": _append, "APPENDS": _appends,
    "SETITEM": _setitem, "SETITEMS": _setitems, "REDUCE": _Machine.reduce, "BUILD": _Machine.build,
}  # fmt: skip


def read_plain(data: bytes, where: str, *, whole: bool = False) -> dict[str, Any]:
    """The dict in a pickle, keys as texts; arrays are uint8 ones, texts of Python 2 bytes.

    where: names the file, in messages. whole: arrays may also hold larger whole numbers.
    Raises DataError for a pickle that is damaged, or holds anything else.
    """
    machine = _Machine(whole)
    try:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name == "STOP":
                break
            machine.step(operation.name, argument)
        (found,) = machine.stack
        if not isinstance(found, dict):
            raise ValueError("it holds no dict")
        return {key.decode() if isinstance(key, bytes) else str(key): _plain(value) for key, value in found.items()}
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration, OverflowError, RecursionError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{where} is no pickle of plain data ({said[:160]}): nothing else in a pickle is read"
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        if value.values is None:
            raise ValueError("an array has no values")
        return value.values
    return value
