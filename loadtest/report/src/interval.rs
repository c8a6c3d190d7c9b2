//! Confidence intervals of means of a few rounds: Student's t, with Welch's degrees of freedom.
//!
//! Rounds are few (three to ten as a rule), so nothing is resampled: t says honestly how little
//! three rounds show. Rounds that were run in turns may be compared pair by pair, which takes out
//! what the machine did to both.

/// Confidence of all intervals here.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// An estimate and the interval that holds the truth with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) estimate: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The difference of means of two independent sets, the second less the first.
/// Nothing if either has fewer than two.
pub(crate) fn difference(first: &[f64], second: &[f64]) -> Option<Interval> {
    let (one, other) = (Moments::of(first)?, Moments::of(second)?);
    let (a, b) = (one.variance / one.count, other.variance / other.count);
    let spread = (a + b).sqrt();
    let freedom = if a + b > 0.0 {
        (a + b).powi(2) / (a.powi(2) / (one.count - 1.0) + b.powi(2) / (other.count - 1.0))
    } else {
        one.count + other.count - 2.0
    };
    Some(Interval::around(other.mean - one.mean, spread, freedom))
}

/// The mean difference of pairs, the second less the first. Nothing if there are fewer than two.
pub(crate) fn paired(first: &[f64], second: &[f64]) -> Option<Interval> {
    if first.len() != second.len() {
        return None;
    }
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| b - a).collect();
    let of = Moments::of(&differences)?;
    let spread = (of.variance / of.count).sqrt();
    Some(Interval::around(of.mean, spread, of.count - 1.0))
}

impl Interval {
    fn around(estimate: f64, spread: f64, freedom: f64) -> Self {
        let reach = spread * quantile(f64::midpoint(1.0, CONFIDENCE), freedom);
        Self {
            estimate,
            low: estimate - reach,
            high: estimate + reach,
        }
    }

    /// From logarithms to ratios.
    pub(crate) fn exp(self) -> Self {
        Self {
            estimate: self.estimate.exp(),
            low: self.low.exp(),
            high: self.high.exp(),
        }
    }

    pub(crate) fn covers(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of(values: &[f64]) -> Option<Self> {
        let count = values.iter().fold(0.0, |count, _| count + 1.0);
        if count < 2.0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            count,
            mean,
            variance: squares / (count - 1.0),
        })
    }
}

/// The value that Student's t of so many degrees of freedom does not exceed with a probability
/// over a half; by bisection, because its inverse has no closed form.
fn quantile(probability: f64, freedom: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1e4);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if cumulative(middle, freedom) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The probability that t is at most a positive value.
fn cumulative(t: f64, freedom: f64) -> f64 {
    let x = freedom / (freedom + t * t);
    1.0 - 0.5 * incomplete_beta(freedom / 2.0, 0.5, x)
}

/// The regularised incomplete beta function, by Lentz's continued fraction.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges fast on this side; the other is its mirror.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln();
    let nonzero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..200 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / nonzero(1.0 + even * d);
        c = nonzero(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / nonzero(1.0 + odd * d);
        c = nonzero(1.0 + odd / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-14 {
            break;
        }
    }
    front.exp() * fraction / a
}

/// The logarithm of the gamma function of a positive number (Lanczos, g = 7).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // Euler's reflection.
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let mut sum = 0.999_999_999_999_809_9;
    let mut place = 1.0;
    for term in TERMS {
        sum += term / (x + place);
        place += 1.0;
    }
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, wanted: f64) {
        assert!(
            (value - wanted).abs() < 1e-3 * wanted.abs().max(1e-3),
            "{value}, not {wanted}"
        );
    }

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, wanted) in [
            (1.0, 12.706),
            (2.0, 4.303),
            (4.0, 2.776),
            (9.0, 2.262),
            (30.0, 2.042),
            (1e6, 1.960),
        ] {
            near(quantile(0.975, freedom), wanted);
        }
    }

    #[test]
    fn welch_is_as_worked_out_elsewhere() {
        // By hand: 3.209 degrees of freedom, t 3.068, standard error 0.787.
        let of = difference(&[20.5, 18.2, 19.9], &[15.1, 16.0, 14.2, 15.5]).unwrap();
        near(of.estimate, -4.333_333);
        near(of.low, -6.748_094);
        near(of.high, -1.918_573);
    }

    #[test]
    fn pairs_take_out_what_both_have() {
        let (one, other) = ([10.0, 20.0, 30.0, 40.0], [11.0, 21.1, 31.0, 40.9]);
        assert!(difference(&one, &other).unwrap().covers(0.0));
        let pairs = paired(&one, &other).unwrap();
        near(pairs.estimate, 1.0);
        assert!(!pairs.covers(0.0));
        assert_eq!(paired(&one, &[1.0]), None);
        assert_eq!(difference(&[1.0], &[2.0, 3.0]), None);
    }

    #[test]
    fn equal_rounds_have_no_width() {
        let of = difference(&[5.0, 5.0, 5.0], &[5.0, 5.0]).unwrap();
        assert_eq!((of.low, of.high), (0.0, 0.0));
        assert!(of.covers(0.0));
    }
}
