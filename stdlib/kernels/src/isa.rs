//! Which instruction set the kernels use: the widest there is, found when running.

use crate::lanes::{Lanes, Plain};

/// An instruction set that the kernels can use on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Isa {
    /// Returns the fastest there is.
    #[must_use]
    pub fn best() -> Isa {
        Isa::all().last().copied().unwrap_or(Isa(Kind::Plain))
    }

    /// Returns all there are, the slowest first.
    #[must_use]
    pub fn all() -> Vec<Isa> {
        let mut all = vec![Kind::Plain];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("fma")
            {
                all.push(Kind::Avx2);
            }
            if std::arch::is_x86_feature_detected!("avx512f") {
                all.push(Kind::Avx512);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            all.push(Kind::Neon);
        }
        all.into_iter().map(Isa).collect()
    }

    /// Returns its name: `avx512`, `avx2`, `neon`, `plain`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Plain => "plain",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
        }
    }

    /// Returns the values in a vector.
    pub(crate) fn width(self) -> usize {
        match self.0 {
            Kind::Plain => Plain::WIDTH,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => crate::lanes::Avx2::WIDTH,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => crate::lanes::Avx512::WIDTH,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => crate::lanes::Neon::WIDTH,
        }
    }

    /// Does work with its vectors.
    pub(crate) fn run(self, work: impl Work) {
        match self.0 {
            // SAFETY: plain arithmetic is everywhere.
            Kind::Plain => unsafe { work.run::<Plain>() },
            // SAFETY of the others: an `Isa` is made only when its instruction set was found.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2(work) },
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512(work) },
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => unsafe { neon(work) },
        }
    }
}

/// Something to be done with vectors.
pub(crate) trait Work {
    /// Does it; `#[inline(always)]`, so that it is compiled for the instruction set.
    ///
    /// # Safety
    /// The instruction set of `L` must be there.
    unsafe fn run<L: Lanes>(self);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(work: impl Work) {
    // SAFETY: the caller has found the instruction set.
    unsafe { work.run::<crate::lanes::Avx2>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(work: impl Work) {
    // SAFETY: the caller has found the instruction set.
    unsafe { work.run::<crate::lanes::Avx512>() }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn neon(work: impl Work) {
    // SAFETY: the caller has found the instruction set.
    unsafe { work.run::<crate::lanes::Neon>() }
}
