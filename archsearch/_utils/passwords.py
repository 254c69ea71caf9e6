"""Texts without the secrets of the URLs in them. Where it is not plain what belongs to a secret, more is hidden."""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"
_SCHEME = r"[A-Za-z][\w+.-]*://"
_KEY = r"[\w-]*(?:password|passwd|passphrase|pwd|secret|token)[\w-]*"
_PAIR = re.compile(rf"\b({_KEY})=([^&]*)", re.I)
_WORD = re.compile(rf"\b({_KEY})=('[^']*'|\"[^\"]*\"|[^&\s'\"]*)", re.I)
_NEXT = re.compile(rf"\s(?={_SCHEME})")
_LEAST = 4
"""Shorter secrets are not looked for in what others say: half of every text would be hidden."""


def hide_url(url: str) -> str:
    """A URL without its password, which ends at the last @, and without the values of keys such as `sslpassword`."""
    scheme, separator, rest = url.partition("://")
    rest = _PAIR.sub(rf"\1={HIDDEN}", rest)
    before, at, after = rest.rpartition("@")
    user, colon, _ = before.partition(":")
    return (
        f"{scheme}{separator}{user}:{HIDDEN}@{after}" if at and colon and "/" not in user else scheme + separator + rest
    )


def hide_password(text: str) -> str:
    """A text with URLs, in quotes or not, without their passwords. Without quotes it ends at the last @ of a line."""
    lines = [_NEXT.split(line) for line in text.split("\n")]
    return "\n".join(" ".join(map(_hide_one, parts)) for parts in lines)


def _hide_one(text: str) -> str:
    """A text with one URL, or several in quotes."""
    quoted = rf"(['\"])({_SCHEME}.*?)\1(?=\s|$|[,;:.)\]])"
    hidden, found = re.subn(quoted, lambda match: match[1] + hide_url(match[2]) + match[1], text)
    start = re.search(_SCHEME, text)
    if start and not found:
        tail = text[start.start() :]
        end = max(tail.rfind("@"), 0)
        stop = re.search(r"\s|$", tail[end:])
        end += stop.start() if stop else 0
        hidden = text[: start.start()] + hide_url(tail[:end]) + tail[end:]
    return _WORD.sub(rf"\1={HIDDEN}", hidden)


def secrets_of(url: str) -> list[str]:
    """The secrets of a URL, as they stand in it and as they are meant, longest first."""
    rest = url.partition("://")[2]
    found = [value for _, value in _PAIR.findall(rest)]
    before, at, _ = _PAIR.sub("", rest).rpartition("@")
    user, colon, password = before.partition(":")
    if at and colon and "/" not in user:
        found.append(password)
    every = {text for value in found for text in (value, unquote(value)) if len(text) >= _LEAST}
    return sorted(every, key=len, reverse=True)


def without_secrets(text: str, url: str) -> str:
    """What others say of a URL, without its secrets and those of any URL in it."""
    for secret in secrets_of(url):
        text = text.replace(secret, HIDDEN)
    return hide_password(text)
