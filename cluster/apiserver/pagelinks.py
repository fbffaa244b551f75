"""Links in HTML pages that come from behind a proxy: their absolute paths get the proxy's own in front.

Only attributes that hold links change; every other byte stays as it is. Source: apimachinery
pkg/util/proxy/transport.go.
"""

from __future__ import annotations

import html
import re
import zlib
from collections.abc import AsyncIterator, Callable

TAG_BYTES_MAX = 64 << 10
"""A tag that is longer stays as it is."""

Rewrite = Callable[[str], str]

_LINKS = {
    "a": {"href"},
    "applet": {"codebase"},
    "area": {"href"},
    "audio": {"src"},
    "base": {"href"},
    "blockquote": {"cite"},
    "body": {"background"},
    "button": {"formaction"},
    "command": {"icon"},
    "del": {"cite"},
    "embed": {"src"},
    "form": {"action"},
    "frame": {"longdesc", "src"},
    "head": {"profile"},
    "html": {"manifest"},
    "iframe": {"longdesc", "src"},
    "img": {"longdesc", "src", "usemap"},
    "input": {"src", "usemap", "formaction"},
    "ins": {"cite"},
    "link": {"href"},
    "object": {"classid", "codebase", "data", "usemap"},
    "q": {"cite"},
    "script": {"src"},
    "source": {"src"},
    "video": {"poster", "src"},
}
_RAW = frozenset({"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"})
"""Elements whose content is no markup."""

_TAG = re.compile(rb"<([a-zA-Z][^\s/>]*)((?:[^>\"']++|\"[^\"]*\"|'[^']*')*+)>")
_ATTRIBUTE = re.compile(rb"([^\s\"'<>/=]+)(\s*=\s*)(\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+)")
_COMMENT = b"<!--"


def is_page(content_type: str) -> bool:
    """Tell whether an answer is HTML."""
    return content_type.partition(";")[0].strip() == "text/html"


def understands(encoding: str) -> bool:
    """Tell whether pages in this Content-Encoding can be rewritten."""
    return encoding in ("", "gzip", "deflate")


async def rewritten(pieces: AsyncIterator[bytes], encoding: str, rewrite: Rewrite) -> AsyncIterator[bytes]:
    """Yield a page in its own encoding with `rewrite` applied to its links. Raises ConnectionError if it is broken."""
    window = 31 if encoding == "gzip" else 15
    inflate = zlib.decompressobj(window) if encoding else None
    deflate = zlib.compressobj(wbits=window) if encoding else None
    page = Page(rewrite)
    async for piece in pieces:
        while piece:
            try:
                text = inflate.decompress(piece, TAG_BYTES_MAX) if inflate else piece
            except zlib.error:
                raise ConnectionError("a page that can't be inflated") from None
            out = page.feed(text)
            if encoded := deflate.compress(out) if deflate else out:
                yield encoded
            piece = inflate.unconsumed_tail if inflate else b""
    out = page.end()
    if encoded := deflate.compress(out) + deflate.flush() if deflate else out:
        yield encoded


class Page:
    """A page that comes in pieces."""

    def __init__(self, rewrite: Rewrite) -> None:
        self._rewrite = rewrite
        self._rest = b""
        self._until = b""
        """Where a comment's or raw element's content ends; "" outside of them."""

    def feed(self, data: bytes) -> bytes:
        """Return what is decided of the page with `data` added to it."""
        self._rest += data
        decided = []
        while (piece := self._next()) is not None:
            decided.append(piece)
        return b"".join(decided)

    def end(self) -> bytes:
        """Return what is left."""
        return self._take(len(self._rest))

    def _take(self, length: int) -> bytes:
        piece, self._rest = self._rest[:length], self._rest[length:]
        return piece

    def _next(self) -> bytes | None:
        if not self._rest:
            return None
        if self._until:
            return self._content()
        start = self._rest.find(b"<")
        if start:
            return self._take(start if start > 0 else len(self._rest))
        if self._rest.startswith(_COMMENT):
            self._until = b"-->"
            return self._take(len(_COMMENT))
        if tag := _TAG.match(self._rest):
            self._take(tag.end())
            return self._tag(tag)
        unfinished = self._rest[1:2].isalpha() and len(self._rest) <= TAG_BYTES_MAX
        return None if unfinished or _COMMENT.startswith(self._rest) else self._take(1)

    def _content(self) -> bytes | None:
        end = self._rest.lower().find(self._until)
        if end >= 0:
            self._until = b""
            return self._take(end)
        # The end's own beginning may be the last that has come.
        length = len(self._rest) - len(self._until) + 1
        return self._take(length) if length > 0 else None

    def _tag(self, tag: re.Match[bytes]) -> bytes:
        name = tag[1].decode("latin-1").lower()
        if name in _RAW:
            self._until = b"</" + name.encode()
        wanted = _LINKS.get(name)
        if not wanted:
            return tag[0]
        attributes = _ATTRIBUTE.sub(lambda found: self._attribute(found, wanted), tag[2])
        return b"<" + tag[1] + attributes + b">"

    def _attribute(self, found: re.Match[bytes], wanted: set[str]) -> bytes:
        if found[1].decode("latin-1").lower() not in wanted:
            return found[0]
        value = found[3][1:-1] if found[3][:1] in b"\"'" else found[3]
        try:
            link = html.unescape(value.decode())
        except UnicodeDecodeError:
            return found[0]
        changed = self._rewrite(link)
        return found[0] if changed == link else found[1] + found[2] + b'"' + html.escape(changed).encode() + b'"'
