"""Small Parquet files as DuckDB writes them, with types that polars has none for."""

from __future__ import annotations

import base64
import zlib

FIRST = "00000000-0000-0000-0000-00000000000a"
SECOND = "12345678-9abc-def0-1234-56789abcdef0"

UUIDS = (
    "c-jka3^EjD5cLtY(Gg_<GT21f7#P$fm>3usSQr`17#SS6giOLJX6?E60Y(E=DTt~dDHpJTC}#wcjv&HGlu6RYltF"
    "?wr8GG^B`Ll*IU_YUQIv&2ln<ztNrFAIBsDiaGbQH@P_ZbFDw70jNoGk-swxA67>lHgq>dVcj3}R^D1#(isVI{ei"
    "&&mmoEnFXgaEpWBm@{x0hbtq1`(<R1sNn|fWBZ51$h8uDG%6Eh-<)BI*GZdrP)X@I!Q1(0u2SzsM^FfFp9CLafmH"
    "pWYExX0eaZQNueyYs5mn}Pod06&p^*mK_jU&GbcsCBE{Uo(9k5+(m+#EM}~m`h#0hh;S~Uk0|1^$Ns#"
)
"""item_id UUID, title VARCHAR; two rows: FIRST, SECOND."""

INTERVALS = (
    "c-noD-%7(U6vj_Vox9kEyGTf&7ZqHYLx&Z`3B6evf-q!w=}k%3h{67WuB+&^h!5by`8b}eunB@8oRgFD{m7SOF}?"
    "RGP?sK^P#YI5+5$KTEC8?x!6;3L|CLNl2(c5>(JzV551Zx(0mn$ppq7|l0`Dg4<#Q58tL2l*B&um=VDWujsVvgT0"
    "GfKQ(p9QV)uWtRy!|4}Qs&j`U<Aw-jtD$(Xh%>GTb5ePW+A)r+5smqCz8Q%lly%T4thfi=wk;qhitJs#6nJ{1~d6"
    "D*4toPFB|fmu(|g|Zg)!diThrgeG}xl)7*Eg^GcPqOrtn0iY$86Db~E37iA_>{ic%B+6O+Ip?Vg&wJKM-$ldyUd^"
    "YyoVZ7F9;!cvQiSJ*i>$77KH~`Ir2YliM{^k!6H%|x"
)
"""item_id VARCHAR, title VARCHAR, warranty INTERVAL; two rows: a and b."""

BASKETS = (
    "c-oCp-AV#M6h1RfCSsz&8D>Lbi(Cvuw6rYtLc<H8E~Ja-PSo9KY26}!=%NSk3A*S>BD(G|dV(%`g6PbOp+(Rz|8u"
    "^dIWw*LX$b+>a6ONlCQ*z6tQ0u_a2BDy69lyV!0;rGVis_$Ht49%Va$M;LWsjHsKr;yXLpY;Zy&RfqAzf74z@c7D"
    "{BcMm=>aj+_<lRT5(3bE2rBY^e)|g2L)gv%M}}C0V-TAc|*59AfHjF2qk=PFhs5omR;ZNyTMQcl4v6B=+L(3`0pX"
    "PCJC~eAi0q-Yzs1&Fc1u4MlQLuWzCA&DngeHI|;e(c{&Y7hHgMCM5Uog4Q)=%geGS4Gg0Cc@|npSt7)s$&$Or%ES"
    "5OQ{UhqP5&oAE7K9ciOrBd$%vM4pRG4hinp-V$%1=s$6_XPVxm<%@qH$!7-P?h89hl>tLa|UXbKQ~WJ7(3{ua-(>"
    "_n^3K*cpIng;(Ni(U1B914V4F"
)
"""u VARCHAR, items STRUCT(item_id UUID, n INTEGER)[]; one row with FIRST and SECOND."""


def parquet(text: str) -> bytes:
    """The bytes of one of these files."""
    return zlib.decompress(base64.b85decode(text))
