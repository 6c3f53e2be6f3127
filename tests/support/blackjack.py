"""
Blackjack-v1 as a table, by the rules of Sutton and Barto (example 5.1) and without a line of gymnasium: cards come from
an endless deck. A natural is a state of its own: it wins against a 21 of three cards, and looks like any other 21.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from sb3_ext.planning import Outcomes, TabularMDP

CARDS = {card: 4 / 13 if card == 10 else 1 / 13 for card in range(1, 11)}
SHAPE = (32, 11, 2)
STICK, HIT = 0, 1


class Hand(NamedTuple):
    """What a player sees of the own cards, and whether they are an ace and a ten."""

    total: int
    usable_ace: bool
    natural: bool = False


def with_card(hand: Hand, card: int) -> Hand:
    """:return: the hand with one more card; more than 21 is bust"""
    total, ace = hand.total + card, hand.usable_ace
    if card == 1 and not ace and total + 10 <= 21:
        total, ace = total + 10, True
    if total > 21 and ace:
        total, ace = total - 10, False
    return Hand(total, ace)


def dealt(card: int) -> Hand:
    """:return: a hand of one card"""
    return with_card(Hand(0, False), card)


def both(first: int, second: int) -> Hand:
    """:return: a hand of two cards"""
    return with_card(dealt(first), second)._replace(natural={first, second} == {1, 10})


def dealers_end(shown: int) -> dict[Hand, float]:
    """:return: the hand that the dealer ends with -> its probability"""
    ends: dict[Hand, float] = defaultdict(float)
    open_hands = [(both(shown, card), chance) for card, chance in CARDS.items()]
    while open_hands:
        hand, chance = open_hands.pop()
        if hand.total >= 17:
            ends[hand] += chance
        else:
            open_hands += [(with_card(hand, card), chance * of_card) for card, of_card in CARDS.items()]
    return ends


def paid(mine: Hand, dealers: Hand) -> float:
    """:return: reward of sticking"""
    if mine.natural and not dealers.natural:
        return 1.0
    return float(np.sign(mine.total - (dealers.total if dealers.total <= 21 else 0)))


def number(hand: Hand, shown: int) -> int:
    """:return: of the state: naturals come behind all that can be seen"""
    if hand.natural:
        return int(np.prod(SHAPE)) + shown
    return int(np.ravel_multi_index((hand.total, shown, int(hand.usable_ace)), SHAPE))


def seen(states: np.ndarray) -> np.ndarray:
    """:return: [n, 3] what the player sees there"""
    n_seen = int(np.prod(SHAPE))
    twenty_ones = np.ravel_multi_index((np.full(states.shape, 21), (states - n_seen).clip(min=0), 1), SHAPE)
    looks_like = np.where(states < n_seen, states, twenty_ones)
    return np.stack(np.unravel_index(looks_like, SHAPE), axis=1)


def blackjack() -> TabularMDP:
    """:return: the game with gamma 1; what cannot be reached pays nothing and ends"""
    n_states = int(np.prod(SHAPE)) + SHAPE[1]
    start = np.zeros(n_states)
    rows: list[tuple[int, int, float, float, bool]] = []  # row, next, probability, reward, terminated
    hands = {both(a, b) for a in CARDS for b in CARDS}
    hands |= {Hand(total, ace) for total in range(4, 22) for ace in (False, True) if total >= 12 or not ace}
    for shown, of_shown in CARDS.items():
        for a, chance_a in CARDS.items():
            for b, chance_b in CARDS.items():
                start[number(both(a, b), shown)] += of_shown * chance_a * chance_b
        for hand in hands:
            state = number(hand, shown)
            for end, chance in dealers_end(shown).items():
                rows.append((2 * state + STICK, state, chance, paid(hand, end), True))
            for card, chance in CARDS.items():
                after = with_card(hand, card)
                bust = after.total > 21
                rows.append((2 * state + HIT, state if bust else number(after, shown), chance, -float(bust), bust))
    known = {row for row, *_ in rows}
    rows += [(row, row // 2, 1.0, 0.0, True) for row in range(2 * n_states) if row not in known]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return TabularMDP(Outcomes(*columns), n_states, 2, start, 1.0)
