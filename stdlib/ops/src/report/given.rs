//! What is known of one slide: the input of all that reports it.

use cerb_engine::{OpError, ports};
use cerb_image::{Classes, Instances, Mask};
use cerb_slide::Slide;

use crate::reading::fits;

ports! {
    pub struct In {
        /// The slide.
        slide: Slide,
        /// Where its tissue is.
        mask: Option<Mask>,
        /// Nuclei that were found on it.
        nuclei: Option<Instances>,
        /// Glands that were found on it.
        glands: Option<Instances>,
        /// Lumina that were found on it.
        lumina: Option<Instances>,
        /// Which tissue each part of it is.
        classes: Option<Classes>,
    }
}

impl In {
    /// Refuses a mask of another slide.
    pub(crate) fn check(&self) -> Result<(), OpError> {
        fits(self.mask.as_ref(), &self.slide)
    }
}
