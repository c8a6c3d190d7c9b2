//! The slope of a soak: whether memory or descriptors grow, and how sure that is.
//!
//! Theil and Sen's estimate: the median of the slopes between all pairs of points, which a few
//! wild points do not move. The interval is from the ranks of those slopes (Kendall's variance),
//! widened by how much each point resembles the one before it, because samples of memory do.

/// Points that are looked at: the pairs grow with their square.
const MOST_POINTS: usize = 400;
/// Points below which nothing is said.
const FEWEST_POINTS: usize = 10;
/// The normal distribution's 97.5 %.
const Z: f64 = 1.959_963_984_540_054;

/// A slope, with the interval that holds it with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// The estimate, in units of y for each unit of x.
    pub estimate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// Points it comes from.
    pub points: usize,
}

impl Slope {
    /// The slope of points in order of x; nothing if they are too few or all at one x.
    pub fn of(points: &[(f64, f64)]) -> Option<Self> {
        let points = thin(points);
        if points.len() < FEWEST_POINTS {
            return None;
        }
        let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
        for (place, (x, y)) in points.iter().enumerate() {
            for (later_x, later_y) in points.iter().skip(place + 1) {
                if later_x > x {
                    slopes.push((later_y - y) / (later_x - x));
                }
            }
        }
        slopes.sort_unstable_by(f64::total_cmp);
        let estimate = median(&slopes)?;
        let count = float(points.len());
        let spread = inflation(&points, estimate).sqrt()
            * Z
            * (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
        let pairs = float(slopes.len());
        Some(Self {
            estimate,
            low: ranked(&slopes, (pairs - spread) / 2.0)?,
            high: ranked(&slopes, (pairs + spread) / 2.0 + 1.0)?,
            points: points.len(),
        })
    }
}

/// Medians of neighbours, so that at most [`MOST_POINTS`] are left.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(MOST_POINTS).max(1);
    let middle = |chunk: &[(f64, f64)]| {
        let mut ys: Vec<f64> = chunk.iter().map(|(_, y)| *y).collect();
        ys.sort_unstable_by(f64::total_cmp);
        Some((chunk.get(chunk.len() / 2)?.0, median(&ys)?))
    };
    points.chunks(group).filter_map(middle).collect()
}

/// How much wider the interval is than that of independent points: (1 + r) / (1 - r), of the
/// correlation of each residual with the one before it.
fn inflation(points: &[(f64, f64)], slope: f64) -> f64 {
    let residuals: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
    let mean = residuals.iter().sum::<f64>() / float(residuals.len()).max(1.0);
    let variance: f64 = residuals.iter().map(|each| (each - mean).powi(2)).sum();
    if variance <= f64::EPSILON {
        return 1.0;
    }
    let before = residuals.iter().zip(residuals.iter().skip(1));
    let together: f64 = before.map(|(one, next)| (one - mean) * (next - mean)).sum();
    let correlation = (together / variance).clamp(0.0, 0.98);
    (1.0 + correlation) / (1.0 - correlation)
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*sorted.get(middle - 1)?, upper))
}

/// The slope of a rank that starts at one; the first or last beyond the ends.
fn ranked(sorted: &[f64], rank: f64) -> Option<f64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the slice"
    )]
    let place = (rank.round().clamp(1.0, float(sorted.len()).max(1.0)) - 1.0) as usize;
    sorted.get(place).copied()
}

#[expect(clippy::cast_precision_loss, reason = "lengths of slices")]
const fn float(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seeded noise in -1..1, so that a failure can be repeated.
    fn noise(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            f64::from(u32::try_from(state >> 32).unwrap()) / f64::from(u32::MAX) * 2.0 - 1.0
        }
    }

    #[test]
    fn a_line_has_its_slope() {
        let points: Vec<_> = (0..100)
            .map(|x| (f64::from(x), 3.0 * f64::from(x)))
            .collect();
        let slope = Slope::of(&points).unwrap();
        assert_eq!((slope.estimate, slope.low, slope.high), (3.0, 3.0, 3.0));
    }

    #[test]
    fn wild_points_do_not_move_it() {
        let mut points: Vec<_> = (0..100)
            .map(|x| (f64::from(x), 3.0 * f64::from(x)))
            .collect();
        points[90].1 = 1e9;
        points[5].1 = -1e9;
        assert!((Slope::of(&points).unwrap().estimate - 3.0).abs() < 0.01);
    }

    #[test]
    fn the_interval_holds_the_true_slope_as_often_as_it_says() {
        for (walk, least) in [(0.0, 54), (0.8, 51)] {
            let mut held = 0;
            for seed in 1..=60 {
                let (mut next, mut drift) = (noise(seed), 0.0);
                let mut point = |x: u32| {
                    drift = walk * drift + next();
                    (f64::from(x), 0.005 * f64::from(x) + drift)
                };
                let points: Vec<_> = (0..100).map(&mut point).collect();
                let slope = Slope::of(&points).unwrap();
                held += i32::from(slope.low <= 0.005 && 0.005 <= slope.high);
            }
            assert!(held >= least, "walk {walk}: {held} of seeds 1 to 60");
        }
    }

    #[test]
    fn too_few_points_say_nothing() {
        assert_eq!(Slope::of(&[(0.0, 0.0); 9]), None);
        assert_eq!(Slope::of(&[(0.0, 1.0); 50]), None);
    }
}
