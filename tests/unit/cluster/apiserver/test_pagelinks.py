"""Links in proxied pages."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.apiserver import pagelinks
from oarlock.cluster.apiserver.pagelinks import Page
from oarlock.cluster.apiserver.relaying import rewritten

PAGE = b"""<!DOCTYPE html><html><!-- <a href="/comment"> --><head><script src="/s.js">if (1 </a href="/no"/)
"<a href='/no'>"</script>
<link rel=stylesheet href=/style.css><title><a href="/title"></title></head>
<body background='/b.png'><A class="x>y" HREF = "/upper?a=1&amp;b=2#f">t</A><a href="relative">r</a>
<img src="//other/x.png" longdesc="/l"><p title="/not-a-link">1 < 2 && 3 > 2</p>
<form action=/go></form></body></html>"""
SEEN = b"""<!DOCTYPE html><html><!-- <a href="/comment"> --><head><script src="/p/s.js">if (1 </a href="/no"/)
"<a href='/no'>"</script>
<link rel=stylesheet href="/p/style.css"><title><a href="/title"></title></head>
<body background="/p/b.png"><A class="x>y" HREF = "/p/upper?a=1&amp;b=2#f">t</A><a href="relative">r</a>
<img src="//other/x.png" longdesc="/p/l"><p title="/not-a-link">1 < 2 && 3 > 2</p>
<form action="/p/go"></form></body></html>"""


def prefixed(link: str) -> str:
    return rewritten(link, "/p", ("", "backend:80"))


def in_pieces(text: bytes, size: int) -> list[bytes]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def shown(pieces: list[bytes], encoding: str = "") -> bytes:
    async def source() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def collect() -> bytes:
        return b"".join([piece async for piece in pagelinks.rewritten(source(), encoding, prefixed)])

    return asyncio.run(collect())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_links_change_and_nothing_else(size: int) -> None:
    assert shown(in_pieces(PAGE, size)) == SEEN


@pytest.mark.parametrize(
    ("encoding", "pack", "unpack"),
    [("gzip", gzip.compress, gzip.decompress), ("deflate", zlib.compress, zlib.decompress)],
)
def test_encoded_pages_stay_encoded(encoding: str, pack: object, unpack: object) -> None:
    assert callable(pack)
    assert callable(unpack)
    assert unpack(shown(in_pieces(pack(PAGE), 50), encoding)) == SEEN


def test_a_page_that_is_not_what_it_says_breaks_off() -> None:
    with pytest.raises(ConnectionError):
        shown([b"no gzip"], "gzip")


@given(
    st.lists(
        st.sampled_from(
            [b"<", b"a", b" href=", b'"', b"'", b"/x", b">", b"<!--", b"-->", b"<script>", b"</script", b"\xff"]
        )
    )
)
def test_any_text_passes_whole_in_any_pieces(words: list[bytes]) -> None:
    page = Page(lambda link: link)
    assert b"".join(page.feed(word) for word in words) + page.end() == b"".join(words)


def test_a_tag_without_end_is_not_kept_forever() -> None:
    page = Page(prefixed)
    decided = b"".join(page.feed(b'<a href="' if not turn else b"x" * 10_000) for turn in range(10))
    assert len(decided) > 20_000


@pytest.mark.parametrize(
    ("link", "seen"),
    [
        ("/x?q#f", "/p/x?q#f"),
        ("http://backend:80/x", "/p/x"),
        ("http://elsewhere/x", "http://elsewhere/x"),
        ("x/y", "x/y"),
        ("/p/x", "/p/x"),
        ("mailto:a@b", "mailto:a@b"),
        ("http://[broken/", "http://[broken/"),
    ],
)
def test_which_links_are_the_proxys(link: str, seen: str) -> None:
    assert prefixed(link) == seen
