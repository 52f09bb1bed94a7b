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
RADIAN = Unit((("radian", 1),), Fraction(1))
DEGREE = Unit(((ANGLE, 1),), Fraction(1))

# Dimensions -> factor and names; a name in lower case is also read with a capital, and in the plural.
_TABLE = {
    "length": "1/1000000 micron; 1/1000 mm millimeter millimetre \u6beb\u7c73"
    "; 1/100 cm centimeter centimetre \u5398\u7c73"
    "; 1/10 dm decimeter decimetre \u5206\u7c73; 1 m meter metre \u7c73"
    "; 1000 km kilometer kilometre \u5343\u7c73 \u516c\u91cc"
    "; 0.0254 in inch inches; 0.3048 ft foot feet; 0.9144 yd yard; 1609.344 mi mile",
    "mass": "1/1000 g gram gramme \u514b; 1 kg kilogram kilo kilogramme \u5343\u514b \u516c\u65a4; 1000 t tonne \u5428"
    "; 0.5 \u65a4; 0.45359237 lb lbs pound; 0.028349523125 oz ounce",
    "time": "1 s sec secs second \u79d2; 60 min mins minute \u5206 \u5206\u949f; 3600 h hr hrs hour \u5c0f\u65f6"
    "; 86400 day \u5929; 604800 week",
    "calendar": "1 month; 12 year yr yrs; 120 decade; 1200 century centuries",
    "length^3": "1/1000000 cc \u6beb\u5347; 1/1000 L l liter litre \u5347; 0.003785411784 gallon gal",
    "length^2": "10000 ha hectare \u516c\u9877; 4046.8564224 acre",
    "dollar": "1 dollar usd USD $; 1/100 cent \u00a2",
    "euro": "1 euro EUR \u20ac",
    "pound_sterling": "1 GBP \u00a3; 1/100 pence",
    "yen": "1 yen JPY \u00a5",
    "yuan": "1 yuan RMB CNY \u5143; 1/10 \u89d2",
    "rupee": "1 rupee INR Rs \u20b9",
    ANGLE: "1 degree deg; 1/60 arcminute; 1/3600 arcsecond",
    "radian": "1 rad radian",
    "celsius": "1 \u00b0C celsius",
    "fahrenheit": "1 \u00b0F fahrenheit",
    "kelvin": "1 K kelvin",
    "current": "1 A amp ampere",
    "amount": "1 mol mole",
    "amount length^-3": "1000 M molar",
    "data": "1 bit; 8 byte B; 8000 KB",
    "length mass time^-2": "1 N newton",
    "length^2 mass time^-2": "1 J joule; 4.184 cal calorie; 1.602176634e-19 eV; 3600 Wh",
    "length^2 mass time^-3": "1 W watt",
    "length^-1 mass time^-2": "1 Pa pascal; 101325 atm atmosphere; 100000 bar",
    "time^-1": "1 Hz hertz",
    "current time": "1 C coulomb",
    "current^-1 length^2 mass time^-3": "1 V volt",
    "current^-2 length^2 mass time^-3": "1 ohm ohms \u03a9",
    "current^2 length^-2 mass^-1 time^4": "1 F farad",
    "current^-1 mass time^-2": "1 T tesla",
    "current^-2 length^2 mass time^-2": "1 H henry",
    "current^-1 length^2 mass time^-2": "1 Wb weber",
    "length time^-1": "0.44704 mph; 5/18 kph kmph",
}
CURRENCIES = frozenset(["dollar", "euro", "pound_sterling", "yen", "yuan", "rupee"])
_PREFIXES = "p pico -12; n nano -9; \u03bc micro -6; u micro -6; m milli -3; k kilo 3; M mega 6; G giga 9; T tera 12"
_PREFIXED = "m meter metre g gram s second L l liter litre A ampere mol mole bit byte B N newton J joule cal calorie"
_PREFIXED += " eV Wh W watt Pa pascal bar Hz hertz C coulomb V volt ohm F farad T tesla H henry Wb weber"
# Square and cubic, in Chinese.
_POWER_SIGNS = {"\u5e73\u65b9": 2, "\u7acb\u65b9": 3}
# With a prefix these are read without a number before them too; others may be products of letters: MN, mA.
_WELL_KNOWN = "mm cm km kg kB KB MB GB kN kJ kW kPa kHz MHz GHz MPa kWh kcal keV MeV mmol"


@lru_cache(maxsize=1)
def _units() -> dict[str, Unit]:
    """Return name -> unit, with plurals and capitals of the names that are words."""
    units: dict[str, Unit] = {}
    for dimensions, sizes in _TABLE.items():
        powers = [part.partition("^")[::2] for part in dimensions.split()]
        key = tuple(sorted((name, int(power or 1)) for name, power in powers))
        for size in sizes.split(";"):
            factor, *names = size.split()
            for name in names:
                units |= dict.fromkeys(_spellings(name), Unit(key, Fraction(factor)))
    for base in _PREFIXED.split():
        for short, long, power in map(str.split, _PREFIXES.split(";")):
            scaled = Unit(units[base].dimensions, units[base].factor * Fraction(10) ** int(power))
            is_word = len(base) > 3 and base.islower()
            names = _spellings(f"{long}{base}") if is_word else [f"{short}{base}"]
            units = dict.fromkeys(names, scaled) | units
    return units


@lru_cache(maxsize=1)
def _ambiguous() -> frozenset[str]:
    """Return the short names with a prefix that may be products of letters."""
    plain = " ".join(_TABLE.values()).replace(";", " ").split()
    return frozenset(name for name in _units() if len(name) <= 3) - {*plain, *_WELL_KNOWN.split()}


def _spellings(name: str) -> list[str]:
    if len(name) < 3 or not name.islower():
        return [name]
    return [name, f"{name}s", f"{name}es", name.capitalize(), f"{name}s".capitalize()]


def find_unit(name: str) -> Unit | None:
    """Return the unit of a name, or None.

    >>> find_unit("cm") == find_unit("Centimeters"), find_unit("apples")
    (True, None)
    """
    for sign, power in _POWER_SIGNS.items():
        if name.startswith(sign):
            base = _units().get(name[len(sign) :])
            return None if base is None else NO_UNIT.times(base, power)
    return _units().get(name) or _units().get(name.rstrip("."))


def is_unit(name: str, *, is_behind_number: bool) -> bool:
    """Whether letters are the name of a unit; behind a number also such as may be a product of variables elsewhere."""
    return find_unit(name) is not None and (is_behind_number or name not in _ambiguous())
