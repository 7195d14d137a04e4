"""Text as it is written: pieces that are certain, and an end where a stop string appears."""

from __future__ import annotations

from collections.abc import Sequence

from m6rec.text.tokenizer import Tokenizer

UNSURE = "\ufffd"
"""What a character decodes to while some of its bytes are still to come."""


class Flow:
    """One text, token by token.

    Whatever may be the beginning of a stop string is held back until it is known not to be; the
    text ends before the first stop string. text: all that was given out.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._reader = tokenizer.reader() or _Decoder(tokenizer)
        self._stop, self._open = tuple(stop), ""
        self._given = list[str]()
        self.stopped = False

    @property
    def text(self) -> str:
        """What was given out so far."""
        return "".join(self._given)

    def push(self, token: int) -> str:
        """Text that is certain after one more written id; often ""."""
        return self._take(self._reader.push(token), last=False)

    def finish(self) -> str:
        """What is left at the end."""
        return self._take(self._reader.finish(), last=True)

    def _take(self, more: str, last: bool) -> str:
        if self.stopped:
            return ""
        self._open += more
        found = [at for at in (self._open.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped = True
            return self._give(min(found))
        return self._give(len(self._open) - (0 if last else self._doubtful()))

    def _doubtful(self) -> int:
        """Characters at the end that a stop string may have begun with."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for size in range(min(longest, len(self._open)), 0, -1):
            if any(stop.startswith(self._open[-size:]) for stop in self._stop):
                return size
        return 0

    def _give(self, size: int) -> str:
        out, self._open = self._open[:size], self._open[size:]
        if out:
            self._given.append(out)
        return out


class _Decoder:
    """The same for a vocabulary without markers: what decodes to the same from here on."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids, self._given = list[int](), ""

    def push(self, token: int) -> str:
        """All but the last word, which may still grow."""
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids)
        return self._give(text[: text.rfind(" ")] if " " in text else "")

    def finish(self) -> str:
        """The rest."""
        return self._give(self._tokenizer.decode(self._ids))

    def _give(self, text: str) -> str:
        if not text.startswith(self._given) or text.endswith(UNSURE):
            return ""
        out, self._given = text[len(self._given) :], text
        return out
