#!/usr/bin/env python3
"""Finds the coefficients of the activations' polynomials, and writes them for the generator.

    tools/polynomials.py            writes gen/polynomials.lua (python3-mpmath, a minute)

expm1   (exp(r) - 1 - r) / r^2 for |r| <= log(2) / 2, by powers of r from 0 on
reduction, limits: what exp(x) is brought to a power of two and a small rest by, and where its arguments are kept
log     2 atanh(s) / s - 2 by powers of s^2 from 1 on: log((1 + s) / (1 - s)) where that is from sqrt(1/2) to sqrt(2)
erf     -log(erfc(t)) / t is its value at 0, two numbers, and t over / under, until erf is 1
mills   exp(t^2 / 2) * erfc(t / sqrt(2)) / 2 for t >= 0, what exp leaves of the normal distribution's tail, is SHARE / (1 + t) +
        over / under: the second is small, so that the rounding of `under`, which both have below, hardly matters
        (the tail's relative error matters to where it is 2^-20, from there on its absolute one)

Each is fitted by weighted least squares in 60 digits, the weights moved (Lawson) until no error stands out; then coefficients
are rounded to the type one after another, lowest power first, the others fitted again to what was rounded."""
import pathlib
import mpmath as mp

mp.mp.dps = 60
SHARE = mp.mpf(15) / 32
ROOT = pathlib.Path(__file__).resolve().parent.parent
DIGITS = {"f32": 24, "f64": 53}

# Where exp(x) is 0 and infinite; where exp(-x) is 0, where it is infinite, where exp(-x^2 / 2) is 0 in the type.
EXP_LIMITS = {"f32": ["-104.0", "89.0"], "f64": ["-746.0", "710.0"]}
LIMITS = {"f32": ["88.0", "-89.0", "13.25"], "f64": ["709.0", "-710.0", "37.66"]}


def rounded(x, digits):
    mantissa, exponent = mp.frexp(x)
    return mp.ldexp(mp.nint(mantissa * 2**digits), exponent - digits)


def least_squares(rows, right):
    n = len(rows[0])
    normal, sums = mp.matrix(n, n), mp.matrix(n, 1)
    for row, y in zip(rows, right):
        for i in range(n):
            sums[i] += row[i] * y
            for j in range(n):
                normal[i, j] += row[i] * row[j]
    return list(mp.lu_solve(normal, sums))


def power_sum(coefficients, t):
    return mp.polyval(coefficients[::-1], t)


class Fit:
    """over / under ~ f at the points; known: coefficients that are settled, by (which, power)."""

    def __init__(self, f, weight, points, over, under):
        self.points, self.values, self.weights = points, [f(t) for t in points], [weight(t) for t in points]
        self.names = [("over", i) for i in range(over + 1)] + [("under", i) for i in range(1, under + 1)]
        self.known = {}

    def split(self, found):
        both = {("under", 0): mp.mpf(1), **self.known, **found}
        return [[both[key] for key in sorted(both) if key[0] == which] for which in ("over", "under")]

    def errors(self, found):
        over, under = self.split(found)
        return [abs(power_sum(over, t) / power_sum(under, t) - f) * w
                for t, f, w in zip(self.points, self.values, self.weights)]

    def column(self, name, k):
        t, f = self.points[k], self.values[k]
        return t ** name[1] * (1 if name[0] == "over" else -f)

    def once(self, free, lawson, under):
        rows, right = [], []
        for k, t in enumerate(self.points):
            scale = self.weights[k] * mp.sqrt(lawson[k]) / power_sum(under, t)
            rows.append([self.column(name, k) * scale for name in free])
            right.append((self.values[k] - sum(self.column(n, k) * v for n, v in self.known.items())) * scale)
        return dict(zip(free, least_squares(rows, right)))

    def solve(self, rounds=6):
        free = [name for name in self.names if name not in self.known]
        lawson, under, best = [mp.mpf(1)] * len(self.points), [mp.mpf(1)], None
        for _ in range(rounds):
            found = self.once(free, lawson, under)
            under, errors = self.split(found)[1], self.errors(found)
            worst = max(errors)
            best = min(best or (worst, found), (worst, found), key=lambda pair: pair[0])
            lawson = [w * (e / worst) + mp.mpf(10) ** -30 for w, e in zip(lawson, errors)]
        return best

    def round(self, digits):
        while len(self.known) < len(self.names):
            free = [name for name in sorted(self.names, key=lambda n: n[1]) if name not in self.known]
            self.known[free[0]] = rounded(self.solve()[1][free[0]], digits)
        return max(self.errors({})), self.split({})


