# SPDX-License-Identifier: Apache-2.0
r"""Units of measurement with exact factors: which two quantities are the same.

A table of our own: pint takes a second to import and computes in floats; answers use a few dozen units.
A unit is a product of base dimensions and an exact factor. Degrees are a unit whose factor holds pi, so they are a
dimension of their own here (`ANGLE`), and radians are plain numbers.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

Dimensions = tuple[tuple[str, int], ...]
ANGLE = "angle"


@dataclass(frozen=True)
class Unit:
    """A unit: powers of base dimensions, such as (("length", 1), ("time", -1)), and its size in base units."""

    dimensions: Dimensions
    factor: Fraction

    def times(self, other: "Unit", power: int = 1) -> "Unit":
        """Return the unit multiplied by a power of another."""
        powers = dict(self.dimensions)
        for name, count in other.dimensions:
            powers[name] = powers.get(name, 0) + power * count
        kept = tuple(sorted((name, count) for name, count in powers.items() if count))
        return Unit(kept, self.factor * other.factor**power)


NO_UNIT = Unit((), Fraction(1))

# dimension -> factor -> names; a name in lower case is also read with a capital.
_TABLE: dict[tuple[str, int], dict[str, str]] = {
    ("length", 1): {
        "1/1000000000": "nm nanometer nanometre",
        "1/1000000": "\u03bcm um micrometer micrometre micron",
        "1/1000": "mm millimeter millimetre",
        "1/100": "cm centimeter centimetre",
        "1/10": "dm decimeter decimetre",
        "1": "m meter metre",
        "1000": "km kilometer kilometre",
        "0.0254": "in inch inches",
        "0.3048": "ft foot feet",
        "0.9144": "yd yard",
        "1609.344": "mi mile",
    },
    ("mass", 1): {
        "1/1000000": "mg milligram milligramme",
        "1/1000": "g gram gramme",
        "1": "kg kilogram kilo kilogramme",
        "1000": "t tonne",
        "0.45359237": "lb lbs pound",
        "0.028349523125": "oz ounce",
    },
    ("time", 1): {
        "1/1000": "ms millisecond",
        "1": "s sec secs second",
        "60": "min mins minute",
        "3600": "h hr hrs hour",
        "86400": "day",
        "604800": "week",
    },
    ("calendar", 1): {"1": "month", "12": "year yr yrs", "120": "decade", "1200": "century centuries"},
    ("length", 3): {
        "1/1000000": "mL ml milliliter millilitre cc",
        "1/1000": "L l liter litre",
        "0.003785411784": "gallon gal",
    },
    ("length", 2): {"10000": "ha hectare", "4046.8564224": "acre"},
    ("dollar", 1): {"1": "dollar usd USD $", "1/100": "cent \u00a2"},
    ("euro", 1): {"1": "euro EUR \u20ac"},
    ("pound sterling", 1): {"1": "GBP \u00a3", "1/100": "pence"},
    ("yen", 1): {"1": "yen JPY \u00a5"},
    ("yuan", 1): {"1": "yuan RMB CNY \u5143"},
    ("rupee", 1): {"1": "rupee INR Rs \u20b9"},
    (ANGLE, 1): {"1": "degree deg", "1/60": "arcminute", "1/3600": "arcsecond"},
    ("celsius", 1): {"1": "\u00b0C"},
    ("fahrenheit", 1): {"1": "\u00b0F"},
    ("kelvin", 1): {"1": "K kelvin"},
    ("current", 1): {"1": "A amp ampere"},
    ("amount", 1): {"1": "mol mole"},
    ("data", 1): {
        "1": "bit",
        "8": "byte B",
        "8000": "kB KB kilobyte",
        "8000000": "MB megabyte",
        "8000000000": "GB gigabyte",
    },
}
_DERIVED: dict[str, tuple[str, Dimensions]] = {
    "N newton": ("1", (("length", 1), ("mass", 1), ("time", -2))),
    "kN kilonewton": ("1000", (("length", 1), ("mass", 1), ("time", -2))),
    "J joule": ("1", (("length", 2), ("mass", 1), ("time", -2))),
    "kJ kilojoule": ("1000", (("length", 2), ("mass", 1), ("time", -2))),
    "W watt": ("1", (("length", 2), ("mass", 1), ("time", -3))),
    "kW kilowatt": ("1000", (("length", 2), ("mass", 1), ("time", -3))),
    "Pa pascal": ("1", (("length", -1), ("mass", 1), ("time", -2))),
    "kPa kilopascal": ("1000", (("length", -1), ("mass", 1), ("time", -2))),
    "Hz hertz": ("1", (("time", -1),)),
    "C coulomb": ("1", (("current", 1), ("time", 1))),
    "V volt": ("1", (("current", -1), ("length", 2), ("mass", 1), ("time", -3))),
    "ohm ohms \u03a9": ("1", (("current", -2), ("length", 2), ("mass", 1), ("time", -3))),
    "mph": ("0.44704", (("length", 1), ("time", -1))),
    "kph kmph": ("5/18", (("length", 1), ("time", -1))),
}


@lru_cache(maxsize=1)
def _units() -> dict[str, Unit]:
    """Return name -> unit, with plurals and capitals of the names that are words."""
    units: dict[str, Unit] = {}
    rows = [(names, factor, (dimension,)) for dimension, sizes in _TABLE.items() for factor, names in sizes.items()]
    rows += [(names, factor, dimensions) for names, (factor, dimensions) in _DERIVED.items()]
    for names, factor, dimensions in rows:
        unit = Unit(tuple(sorted(dimensions)), Fraction(factor))
        for name in names.split():
            units[name] = unit
            if len(name) >= 3 and name.islower():
                units |= {f"{name}s": unit, f"{name}es": unit, name.capitalize(): unit, f"{name}s".capitalize(): unit}
    return units


def find_unit(name: str) -> Unit | None:
    """Return the unit of a name, or None.

    >>> find_unit("cm") == find_unit("Centimeters"), find_unit("apples")
    (True, None)
    """
    units = _units()
    return units.get(name) or units.get(name.rstrip("."))


def is_unit(name: str) -> bool:
    """Whether the name is a unit."""
    return find_unit(name) is not None
