//! From numbers to places along an axis, and what is written beside it.

/// How numbers are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// Ten times as much is one step further.
    Times,
    /// The same for plain counts.
    Counts,
    /// 0, 90 %, 99 %, 99.9 % are one step apart.
    Quantiles,
}

/// One axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) label: &'static str,
    scale: Scale,
}

/// A place on an axis, 0 to 1, and what is written there.
#[derive(Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// An axis for the numbers that there are.
#[derive(Debug)]
pub(super) struct Fitted {
    axis: Axis,
    least: f64,
    most: f64,
}

impl Axis {
    /// Microseconds, on a scale of powers of ten.
    pub(super) const fn times(label: &'static str) -> Self {
        Self { label, scale: Scale::Times }
    }

    /// Anything else, on a scale of powers of ten.
    pub(super) const fn counts(label: &'static str) -> Self {
        Self { label, scale: Scale::Counts }
    }

    /// Parts of all, 0 to 1.
    pub(super) const fn quantiles(label: &'static str) -> Self {
        Self { label, scale: Scale::Quantiles }
    }

    /// Nothing for no numbers.
    pub(super) fn fit(self, numbers: impl Iterator<Item = f64>) -> Option<Fitted> {
        let laid: Vec<_> = numbers.map(|number| self.lay(number)).collect();
        let least = laid.iter().copied().min_by(f64::total_cmp)?;
        let most = laid.iter().copied().max_by(f64::total_cmp)?;
        let (least, most) = match self.scale {
            Scale::Quantiles => (0.0, most),
            // To the next of 1, 2, 5 on both sides.
            Scale::Times | Scale::Counts => (down(least), up(most)),
        };
        Some(Fitted { axis: self, least, most: most.max(least + 0.1) })
    }

    fn lay(self, number: f64) -> f64 {
        match self.scale {
            Scale::Times | Scale::Counts => number.max(1e-9).log10(),
            Scale::Quantiles => -(1.0 - number).max(1e-9).log10(),
        }
    }

    fn say(self, number: f64) -> String {
        match self.scale {
            Scale::Times if number >= 999_999.0 => format!("{:.0} s", number / 1e6),
            Scale::Times if number >= 999.0 => format!("{:.0} ms", number / 1e3),
            Scale::Times => format!("{number:.0} us"),
            Scale::Counts => format!("{number:.0}"),
            Scale::Quantiles => format!("{} %", (number * 100_000.0).round() / 1_000.0),
        }
    }
}

impl Fitted {
    /// Where a number is, 0 to 1.
    pub(super) fn place(&self, number: f64) -> f64 {
        (self.axis.lay(number) - self.least) / (self.most - self.least)
    }

    pub(super) fn ticks(&self) -> Vec<Tick> {
        let numbers: Vec<f64> = match self.axis.scale {
            Scale::Quantiles => vec![0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999],
            Scale::Times | Scale::Counts => {
                let decades = (-1..9).map(|decade| 10_f64.powi(decade));
                decades.flat_map(|decade| STEPS.map(|step| step * decade)).collect()
            }
        };
        let ticks =
            numbers.into_iter().map(|number| Tick { at: self.place(number), label: self.axis.say(number) });
        ticks.filter(|tick| tick.at > -1e-6 && tick.at < 1.0 + 1e-6).collect()
    }
}

const STEPS: [f64; 3] = [1.0, 2.0, 5.0];

fn down(laid: f64) -> f64 {
    let decade = laid.floor();
    let step =
        STEPS.into_iter().map(f64::log10).filter(|step| decade + step <= laid + 1e-9).fold(0.0, f64::max);
    decade + step
}

fn up(laid: f64) -> f64 {
    let decade = laid.floor();
    let mut steps = STEPS.into_iter().map(f64::log10).chain([1.0]);
    decade + steps.find(|step| decade + step >= laid - 1e-9).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis, numbers: &[f64]) -> String {
        let fitted = axis.fit(numbers.iter().copied()).unwrap();
        let ticks = fitted.ticks();
        assert!(ticks.is_sorted_by(|a, b| a.at < b.at), "{ticks:?}");
        ticks.into_iter().map(|tick| tick.label).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_axis_ends_at_round_numbers_around_what_is_shown() {
        assert_eq!(labels(Axis::times(""), &[63.0, 4_200.0]), "50 us 100 us 200 us 500 us 1 ms 2 ms 5 ms");
        assert_eq!(labels(Axis::counts(""), &[1.0, 200.0]), "1 2 5 10 20 50 100 200");
        assert_eq!(labels(Axis::quantiles(""), &[0.2, 0.999]), "0 % 50 % 90 % 99 % 99.9 %");
    }

    #[test]
    fn numbers_are_laid_between_the_ends() {
        let fitted = Axis::counts("").fit([10.0, 1_000.0].into_iter()).unwrap();
        assert!((fitted.place(10.0)).abs() < 1e-9);
        assert!((fitted.place(100.0) - 0.5).abs() < 1e-9);
        assert!((fitted.place(1_000.0) - 1.0).abs() < 1e-9);
        assert!(Axis::counts("").fit(std::iter::empty()).is_none());
    }
}
