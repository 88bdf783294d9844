"""The code in a call's arguments, while they arrive: in JSON, bare, or in a Markdown fence. Models write all three."""

import re
from typing import Final

import msgspec

from understudy.core.limits import CODE_HEAD_LENGTH_MAX

_KEYS: Final = ("code", "input", "python", "source", "script")
_JSON_BEGUN: Final = re.compile(rf'\s{{0,40}}\{{\s{{0,40}}"(?:{"|".join(_KEYS)})"\s{{0,40}}:\s{{0,40}}"')
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", '"': '"', "\\": "\\", "/": "/"}
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPE_BEGUN: Final = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_HIGH_HALF: Final = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z")
_FENCE: Final = re.compile(r"\s{0,40}```[^\n`]{0,100}\n")
_FENCE_BEGUN: Final = re.compile(r"\s*(?:`{1,2}|```[^\n]*(?:```\s*)?)?\Z")
_FENCE_ENDS: Final = re.compile(r"\n[ \t]*```")
_FENCE_MAY_END: Final = re.compile(r"\n[ \t]*`{0,2}\Z")
_ONE_LINE: Final = re.compile(r"\s*```(?:python |py )?([^\n]*?)(?:```)?\s*\Z")


class CodeInput:
    """However the arguments are cut into pieces, the same code comes out. What is handed out is never taken back."""

    def __init__(self) -> None:
        self._arguments: _Json | None = None
        self._head = ""  # of arguments whose form is not known yet
        self._rest: list[str] = []  # behind a head that is of no form that streams
        self._plain = False
        self._fence = _Fence()
        self._code: list[str] = []

    @property
    def code(self) -> str:
        """All that was handed out."""
        return "".join(self._code)

    def feed(self, piece: str) -> str:
        """More of the code."""
        return self._out(self._fence.feed(self._decoded(piece)))

    def finish(self) -> str:
        """What was held back. No piece follows."""
        rest = self._arguments.finish() if self._arguments is not None else _whole("".join((self._head, *self._rest)))
        self._head = ""
        self._rest.clear()
        return self._out(self._fence.feed(rest) + self._fence.finish())

    def _out(self, code: str) -> str:
        if code:
            self._code.append(code)
        return code

    def _decoded(self, piece: str) -> str:
        if self._plain:
            return piece
        if self._arguments is not None:
            return self._arguments.feed(piece)
        if len(self._head) > CODE_HEAD_LENGTH_MAX:
            self._rest.append(piece)
            return ""
        self._head += piece
        if (begun := _JSON_BEGUN.match(self._head)) is not None:
            self._arguments, head = _Json(), self._head
            return self._arguments.feed(head[begun.end() :])
        if self._head.lstrip()[:1] in ("", "{", '"'):
            return ""  # JSON of another form, or code that looks like it: the end will tell
        self._plain, head, self._head = True, self._head, ""
        return head


def read_code(arguments: str) -> str:
    """The code in arguments that are all there."""
    read = CodeInput()
    return read.feed(arguments) + read.finish()


def _whole(arguments: str) -> str:
    """The code of arguments that are JSON of a rarer form; the arguments themselves where they are not."""
    try:
        value = msgspec.json.decode(arguments, type=dict[str, msgspec.Raw] | str)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return arguments
    if isinstance(value, str):
        return value
    for key in _KEYS:
        if key in value:
            try:
                return msgspec.json.decode(value[key], type=str)
            except msgspec.MsgspecError:
                continue
    return arguments


class _Json:
    """The rest of a JSON string. Line breaks and escapes that JSON does not allow are read as what was meant."""

    def __init__(self) -> None:
        self._held = ""
        self._ended = False

    def feed(self, piece: str) -> str:
        if self._ended:
            return ""
        text = self._held + piece
        begun = _HIGH_HALF.search(text) or _ESCAPE_BEGUN.search(text)
        # An odd number of backslashes begins an escape, an even one is backslashes.
        if begun is not None and (len(text[: begun.start()]) - len(text[: begun.start()].rstrip("\\"))) % 2 == 0:
            self._held, text = text[begun.start() :], text[: begun.start()]
        else:
            self._held = ""
        return self._unescaped(text)

    def finish(self) -> str:
        held, self._held = self._held, ""
        return "" if self._ended else self._unescaped(held)

    def _unescaped(self, text: str) -> str:
        decoded: list[str] = []
        at = 0
        while at < len(text):
            if text[at] == '"':
                self._ended, self._held = True, ""
                break
            if text[at] == "\\" and (escape := _ESCAPE.match(text, at)) is not None:
                decoded.append(chr(int(escape[1], 16)) if escape[1] else _ESCAPES.get(escape[2], escape[0]))
                at = escape.end()
            else:
                end = min((place for mark in '"\\' if (place := text.find(mark, at + 1)) >= 0), default=len(text))
                decoded.append(text[at:end])
                at = end
        return _joined("".join(decoded))


def _joined(text: str) -> str:
    """With the halves of pairs that JSON writes apart put together; a half alone becomes a question mark."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Fence:
    """What stands in a Markdown fence, or the text as it is when it does not begin with one."""

    def __init__(self) -> None:
        self._held = ""
        self._state = "unknown"

    def feed(self, text: str) -> str:
        if self._state == "plain":
            return text
        if self._state == "ended":
            return ""
        self._held += text
        if self._state == "unknown":
            if (fence := _FENCE.match(self._held)) is not None:
                self._state = "first line"
                self._held = self._held[fence.end() - 1 :]  # with its line break, behind which the fence may end
            elif len(self._held) <= CODE_HEAD_LENGTH_MAX and _FENCE_BEGUN.match(self._held):
                return ""
            else:
                self._state = "plain"
                return self._taken(len(self._held))
        return self._inside()

    def finish(self) -> str:
        if self._state == "ended":
            return ""
        if self._state == "unknown" and "```" in self._held:
            one_line = _ONE_LINE.match(self._held)
            return self._held if one_line is None else one_line[1]
        return "" if self._state == "first line" and not self._held.strip() else self._taken(len(self._held))

    def _inside(self) -> str:
        if (end := _FENCE_ENDS.search(self._held)) is not None:
            code = self._taken(end.start())
            self._state = "ended"
            return code
        may_end = _FENCE_MAY_END.search(self._held)
        return self._taken(len(self._held) if may_end is None else may_end.start())

    def _taken(self, length: int) -> str:
        code, self._held = self._held[:length], self._held[length:]
        if self._state == "first line" and code:
            self._state, code = "inside", code[1:]
        return code
