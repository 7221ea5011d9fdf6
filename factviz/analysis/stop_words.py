"""English words that say nothing about a subject; what the attributes rate leaves out."""

from __future__ import annotations

STOP_WORDS = frozenset(
    """
    a about above after again against all also although always am among an and another any are
    around as at away back be became because been before behind being below between both but by
    came can cannot come could did do does doing done down during each either else even ever every
    few for from further get gets give given go goes gone got had has have having he her here hers
    herself him himself his how however i if in indeed instead into is it its itself just least
    less let like made make makes many may maybe me might mine more most much must my myself near
    neither never no nor not nothing now of off often on once one only onto or other others our
    ours ourselves out over own per perhaps quite rather really said same say says see seen several
    shall she should since so some something still such than that the their theirs them themselves
    then there therefore these they thing things this those though through thus to together too
    toward towards under until up upon us use used very via was way we well were what whatever when
    where whether which while who whole whom whose why will with within without would yet you your
    yours yourself yourselves don doesn didn isn wasn weren hasn haven hadn won wouldn couldn
    shouldn ain aren
    """.split()
)
