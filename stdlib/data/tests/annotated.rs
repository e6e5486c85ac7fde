//! Annotated images: the artifact, the files it is read from, and every layout on small files made in it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod annotated {
    mod conic;
    mod dataset;
    mod glands;
    mod joined;
    mod mat;
    mod mats;
    mod npy;
    mod nucls;
    mod patches;
    mod plain;
    mod resample;
    mod split;
    mod summary;
    pub mod support;
}
use annotated::support;
