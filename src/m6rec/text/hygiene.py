"""What may stand in a text: nothing unseen, no halves of characters, no markup, single spaces."""

from __future__ import annotations

import html
import re

BLOCK_TAGS = (
    "address|article|aside|blockquote|br|caption|center|dd|div|dl|dt|fieldset|figcaption|"
    "figure|footer|form|h[1-6]|header|hr|iframe|img|input|legend|li|main|nav|object|ol|option|"
    "p|pre|section|select|table|tbody|td|textarea|tfoot|th|thead|title|tr|ul|video"
)
INLINE_TAGS = (
    "a|abbr|acronym|b|bdi|bdo|big|body|cite|code|del|dfn|em|font|head|html|i|ins|kbd|label|"
    "link|mark|meta|q|s|samp|small|span|strike|strong|sub|sup|time|tt|u|var|wbr"
)

READ_AHEAD = 4
"""How many times the characters wanted are read, since markup and spaces go."""
UNREADABLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
"""Control characters that are not white space, soft hyphens, zero-width spaces, marks that turn the
direction of writing, halves of surrogate pairs. The joiners U+200C and U+200D stay: Persian, the
scripts of India and emoji are spelt with them."""
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
NOT_TEXT = re.compile(r"<(script|style)\b[^<>]*>.*?</\1\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL)
TAG = re.compile(rf"</?(?:({BLOCK_TAGS})|{INLINE_TAGS})(?=[\s/>])[^<>]*>", re.IGNORECASE)
"""Group 1 is there for tags that stand between words."""


def clean(text: str, limit: int | None = None) -> str:
    """Readable text with single spaces, at most `limit` characters."""
    if UNREADABLE.search(text):
        text = UNREADABLE.sub("", text)
    return " ".join(text.split())[:limit].rstrip()


def clean_markup(text: str, limit: int) -> str:
    """`clean` for a field that may hold HTML: entities become characters, tags go.

    Only the names of real tags count, so that "a < b" and "<3" stay as they are. Of a very long
    text only the first READ_AHEAD · `limit` characters are looked at.
    """
    text = text[: READ_AHEAD * limit]
    if "&" in text:
        text = ENTITY.sub(lambda match: html.unescape(match[0]), text)
    if "<" in text:
        text = TAG.sub(_in_place_of_tag, NOT_TEXT.sub(" ", text))
    return clean(text, limit)


def _in_place_of_tag(match: re.Match[str]) -> str:
    return " " if match[1] else ""
