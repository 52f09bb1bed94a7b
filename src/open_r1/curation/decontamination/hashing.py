# SPDX-License-Identifier: Apache-2.0
"""Words and their n-grams as 64-bit hashes, by numpy, 64 KiB of text at a time.

Nothing is copied out of Arrow's buffer but the block at work. The hash of a word is a difference of two prefix sums of
`byte * B**position`, the hash of an n-gram a difference of two prefix sums of `word * C**position`, both divided by
the power where they start; so that any n costs the same. Sums and powers are modulo 2**64, where odd numbers have
inverses. Equal words always have equal hashes; whoever finds equal hashes compares the words.

Axes: N bytes, T words of all rows of the block, R rows.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from open_r1.curation.decontamination.commands import ALIASES, IGNORED
from open_r1.curation.decontamination.normalization import NormalizationName

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]

BLOCK_BYTES = 1 << 16  # with its arrays of 64-bit numbers it stays in the second-level cache

_BYTE_BASE = 0x9E3779B97F4A7C15
_WORD_BASE = 0xD6E8FEB86659FD93
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_COMMAND = np.uint64(0x2545F4914F6CDD1D)
_BACKSLASH = 92


@dataclass(frozen=True)
class Words:
    """The words of a block of rows.

    `start_T` and `end_T` are byte positions in the block, of a command with its backslash. `first_R` has one more than
    R entries: the words of row r are `first_R[r]` up to `first_R[r + 1]`.
    """

    start_T: Positions
    end_T: Positions
    first_R: Positions
    sums_T: Hashes
    inverses_T: Hashes

    def windows(self, n: int) -> Hashes:
        """Return the hash of each n words that follow another, also of those that reach into the next row."""
        count = max(len(self.start_T) - n + 1, 0)
        return mixed((self.sums_T[n : n + count] - self.sums_T[:count]) * self.inverses_T[:count])

    def windows_at(self, first: Positions, n: int) -> Hashes:
        """Return the hashes of the n words from each of these; `first + n` must not pass the last word."""
        return mixed((self.sums_T[first + n] - self.sums_T[first]) * self.inverses_T[first])


def mixed(hashes: Hashes) -> Hashes:
    """Return hashes all of whose bits depend on all bits of the given ones."""
    hashes = (hashes ^ (hashes >> np.uint64(32))) * _MIX
    return hashes ^ (hashes >> np.uint64(29))


def find_words(text_N: Bytes, offsets_R: Positions, normalization: NormalizationName) -> Words:
    """Return the words of rows that lie one behind another in a block.

    Args:
        text_N: Folded text (`normalization.fold`) in UTF-8.
        offsets_R: Where each row starts, and where the last one ends: R + 1 positions from 0 to N.
        normalization: `none` or `default`.
    """
    upper_N = (text_N - 65) < 26
    lower_N: Bytes = np.bitwise_or(text_N, upper_N.view(np.uint8) << 5, dtype=np.uint8)
    if normalization == "none":
        kind_N = ((lower_N - 9) >= 5) & ((lower_N - 28) >= 5)  # no \t\n\v\f\r, no \x1c-\x1f, no space
    else:
        letter_N = ((lower_N - 97) < 26) | (lower_N >= 128)
        kind_N = letter_N.view(np.uint8) | (((lower_N - 48) < 10).view(np.uint8) << 1)
    start_T, end_T = _runs(kind_N, offsets_R)
    word_T = _word_hashes(lower_N, start_T, end_T)
    if normalization == "default":
        start_T, end_T, word_T = _read_commands(lower_N, offsets_R, start_T, end_T, word_T)
    first_R = np.searchsorted(start_T, offsets_R)
    powers, inverses = _powers(_WORD_BASE, _size_class(len(start_T)))
    sums_T = np.zeros(len(start_T) + 1, np.uint64)
    np.cumsum(word_T * powers[: len(start_T)], out=sums_T[1:])
    return Words(start_T, end_T, first_R, sums_T, inverses)


def _runs(kind_N: NDArray, offsets_R: Positions) -> tuple[Positions, Positions]:
    """Return where runs of one kind start and end; kind 0 separates, and no run reaches into another row."""
    size = len(kind_N)
    change_N = np.ones(size + 1, bool)
    np.not_equal(kind_N[1:], kind_N[:-1], out=change_N[1:size])
    change_N[offsets_R] = True
    edges = np.flatnonzero(change_N)
    runs = np.flatnonzero(kind_N.take(edges[:-1]))
    return edges.take(runs), edges.take(runs + 1)


def _word_hashes(lower_N: Bytes, start_T: Positions, end_T: Positions) -> Hashes:
    powers, inverses = _powers(_BYTE_BASE, _size_class(len(lower_N)))
    sums_N = np.zeros(len(lower_N) + 1, np.uint64)
    np.cumsum(lower_N * powers[: len(lower_N)], out=sums_N[1:])
    return mixed((sums_N.take(end_T) - sums_N.take(start_T)) * inverses.take(start_T))


def _read_commands(
    lower_N: Bytes, offsets_R: Positions, start_T: Positions, end_T: Positions, word_T: Hashes
) -> tuple[Positions, Positions, Hashes]:
    """Take backslashes into the words behind them, give synonyms one hash, leave ignored commands out."""
    if not len(start_T):
        return start_T, end_T, word_T
    behind_T = lower_N.take(start_T - 1, mode="wrap") == _BACKSLASH
    behind_T &= lower_N.take(start_T) >= 97  # letters
    firsts = np.searchsorted(start_T, offsets_R[:-1])
    at_row_start = (firsts < len(start_T)) & (start_T[np.minimum(firsts, len(start_T) - 1)] == offsets_R[:-1])
    behind_T[firsts[at_row_start]] = False  # the backslash is of the row before
    commands = np.flatnonzero(behind_T)
    if not len(commands):
        return start_T, end_T, word_T
    known, meant, is_ignored = _known_commands()
    name = word_T[commands]
    place = np.minimum(np.searchsorted(known, name), len(known) - 1)
    is_known = known[place] == name
    start_T[commands] -= 1
    word_T[commands] = mixed(np.where(is_known, meant[place], name) + _COMMAND)
    keep_T = np.ones(len(start_T), bool)
    keep_T[commands[is_known & is_ignored[place]]] = False
    return start_T[keep_T], end_T[keep_T], word_T[keep_T]


@cache
def _known_commands() -> tuple[Hashes, Hashes, NDArray[np.bool_]]:
    """Return hashes of commands' names in their order, of the names they stand for, and whether they are ignored."""
    names = sorted(ALIASES.keys() | IGNORED)
    meant = [ALIASES.get(name, name) for name in names]
    hashes, meant_hashes = _hashes_of(names), _hashes_of(meant)
    order = np.argsort(hashes)
    return hashes[order], meant_hashes[order], np.array([name in IGNORED for name in meant])[order]


def _hashes_of(names: list[str]) -> Hashes:
    text = np.frombuffer(" ".join(names).encode(), np.uint8)
    lengths = np.array([len(name) for name in names])
    end = np.cumsum(lengths + 1) - 1
    return _word_hashes(text, end - lengths, end)


def _size_class(size: int) -> int:
    return max(BLOCK_BYTES, 1 << size.bit_length())


@cache
def _powers(base: int, size: int) -> tuple[Hashes, Hashes]:
    """Return base**0, base**1, ... modulo 2**64 and the inverses of these."""
    inverse = pow(base, -1, 1 << 64)
    tables = []
    for factor in (base, inverse):
        table = np.full(size, factor, np.uint64)
        table[0] = 1
        tables.append(np.multiply.accumulate(table))
    return tables[0], tables[1]
