//! Transcendental functions that give the same bits on every machine.
//!
//! The platform's own differ in the last place between C libraries; these come from
//! the `libm` crate, a translation of musl's.

/// Returns e to the power of `x`.
pub fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// Returns the natural logarithm.
pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// Returns the logarithm to base 10.
pub fn log10(x: f64) -> f64 {
    libm::log10(x)
}

/// Returns the logarithm to base 2.
pub fn log2(x: f64) -> f64 {
    libm::log2(x)
}

/// Returns `x` to the power of `y`.
pub fn pow(x: f64, y: f64) -> f64 {
    libm::pow(x, y)
}

/// Returns the sine of an angle in radians.
pub fn sin(x: f64) -> f64 {
    libm::sin(x)
}

/// Returns the cosine of an angle in radians.
pub fn cos(x: f64) -> f64 {
    libm::cos(x)
}

/// Returns the angle of the point (`x`, `y`) in radians.
pub fn atan2(y: f64, x: f64) -> f64 {
    libm::atan2(y, x)
}

/// Returns the length of the vector (`x`, `y`).
pub fn hypot(x: f64, y: f64) -> f64 {
    libm::hypot(x, y)
}

/// Returns the error function: the share of a normal distribution within `x √2` deviations.
pub fn erf(x: f64) -> f64 {
    libm::erf(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_fixed_to_the_bit() {
        assert_eq!(exp(1.0).to_bits(), 0x4005_bf0a_8b14_576a);
        assert_eq!(ln(10.0).to_bits(), 0x4002_6bb1_bbb5_5516);
        assert_eq!(log10(1000.0), 3.0);
        assert_eq!(pow(2.0, 0.5).to_bits(), 2f64.sqrt().to_bits());
    }
}
