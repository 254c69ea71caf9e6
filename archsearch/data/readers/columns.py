"""Which columns of a table hold pictures and labels, by the names and types in its schema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archsearch.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_LABEL = re.compile(r"(.*[_ .-])?(labels?|class|category|target|classname|class[_ ](id|name|label))", re.IGNORECASE)


def features(schema: pa.Schema) -> Mapping[str, Any]:
    """What the library `datasets` has noted of each column; empty where another program wrote the table."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return noted if isinstance(noted, dict) else {}


def image_column(schema: pa.Schema, given: str | None, name: str) -> str:
    """The column of pictures. Raises DataError, with all candidates, where it is not one."""
    if given is not None:
        if _holds_pictures(_field(schema, given, "image", name).type):
            return given
        raise DataError(f"{name}: column {given!r} is {schema.field(given).type}: pictures are bytes of files")
    noted = [key for key, one in features(schema).items() if _kind(one) == "Image" and key in schema.names]
    held = [field.name for field in schema if _holds_pictures(field.type)]
    return _only_one([key for key in noted if key in held] or held, "image", schema, name)


def label_column(schema: pa.Schema, given: str | None, name: str) -> str:
    """The column of labels, one or a list a picture.

    Raises DataError, with all candidates, where it is not one, or holds no labels.
    """
    import pyarrow as pa

    known = {key: one for key, one in features(schema).items() if key in schema.names}
    noted = [key for key, one in known.items() if _kind(one) == "ClassLabel"]
    noted = noted or [key for key, one in known.items() if _kind(_within(one)) == "ClassLabel"]
    named = [field.name for field in schema if _LABEL.fullmatch(field.name) and not _holds_pictures(field.type)]
    column = given or _only_one(noted or named, "label", schema, name)
    kind = _field(schema, column, "label", name).type
    kind = kind.value_type if is_list(schema, column) else kind
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    checks: Sequence[Callable[[Any], bool]] = (
        pa.types.is_integer, pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_boolean,
    )  # fmt: skip
    if not any(check(kind) for check in checks):
        raise DataError(
            f"{name}: label column {column!r} is {schema.field(column).type}: labels must be whole numbers or names,"
            " one a picture, or lists of them" + _way(schema)
        )
    return column


def label_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """The names of the labels 0, 1, ... of a column, where the table has them."""
    one = features(schema).get(column)
    one = one if _kind(one) == "ClassLabel" else _within(one)
    names = one.get("names") if isinstance(one, dict) and _kind(one) == "ClassLabel" else None
    words = [word for word in names if isinstance(word, str)] if isinstance(names, list) else []
    return tuple(words) if words and words == names else None


def is_list(schema: pa.Schema, column: str) -> bool:
    """Whether a row has a list, and not one value."""
    import pyarrow as pa

    kind = schema.field(column).type
    checks = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in checks)


def distinct(whole: pa.Array) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct values of an array as texts, "" where some are missing; and int64 (N,) which each row has."""
    import numpy as np
    import pyarrow as pa

    if pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_decode()
    whole = (whole.cast(pa.string()) if pa.types.is_string_view(whole.type) else whole).dictionary_encode("encode")
    return list(map(text_of, whole.dictionary.to_pylist())), np.asarray(whole.indices, np.int64)


def text_of(value: object) -> str:
    """A label as a text; "" where it is missing."""
    return "" if value is None else str(int(value) if isinstance(value, bool) else value)


def _within(feature: object) -> object:
    """What a list's rows hold; None for what is no list."""
    if isinstance(feature, list):
        return feature[0] if len(feature) == 1 else None
    found = feature.get("feature") if isinstance(feature, dict) else None
    return found[0] if isinstance(found, list) and len(found) == 1 else found


def _kind(feature: object) -> object:
    return feature.get("_type") if isinstance(feature, dict) else None


def _holds_pictures(kind: pa.DataType) -> bool:
    """Bytes, or bytes and a path, as `datasets` has pictures."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(
            kind.field(i).name == "bytes" and _holds_pictures(kind.field(i).type) for i in range(kind.num_fields)
        )
    checks = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(check(kind) for check in checks)


def _field(schema: pa.Schema, column: str, what: str, name: str) -> pa.Field:
    if schema.names.count(column) != 1:
        raise DataError(f"{name}: there is no {what} column {column!r}{_way(schema)}")
    return schema.field(column)


def _only_one(found: Sequence[str], what: str, schema: pa.Schema, name: str) -> str:
    if len(found) > 1:
        raise DataError(f"{name}: columns {', '.join(found)} may be the {what}: choose by ?{what}={found[0]}")
    if not found:
        raise DataError(f"{name}: no {what} column is found: name it by ?{what}=COLUMN{_way(schema)}")
    return found[0]


def _way(schema: pa.Schema) -> str:
    shown = [f"{field.name} ({_short(field.type)})" for field in schema][:12]
    return f"; the columns are {', '.join(shown)}" if shown else "; there are no columns"


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 30 else f"{text[:27]}..."