def chebyshev(low, high, n):
    return [(low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * n)) for i in range(n)]


def tail(t):
    return mp.erfc(t / mp.sqrt(2)) / 2


def expm1(digits, degree):
    reach = mp.log(2) / 2 * mp.mpf("1.001")
    fit = Fit(lambda r: (mp.expm1(r) - r) / r**2, lambda r: r**2 / abs(mp.expm1(r)), chebyshev(-reach, reach, 60), degree, 0)
    fit.known[("over", 0)] = mp.mpf(1) / 2
    error, (over, _) = fit.round(digits)
    return error, {"expm1": over}


def mills(digits, over, under, reach):
    def ratio(t):
        return tail(t) * mp.exp(t * t / 2)

    fit = Fit(lambda t: ratio(t) - SHARE / (1 + t), lambda t: tail(t) / max(tail(t), mp.mpf(2) ** -20) / ratio(t),
              chebyshev(mp.mpf(0), mp.mpf(reach), 150), over, under)
    error, (a, b) = fit.round(digits)
    return error, {"mills_over": a, "mills_under": b}


def log(digits, degree):
    reach = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1))**2 * mp.mpf("1.001")
    fit = Fit(lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z, lambda z: z / 2, chebyshev(mp.mpf(0), reach, 60), degree, 0)
    error, (over, _) = fit.round(digits)
    return error, {"log": over}


def erf(digits, over, under, limit):
    first = 2 / mp.sqrt(mp.pi)
    fit = Fit(lambda t: (-mp.log(mp.erfc(t)) / t - first) / t, lambda t: t * t * mp.erfc(t) / mp.erf(t),
              chebyshev(mp.mpf(0), mp.mpf(limit), 150), over, under)
    error, (a, b) = fit.round(digits)
    high = rounded(first, digits)
    return error, {"erf_over": a, "erf_under": b, "erf_first": [high, rounded(first - high, digits)], "erf_limit": [mp.mpf(limit)]}


def reduction(digits):
    """1 / log(2), log(2) and what its rounding leaves."""
    high = rounded(mp.log(2), digits)
    return rounded(1 / mp.log(2), digits), high, rounded(mp.log(2) - high, digits)


def hexadecimal(x, digits):
    mantissa, exponent = mp.frexp(abs(x))
    text = f"{int(mantissa * 2**digits):x}"
    return ("-" if x < 0 else "") + f"0x{text}p{int(exponent) - digits}"


HEAD = "made by tools/polynomials.py: the coefficients of the activations' polynomials, lowest power first."


def lua(tables):
    lines = [f"-- polynomials.lua, {HEAD}", "return {"]
    for type_name, rows in tables.items():
        lines.append(f"  {type_name} = {{")
        for name, list_ in rows.items():
            lines.append(f"    {name} = {{")
            lines += [f"      {', '.join(list_[i:i + 4])}," for i in range(0, len(list_), 4)]
            lines.append("    },")
        lines.append("  },")
    return "\n".join(lines + ["}", ""])


def main():
    plans = {"f32": [(expm1, 5), (log, 2), (erf, 3, 3, "3.9375"), (mills, 5, 5, 7.5)],
             "f64": [(expm1, 10), (log, 6), (erf, 8, 8, "5.9375"), (mills, 8, 9, 9.8)]}
    tables = {}
    for type_name, rows in plans.items():
        digits, tables[type_name] = DIGITS[type_name], {}
        tables[type_name]["reduction"] = [hexadecimal(x, digits) for x in reduction(digits)]
        tables[type_name].update(limits=LIMITS[type_name], exp_limits=EXP_LIMITS[type_name])
        for make, *sizes in rows:
            error, lists = make(digits, *sizes)
            print(type_name, ", ".join(lists), "error 2^%s" % mp.nstr(mp.log(error, 2), 4))
            tables[type_name].update({name: [hexadecimal(x, digits) for x in list_] for name, list_ in lists.items()})
    (ROOT / "gen/polynomials.lua").write_text(lua(tables))


main()
