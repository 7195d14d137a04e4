"""Words by which a dialogue is understood: yes and no, goodbye, what is wanted. English."""

from __future__ import annotations

import re

from m6rec.text.aspects import stem

ROLE = re.compile(r"(?:^|(?<=\s))(?:system|user|assistant)\s*:\s*", re.IGNORECASE)
CLAUSE = re.compile(r"[.!?;]+\s+|,?\s+but\s+|,\s+(?=(?:and\s+)?i\s)|\n", re.IGNORECASE)
NEUTRAL = re.compile(
    r"\b(?:haven['’]?t|have not|never|not|didn['’]?t|did not)\s+(?:\w+\s+)?(?:seen|see|watched|"
    r"heard|tried|read)\b|\bnot bad\b|\bno (?:problem|worries)\b|\bcan['’]?t wait\b|"
    r"\bdon['’]?t mind\b|\bwhy not\b|\bnot only\b",
    re.IGNORECASE,
)
NO = re.compile(
    r"\b(?:no|nope|nah|not|never|don['’]?t|didn['’]?t|doesn['’]?t|wasn['’]?t|isn['’]?t|hat(?:e|ed|es)|"
    r"dislik(?:e|ed|es)|awful|terrible|boring|bad|worst|sick of|except|other than|too \w+)\b",
    re.IGNORECASE,
)
ELSE = re.compile(r"\b(?:else|another|different|other)\b", re.IGNORECASE)
YES = re.compile(
    r"\b(?:yes|yeah|yep|lov(?:e|ed)|lik(?:e|ed)|great|perfect|awesome|excellent|sounds? (?:good|"
    r"great|fun|nice|interesting)|i['’]?ll (?:take|try|watch|buy|get|check)|enjoy(?:ed)?)\b",
    re.IGNORECASE,
)
KNOWN = re.compile(r"\b(?:seen|watched|already|own|have (?:it|that|one))\b", re.IGNORECASE)
ABUSE = re.compile(
    r"\b(?:fuck\w*|shit(?:ty|head)?|bitch\w*|cunt\w*|asshole\w*|bastards?|wankers?|dickheads?|"
    r"whores?|sluts?|morons?|kill yourself|"
    r"(?:you are|you|ur|you['’]re|u r)\s+(?:an?\s+|so\s+|such an?\s+)?"
    r"(?:stupid|idiots?|dumb|useless|worthless|trash|garbage))\b",
    re.IGNORECASE,
)
LEAVE = re.compile(
    r"\b(?:bye|goodbye|good night|see you|that(?:['’]s| is| would be) all|"
    r"have a (?:good|great|nice)|thanks|thank you|thx)\b",
    re.IGNORECASE,
)
GREETING = re.compile(
    r"^\W*(?:hi+|hello|hey+|good (?:morning|day|evening|afternoon)|howdy|greetings)\b",
    re.IGNORECASE,
)
RETURN = re.compile(
    r"\b(?:remind me|go back to|the (?:first|last|previous) one|what (?:was|were) (?:the|that|it)|"
    r"(?:you|u) (?:said|mentioned|suggested|recommended|told me)|(?:say|tell me) (?:that |it )?"
    r"again|which ones? (?:was|were|did))\b",
    re.IGNORECASE,
)
WANT = re.compile(
    r"\b(?:want\w*|need\w*|look\w*|recommend\w*|suggest\w*|find\w*|any|anything|something|some|"
    r"prefer\w*|watch\w*|buy\w*|gift\w*|present|like\w*|love\w*|enjoy\w*|fan|into|search\w*|try|"
    r"interested|favou?rite\w*|mood|about|more)\b",
    re.IGNORECASE,
)
_GENERIC = """
want need look looking recommend recommendation recommendations suggest suggestion find something
anything some any prefer watch buy gift present like love enjoy fan search try interested favorite
favourite mood movie movies film films item items product products thing things stuff good great
nice new hi hello hey thanks please help know tell
"""
GENERIC = frozenset(stem(word) for word in _GENERIC.split())
"""Words that say that something is wanted, and not what."""
ASKED = re.compile(
    r"\b(?:want|need|looking for|buy|do you have|get|give me|show me)\s+"
    r"(?:(?:an?|the|some|my)\s+)?$",
    re.IGNORECASE,
)
"""What stands before a title that is itself wished for."""
