"""The one position of each prompt at which senders are replaced and receivers read."""

from __future__ import annotations

from dataclasses import dataclass

from factviz.analysis.outcomes import Prompts
from factviz.analysis.places import NAMES, positions, told
from factviz.analysis.topics import read_topics
from factviz.facts.checks import is_whole
from factviz.facts.errors import FactvizError
from factviz.facts.tokens import PromptTokens

Place = str | int


@dataclass(frozen=True)
class Spots:
    """A position for each prompt; ``several`` counts those where the name stands for more."""

    at: list[int]
    several: int

    def note(self, place: Place, tokens: list[PromptTokens]) -> str:
        """Which token of several is used."""
        if not self.several:
            return ""
        first = tokens[0].texts[self.at[0]]
        return (
            f"{told(place)} is several tokens in {self.several} of {len(self.at)} prompts: the "
            f"last of them is used (in the first prompt {first!r})"
        )


def spots(prompts: Prompts, place: Place) -> Spots:
    """The last position that a name stands for, in every prompt.

    Parameters
    ----------
    prompts : Prompts
    place
        "topic" (the fact's topic, its subject where none is given), a name of
        `factviz.analysis.places`, or a position (−1 is END).

    Raises
    ------
    FactvizError
        If the name is unknown, or a prompt has no such position.
    """
    if not isinstance(place, str) and not is_whole(place):
        raise FactvizError(f"at={place!r} names no position: 'topic', {', '.join(NAMES)}, or one "
                           "position as a number")  # fmt: skip
    if place == "topic":
        found = read_topics(prompts.model, prompts.facts).positions
    elif isinstance(place, str) and place not in NAMES:
        raise FactvizError(f"at={place!r} is unknown: 'topic', {', '.join(NAMES)}, or a position "
                           "as a number")  # fmt: skip
    else:
        found = [positions(fact, row, place) for fact, row in prompts.each()]
    return Spots([some[-1] for some in found], sum(len(some) > 1 for some in found))
