"""Finding the arithmetic that turns the numbers of one key into those of another.

Laws are tried from the plainest to the oddest; the first that holds for every example is
taken. Numbers are compared as text, so `007` is never taken for 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

WITNESSED = 3
"""Of fewer quotients none is seen from its first number to its last, unless the first begins at zero: one block that
is an exception is no quotient."""

Row = tuple[tuple[str, ...], str]
"""Numbers of the source, and the one number of the target, as they are written."""

_LARGEST_DIVISOR = 16
_WIDEST = 6


@dataclass(frozen=True, slots=True)
class Law:
    """`factor * ((a*x + b*y + shift) // divisor or % divisor) + offset`, or one plain case of it.

    Attributes:
        kind: "const", "copy", "linear", "floor" or "modulo"; "padded": `x + shift` with zeros in front.
        slots: which numbers of the source it uses.
        factors: of the slots, inside.
        shift: added inside, before a division.
        divisor: of floor and modulo.
        factor: outside.
        offset: added outside.
        text: of a constant.
        width: digits of a padded number, at least.
    """

    kind: str
    slots: tuple[int, ...] = ()
    factors: tuple[int, ...] = ()
    shift: int = 0
    divisor: int = 1
    factor: int = 1
    offset: int = 0
    text: str = ""
    width: int = 0

    @property
    def cost(self) -> float:
        """How odd it is: 0 for a copy."""
        plain = {"const": 0.4, "copy": 0.0, "linear": 1.0, "floor": 2.0, "modulo": 2.0, "padded": 2.0}[self.kind]
        odd = sum(1 for f in self.factors if f != 1) + (self.factor != 1) + (self.shift != 0) + len(self.slots)
        return plain + (0.3 * odd if self.kind not in ("const", "copy") else 0.0)

    def value(self, numbers: Mapping[int, str] | Sequence[str]) -> str:
        """The number that the law gives, as text."""
        if self.kind == "const":
            return self.text
        if self.kind == "copy":
            return numbers[self.slots[0]]
        inside = sum(f * int(numbers[s]) for f, s in zip(self.factors, self.slots, strict=True)) + self.shift
        if self.kind == "floor":
            inside //= self.divisor
        elif self.kind == "modulo":
            inside %= self.divisor
        elif self.kind == "padded":
            return str(inside).zfill(self.width)
        return str(self.factor * inside + self.offset)

    def holds(self, rows: Sequence[Row]) -> bool:
        """Whether it gives every row's target."""
        return all(self.value(source) == target for source, target in rows)

    def text_with(self, names: Sequence[str]) -> str:
        """As a replacement writes it, without the braces around it.

        Nothing but arithmetic is needed for zeros in front: `{i//10}{i%10}` is 07 and 12. `{i+0}` takes them away.

        Args:
            names: the group name of every slot.
        """
        if self.kind == "copy":
            return names[self.slots[0]]
        inside = _sum([(f, names[s]) for f, s in zip(self.factors, self.slots, strict=True)], self.shift)
        if self.kind == "linear":
            return f"{inside}+0" if inside == names[self.slots[0]] else inside
        if any(sign in inside for sign in "+-*"):
            inside = f"({inside})"
        if self.kind == "padded":
            digits = [f"{inside}//{10**place}%10" for place in range(self.width - 2, 0, -1)]
            return "}{".join([f"{inside}//{10 ** (self.width - 1)}", *digits, f"{inside}%10"])
        inside += f"{'//' if self.kind == 'floor' else '%'}{self.divisor}"
        if self.factor != 1:
            inside = f"{inside}*{self.factor}"
        return inside + (f"{self.offset:+d}" if self.offset else "")


def fit(rows: Sequence[Row], slots: Sequence[int], near: int | None = None, division: bool = True) -> Law | None:
    """The plainest law that holds for all rows.

    Args:
        rows: examples; a target number must be written without leading zeros unless it is
            copied or constant.
        slots: numbers of the source that may be used.
        near: the slot whose neighbourhood is that of the target; preferred for a copy.
        division: whether quotients and remainders may be tried.

    Returns:
        None where no law of the kinds above holds.
    """
    targets = {target for _, target in rows}
    copies = [s for s in slots if all(source[s] == target for source, target in rows)]
    if near is not None and near in copies:
        return Law("copy", (near,))
    if len(targets) == 1:
        return Law("const", text=rows[0][1])
    if copies:
        return Law("copy", (copies[-1],))
    if not all(map(str.isdigit, targets)):
        return None
    sample = _distinct(rows)
    if any(_is_padded(target) for target in targets):
        return _padded(sample, slots)
    for law in _guesses(sample, list(slots), division):
        if law.holds(sample):
            return law
    return None


def _is_padded(number: str) -> bool:
    return number[0] == "0" and number != "0"


