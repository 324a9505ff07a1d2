"""Rewriting the links of an HTML page while it streams through.

The tokenizer follows the HTML standard (13.2.5) where it matters for finding tags and attributes: comments, raw text
elements, scripts with their escaped states, the three ways to write a value. It works on bytes, so on every charset in
which ASCII is ASCII, and repairs nothing: apart from the values of link attributes the page leaves as it came.

The page may come in pieces of any size; the output does not depend on where it was cut. What is held back between
pieces is never more than the beginning of one link, or a few bytes that may become a ``<!--`` or an end tag.
"""

from __future__ import annotations

import re
from collections.abc import Callable

#: A link is rewritten by its first part; more of a value is not held back (pictures are inlined as long values).
LINK_HEAD_BYTES = 4096

#: Which attributes hold a link, by element.
LINK_ATTRIBUTES: dict[bytes, frozenset[bytes]] = {
    element: frozenset(attributes.split())
    for element, attributes in {
        b"a": b"href",
        b"applet": b"codebase",
        b"area": b"href",
        b"audio": b"src",
        b"base": b"href",
        b"blockquote": b"cite",
        b"body": b"background",
        b"button": b"formaction",
        b"command": b"icon",
        b"del": b"cite",
        b"embed": b"src",
        b"form": b"action",
        b"frame": b"longdesc src",
        b"head": b"profile",
        b"html": b"manifest",
        b"iframe": b"longdesc src",
        b"img": b"longdesc src usemap",
        b"input": b"formaction src usemap",
        b"ins": b"cite",
        b"link": b"href",
        b"object": b"classid codebase data usemap",
        b"q": b"cite",
        b"script": b"src",
        b"source": b"src",
        b"video": b"poster src",
    }.items()
}

_NONE: frozenset[bytes] = frozenset()
#: Longer names are of no element or attribute that matters here.
_LONGEST_NAME = 16

# Elements whose content is text up to their end tag.
_RAW_TEXT = {
    name: re.compile(rb"</" + name + rb"(?=[\t\n\f\r />])", re.IGNORECASE)
    for name in (b"style", b"textarea", b"title", b"xmp", b"iframe", b"noembed", b"noframes")
}
_LONGEST_END_TAG = len(b"</textarea")
# In a script also what opens and closes its escaped states (13.2.5.18 and on).
_IN_SCRIPT = re.compile(rb"<!--|-->|<(/?)script(?=[\t\n\f\r />])", re.IGNORECASE)
# In these neither scripts nor styles are raw text, and there is CDATA.
_FOREIGN = frozenset({b"svg", b"math"})
_CDATA = b"<![CDATA["

