"""Closed lists of English words: what holds a sentence together, what judges, what explains.

Such words state nothing about an item, so they are no claims and no aspects.
"""

from __future__ import annotations

_FUNCTION = """
a an the this that these those some any each every all both no none not only own same such so than
too very just also more most much many few less least other another i me my mine myself we us our
ours ourselves you your yours yourself he him his himself she her hers herself it its itself they
them their theirs themselves one ones who whom whose which what someone anyone everyone something
anything everything and or but nor if because since as until while although though whether unless
whereas of at by for with without about against between into through during before after above
below to from up down in out on off over under again further then once here there when where why
how among amongst around across along within upon toward towards beside besides beyond despite per
via am is are was were be been being have has had having do does did doing done will would shall
should can could may might must ought cannot i'm you're he's she's it's we're they're i've you've
we've they've i'd you'd i'll you'll don't doesn't didn't isn't aren't wasn't weren't hasn't
haven't hadn't won't wouldn't can't couldn't that's there's let's really quite rather almost
always never ever often sometimes usually already yet still even well however therefore thus hence
moreover overall especially particularly including together
"""
_DETERMINERS = """
a an the this that these those its their his her my our your some any no great of and with for
such more most less very in on by
"""
_BE = "is are was were seems seem looks look feels feel makes make"
_OPINION = """
good great nice best better excellent amazing awesome fantastic wonderful perfect perfectly superb
outstanding exceptional fabulous terrific fine lovely incredible impressive remarkable bad worse
worst terrible awful poor horrible disappointing disappointed enjoyable delightful pleasant
satisfying satisfied satisfaction happy glad pleased worth worthy worthwhile favorite favourite
highly truly absolutely definitely certainly likely ideal suitable quality special new old first
big little whole lot bit kind sort way thing things
"""
_EXPLAINING = """
enjoy enjoys enjoyed enjoying love loves loved loving like likes liked liking appreciate
appreciates appreciated appreciating value values valued prefer prefers preferred preference
preferences want wants wanted need needs needed wish wishes seek seeks seeking look looks looked
looking search care cares cared interest interests interested interesting fan fans find finds
found finding choose chooses chose chosen choice pick picks picked buy buys bought buying purchase
purchases purchased get gets got getting take takes try tries tried visit visits visited give
gives gave given recommend recommends recommended recommendation suggest suggests suggested suit
suits suited match matches matched matching fit fits align aligns aligned provide provides
provided providing offer offers offered offering include includes included feature features
featured featuring make makes made making create creates created creating promise promises bring
brings keep keeps come comes coming know knows known see seen think say says help helps helped
leave leaves leaving add adds adding count counts list mean means serve become becomes ensure
ensures user users customer customers reader readers people person someone business item items
product products experience experiences experienced time times reason reasons expectation
expectations expect expects expected previous previously past history based thought believe
"""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


FUNCTION = _set(_FUNCTION)
DETERMINERS, BE = _set(_DETERMINERS), _set(_BE)
"""Words after which, and before which, a noun often stands."""
OPINION = _set(_OPINION)
"""Words that judge anything alike: they say how much it is liked, not what it is."""
EXPLAINING = _set(_EXPLAINING)
"""Words with which a recommendation is explained, whatever is recommended."""
FRAME = FUNCTION | OPINION | EXPLAINING