def _padded(rows: list[Row], slots: Sequence[int]) -> Law | None:
    """A number of the source, or one more or less, that the target writes with zeros in front."""
    first, width = rows[0], min(len(target) for _, target in rows)
    for s in slots:
        law = Law("padded", (s,), (1,), int(first[1]) - int(first[0][s]), width=width)
        if width <= _WIDEST and abs(law.shift) <= 1 and law.holds(rows):
            return law
    return None


def _guesses(rows: list[Row], slots: list[int], division: bool) -> Iterator[Law]:
    """Laws worth testing, the plainest first."""
    first, last = rows[0], rows[-1]
    for s in slots:
        a, b = int(first[0][s]), int(first[1])
        yield Law("linear", (s,), (1,), b - a)
        yield Law("linear", (s,), (-1,), b + a)
    for s in slots:
        other = next((row for row in rows if row[0][s] != first[0][s]), last)
        run, rise = int(other[0][s]) - int(first[0][s]), int(other[1]) - int(first[1])
        if run and rise % run == 0 and abs(rise // run) > 1:
            yield Law("linear", (s,), (rise // run,), int(first[1]) - rise // run * int(first[0][s]))
    if division:
        yield from _divisions(rows, slots)
    for s, t in combinations(slots, 2):
        yield from _planes(rows, s, t)


def _divisions(rows: list[Row], slots: list[int]) -> Iterator[Law]:
    """Quotients and remainders that hold: those without additions first, then the divisor that the steps show."""
    values = sorted({int(target) for _, target in rows})
    step = values[1] - values[0] if len(values) > 1 else 1
    for s in slots:
        table = {int(source[s]): int(target) for source, target in rows}
        if any(table[int(source[s])] != int(target) for source, target in rows):
            continue  # the number alone does not decide
        pairs = sorted(table.items())
        starts = list({target: number for number, target in reversed(pairs)}.values())[::-1]
        regular = starts[1] - starts[0] if len(starts) > 1 else 0
        laws = list(_dividing(s, pairs, step))
        yield from sorted(laws, key=lambda law: _oddity(law, regular))


def _dividing(s: int, pairs: list[tuple[int, int]], step: int) -> Iterator[Law]:
    x, y = pairs[0]
    few = len({b for _, b in pairs}) < WITNESSED
    for divisor in range(2, min(_LARGEST_DIVISOR, pairs[-1][0] + 1) + 1):
        for shift in range(1 - divisor, divisor):
            for factor in (1, -1) if step == 1 else (step,):
                offset = y - factor * ((x + shift) // divisor)
                if shift and few:
                    continue
                if all(factor * ((a + shift) // divisor) + offset == b for a, b in pairs):
                    yield Law("floor", (s,), (1,), shift, divisor, factor, offset)
            offset = y - (x + shift) % divisor
            if all((a + shift) % divisor + offset == b for a, b in pairs):
                yield Law("modulo", (s,), (1,), shift, divisor, 1, offset)


def _oddity(law: Law, regular: int) -> tuple[int, bool, bool, int, int, bool]:
    """Sorts quotients and remainders: (i-1)%3 before i%3-1, but i//2+1 before (i+2)//2."""
    late = law.offset if law.kind == "modulo" else law.shift
    additions = (law.shift != 0) + (law.offset != 0)
    return additions, law.divisor != regular, late != 0, law.divisor, abs(law.shift), law.shift < 0


def _planes(rows: list[Row], s: int, t: int) -> Iterator[Law]:
    """a*x + b*y + c through three rows (the place in a flattened stage)."""
    first = rows[0]
    one = next((r for r in rows if r[0][t] == first[0][t] and r[0][s] != first[0][s]), None)
    two = next((r for r in rows if r[0][s] == first[0][s] and r[0][t] != first[0][t]), None)
    if one is None or two is None:
        return
    run, rise = int(one[0][s]) - int(first[0][s]), int(one[1]) - int(first[1])
    run2, rise2 = int(two[0][t]) - int(first[0][t]), int(two[1]) - int(first[1])
    if rise % run == 0 and rise2 % run2 == 0 and rise and rise2:
        terms = sorted(((s, rise // run), (t, rise2 // run2)))
        shift = int(first[1]) - sum(factor * int(first[0][slot]) for slot, factor in terms)
        yield Law("linear", tuple(slot for slot, _ in terms), tuple(factor for _, factor in terms), shift)


def _distinct(rows: Sequence[Row]) -> list[Row]:
    return list(dict.fromkeys(rows))


def _sum(terms: list[tuple[int, str]], constant: int) -> str:
    text = ""
    for factor, name in sorted(terms, key=lambda term: term[0] < 0):
        sign = "-" if factor < 0 else "+" if text else ""
        text += f"{sign}{name}" if abs(factor) == 1 else f"{sign}{abs(factor)}*{name}"
    if not text.startswith("-"):
        return text + (f"{constant:+d}" if constant else "")
    return f"{constant}{text}"