_LETTER = frozenset(bytes((c,)) for c in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_NAME_END = re.compile(rb"[\t\n\f\r />]")
_ATTRIBUTE_NAME_END = re.compile(rb"[\t\n\f\r />=]")
_NOT_BETWEEN = re.compile(rb"[^\t\n\f\r /]")
_NOT_SPACE = re.compile(rb"[^\t\n\f\r ]")
_DOUBLE_QUOTE = re.compile(rb'"')
_SINGLE_QUOTE = re.compile(rb"'")
_UNQUOTED_END = re.compile(rb"[\t\n\f\r >]")
_COMMENT_END = re.compile(rb"--!?>")

# Whole tags as nearly all are written. What may follow each repetition cannot be part of it, so there is one way to
# match and nothing to try again; possessive repetition would say the same, but is wrong in CPython before 3.11.3.
_NEAT_NAME = rb"[A-Za-z][A-Za-z0-9]{0,14}(?=[\t\n\f\r />])"
_NEAT_REST = rb"(?:[\t\n\f\r ]+[A-Za-z][A-Za-z0-9_:.@-]*(?:=\"[^\"]*\")?(?=[\t\n\f\r />]))*"
_NEAT_TAG = re.compile(rb"<(/?)(%b)(%b)[\t\n\f\r ]*(/?)>" % (_NEAT_NAME, _NEAT_REST))
_NEAT_ATTRIBUTE = re.compile(rb"[\t\n\f\r ]+([A-Za-z][A-Za-z0-9_:.@-]*)(?:=\"([^\"]*)\")?")
# Text, and such tags that change nothing: most of a page, passed in one go.
_DULL = re.compile(
    rb"(?:[^<]+(?=<|\Z)|<(?:/(?!(?i:%b)[\t\n\f\r />])|(?!(?i:%b)[\t\n\f\r />]))%b%b[\t\n\f\r ]*/?>)*"
    % (
        b"|".join(sorted(_FOREIGN)),
        b"|".join(sorted({*LINK_ATTRIBUTES, *_RAW_TEXT, *_FOREIGN, b"script", b"plaintext"})),
        _NEAT_NAME,
        _NEAT_REST,
    )
)


class HtmlRewriter:
    """Feeds a page through ``link``, which is given each value of a link attribute and returns the one to send.

    ``link`` is given at most the first :data:`LINK_HEAD_BYTES` bytes of a value.
    """

    __slots__ = (
        "_closing",
        "_copied",
        "_escaped",
        "_foreign",
        "_held",
        "_link",
        "_links",
        "_name",
        "_out",
        "_raw_end",
        "_slash",
        "_step",
        "_tag",
        "_value_end",
    )

    def __init__(self, link: Callable[[bytes], bytes]) -> None:
        self._link = link
        self._held = b""
        self._out: list[bytes] = []
        #: Up to where the buffer has been copied to the output.
        self._copied = 0
        # Unbound, so that a page leaves no reference cycle behind.
        self._step: _Step = HtmlRewriter._text
        self._tag = b""
        self._closing = False
        self._slash = False
        self._links = _NONE
        self._name = b""
        self._value_end = _UNQUOTED_END
        self._raw_end = _COMMENT_END
        #: In a script: 0, 1 after "<!--" (escaped), 2 after another "<script" (double escaped).
        self._escaped = 0
        self._foreign = 0

    def feed(self, data: bytes) -> bytes:
        """Take the next piece of the page; what of it can be sent."""
        buffer = self._held + data if self._held else data
        self._copied = 0
        position = 0
        length = len(buffer)
        while position < length:
            reached = self._step(self, buffer, position)
            if reached < 0:
                break
            position = reached
        out, self._out = self._out, []
        out.append(buffer[self._copied : position])
        self._held = buffer[position:]
        return b"".join(out)

    def end(self) -> bytes:
        """The page is over, perhaps in the middle of a tag: what was held back, as it came."""
        held, self._held = self._held, b""
        return held

    def _text(self, buffer: bytes, position: int) -> int:
        dull = _DULL.match(buffer, position)
        start = position if dull is None else dull.end()
        if start == len(buffer):
            return start
        neat = _NEAT_TAG.match(buffer, start)
        if neat is not None:
            return self._neat_tag(neat)
        rest = buffer[start : start + len(_CDATA)]
        second, third = rest[1:2], rest[2:3]
        if second in _LETTER:
            return self._tag_opened(False, start + 1)
        if second == b"/" and third in _LETTER:
            return self._tag_opened(True, start + 2)
        if rest.startswith(b"<!--"):
            self._step = HtmlRewriter._comment_start
            return start + 4
        if self._foreign and rest == _CDATA:
            self._step = HtmlRewriter._cdata
            return start + len(_CDATA)
        if rest in (b"<", b"</", b"<!", b"<!-") or (self._foreign and _CDATA.startswith(rest)):
            return start if start > position else -1
        if second in (b"!", b"?", b"/"):
            self._step = HtmlRewriter._bogus_comment
            return start + 2
        return start + 1

    def _comment_start(self, buffer: bytes, position: int) -> int:
        if buffer.startswith((b">", b"->"), position):
            self._step = HtmlRewriter._text
            return buffer.index(b">", position) + 1
        if buffer[position:] == b"-":
            return -1
        self._step = HtmlRewriter._comment
        return position

    def _comment(self, buffer: bytes, position: int) -> int:
        match = _COMMENT_END.search(buffer, position)
        if match is not None:
            self._step = HtmlRewriter._text
            return match.end()
        return _all_but_tail(buffer, position, (b"--!", b"--", b"-"))

    def _cdata(self, buffer: bytes, position: int) -> int:
        end = buffer.find(b"]]>", position)
        if end >= 0:
            self._step = HtmlRewriter._text
            return end + 3
        return _all_but_tail(buffer, position, (b"]]", b"]"))

    def _bogus_comment(self, buffer: bytes, position: int) -> int:
        end = buffer.find(b">", position)
        if end < 0:
            return len(buffer)
        self._step = HtmlRewriter._text
        return end + 1

    def _plaintext(self, buffer: bytes, position: int) -> int:
        return len(buffer)

    def _raw_text(self, buffer: bytes, position: int) -> int:
        match = self._raw_end.search(buffer, position)
        if match is not None:
            self._step = HtmlRewriter._text
            return match.start()
        start = buffer.rfind(b"<", max(position, len(buffer) - _LONGEST_END_TAG))
        if start < 0:
            return len(buffer)
        return start if start > position else -1

    def _script(self, buffer: bytes, position: int) -> int:
        match = _IN_SCRIPT.search(buffer, position)
        if match is None:
            start = buffer.rfind(b"<", max(position, len(buffer) - len(b"</script")))
            reached = _all_but_tail(buffer, position, (b"--", b"-"))
            if start >= 0 and start < reached:
                reached = start
            return reached if reached > position else -1
        token = match[0]
        if token == b"<!--":
            if self._escaped == 0:
                self._escaped = 1
            # Its dashes may be those of a "-->".
            return match.start() + 2
        if token == b"-->":
            self._escaped = 0
        elif not match[1]:
            if self._escaped == 1:
                self._escaped = 2
        elif self._escaped == 2:
            self._escaped = 1
        else:
            self._step = HtmlRewriter._text
            return match.start()
        return match.end()

    def _tag_opened(self, closing: bool, position: int) -> int:
        self._closing = closing
        self._slash = False
        self._tag = b""
        self._step = HtmlRewriter._tag_name
        return position

    def _tag_name(self, buffer: bytes, position: int) -> int:
        match = _NAME_END.search(buffer, position)
        end = len(buffer) if match is None else match.start()
        if len(self._tag) <= _LONGEST_NAME:
            self._tag += buffer[position : min(end, position + _LONGEST_NAME + 1)]
        if match is not None:
            self._tag = self._tag.lower()
            self._links = _NONE if self._closing else LINK_ATTRIBUTES.get(self._tag, _NONE)
            self._step = HtmlRewriter._between_attributes
        return end

    def _between_attributes(self, buffer: bytes, position: int) -> int:
        match = _NOT_BETWEEN.search(buffer, position)
        end = len(buffer) if match is None else match.start()
        if end > position:
            self._slash = buffer[end - 1] == 0x2F
        if match is None:
            return end
        if match[0] == b">":
            return self._tag_done(end + 1)
        # Whatever comes first belongs to the name, also a "=".
        self._slash = False
        self._name = match[0]
        self._step = HtmlRewriter._attribute_name
        return end + 1

    def _attribute_name(self, buffer: bytes, position: int) -> int:
        match = _ATTRIBUTE_NAME_END.search(buffer, position)
        end = len(buffer) if match is None else match.start()
        if len(self._name) <= _LONGEST_NAME:
            self._name += buffer[position : min(end, position + _LONGEST_NAME + 1)]
        if match is not None:
            self._step = HtmlRewriter._after_name
        return end

    def _after_name(self, buffer: bytes, position: int) -> int:
        match = _NOT_SPACE.search(buffer, position)
        if match is None:
            return len(buffer)
        if match[0] == b"=":
            self._step = HtmlRewriter._before_value
            return match.end()
        self._step = HtmlRewriter._between_attributes
        return match.start()

    def _before_value(self, buffer: bytes, position: int) -> int:
        match = _NOT_SPACE.search(buffer, position)
        if match is None:
            return len(buffer)
        if match[0] == b">":
            return self._tag_done(match.end())
        self._step = HtmlRewriter._link_value if self._name.lower() in self._links else HtmlRewriter._value
        if match[0] == b'"':
            self._value_end = _DOUBLE_QUOTE
        elif match[0] == b"'":
            self._value_end = _SINGLE_QUOTE
        else:
            self._value_end = _UNQUOTED_END
            return match.start()
        return match.end()

    def _link_value(self, buffer: bytes, position: int) -> int:
        match = self._value_end.search(buffer, position)
        end = len(buffer) if match is None else match.start()
        if match is None and end - position < LINK_HEAD_BYTES:
            return -1
        self._step = HtmlRewriter._value
        return self._rewrite(buffer, position, end)

    def _value(self, buffer: bytes, position: int) -> int:
        match = self._value_end.search(buffer, position)
        if match is None:
            return len(buffer)
        self._step = HtmlRewriter._between_attributes
        return match.start() if self._value_end is _UNQUOTED_END else match.end()

    def _tag_done(self, position: int) -> int:
        tag = self._tag
        self._step = HtmlRewriter._text
        if tag in _FOREIGN:
            if self._closing:
                self._foreign = max(0, self._foreign - 1)
            elif not self._slash:
                self._foreign += 1
        elif self._foreign or self._closing:
            pass  # Elements of SVG and MathML have no raw text, whatever they are called.
        elif tag == b"script":
            self._escaped = 0
            self._step = HtmlRewriter._script
        elif tag in _RAW_TEXT:
            self._raw_end = _RAW_TEXT[tag]
            self._step = HtmlRewriter._raw_text
        elif tag == b"plaintext":
            self._step = HtmlRewriter._plaintext
        return position

    def _neat_tag(self, match: re.Match[bytes]) -> int:
        self._closing = bool(match[1])
        self._slash = bool(match[4])
        self._tag = match[2].lower()
        if not self._closing and match[3]:
            links = LINK_ATTRIBUTES.get(self._tag)
            if links is not None:
                for attribute in _NEAT_ATTRIBUTE.finditer(match.string, match.start(3), match.end(3)):
                    if attribute[2] is not None and attribute[1].lower() in links:
                        self._rewrite(match.string, attribute.start(2), attribute.end(2))
        return self._tag_done(match.end())

    def _rewrite(self, buffer: bytes, start: int, end: int) -> int:
        """Put the rewritten head of the value from ``start`` to ``end`` out; where it ends."""
        end = min(end, start + LINK_HEAD_BYTES)
        value = buffer[start:end]
        rewritten = self._link(value)
        if rewritten != value:
            self._out += (buffer[self._copied : start], rewritten)
            self._copied = end
        return end


#: A step of the tokenizer: from a buffer and a position to the position it has come to, or -1 to wait for more.
_Step = Callable[[HtmlRewriter, bytes, int], int]


def _all_but_tail(buffer: bytes, position: int, tails: tuple[bytes, ...]) -> int:
    """The end of ``buffer`` without the first of ``tails`` that it ends in; -1 if that leaves nothing."""
    end = len(buffer)
    for tail in tails:
        if buffer.endswith(tail):
            end = max(position, end - len(tail))
            break
    return end if end > position else -1
