"""The one position of each prompt at which senders are replaced and receivers read."""

from __future__ import annotations

from dataclasses import dataclass

from factviz.analysis.outcomes import Prompts
from factviz.analysis.places import NAMES, positions, told
from factviz.analysis.positions import subject_positions
from factviz.facts.errors import FactvizError
from factviz.facts.fact import Fact
from factviz.facts.tokens import PromptTokens, encode_prompts
from factviz.models.factmodel import FactModel

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
    if isinstance(place, bool) or not isinstance(place, (str, int)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise FactvizError(f"at={place!r} names no position: 'topic', {', '.join(NAMES)}, or one "
                           "position as a number")  # fmt: skip
    if place == "topic":
        found = [topic_positions(prompts.model, *pair) for pair in prompts.each()]
    elif isinstance(place, str) and place not in NAMES:
        raise FactvizError(f"at={place!r} is unknown: 'topic', {', '.join(NAMES)}, or a position "
                           "as a number")  # fmt: skip
    else:
        found = [positions(fact, row, place) for fact, row in prompts.each()]
    return Spots([some[-1] for some in found], sum(len(some) > 1 for some in found))


def topic_positions(model: FactModel, fact: Fact, row: PromptTokens) -> tuple[int, ...]:
    """The tokens of a fact's topic word; those of its subject where no topic is named.

    Raises
    ------
    FactvizError
        If no token is one of the topic's.
    """
    if not fact.topic or fact.topic == fact.subject:
        found = subject_positions(fact, row)
    else:
        start = fact.prompt.rfind(fact.topic)
        stop = start + len(fact.topic)
        offsets = encode_prompts(model.tokenizer, [fact])[0][1]
        # A token's leading space does not count, as in the source groups.
        found = tuple(
            index + row.has_bos
            for index, (first, last) in enumerate(offsets)
            if last - len(fact.prompt[first:last].lstrip()) < stop and last > start
        )
    if not found:
        raise FactvizError(f"prompt {fact.prompt[:80]!r} has no token of its topic")
    return found
