//! What exporters say of an object: measurements in µm, class, centre.

use cerb_image::{Instance, InstancesHeader};

use crate::export::outline::Outline;

/// Colour of objects without a class, by tissue.
const COLOURS: [(&str, &str, [u8; 3]); 3] = [
    ("nuclei", "Nucleus", [40, 120, 220]),
    ("glands", "Gland", [30, 150, 80]),
    ("lumina", "Lumen", [230, 160, 30]),
];

/// What is said of one object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measures {
    /// Area of its pixels in µm².
    pub(crate) area_um2: f64,
    /// Length of its outline in µm.
    pub(crate) perimeter_um: f64,
    /// Centre in level-0 pixels.
    pub(crate) centroid: [f64; 2],
    /// Share of its pixels that agree with its class.
    pub(crate) probability: Option<f64>,
}

impl Measures {
    pub(crate) fn of(instance: &Instance, outline: &Outline, header: &InstancesHeader) -> Self {
        // µm per level-0 pixel along x and y: the processing pixel is `mpp` µm in both.
        let mpp = header.scale.map(|scale| header.mpp / scale);
        Self {
            area_um2: instance.area as f64 * header.mpp * header.mpp,
            perimeter_um: outline.perimeter_um(mpp),
            centroid: header.to_level0(instance.centroid),
            probability: instance.prob.map(f64::from),
        }
    }
}

/// Returns name and colour of an object's class; of its tissue when it has none.
pub(crate) fn class(instance: &Instance, header: &InstancesHeader) -> (String, [u8; 3]) {
    let known = instance.class.and_then(|id| header.class(id));
    if let Some(class) = known {
        return (class.name.clone(), class.colour);
    }
    let own = COLOURS
        .iter()
        .find(|(tissue, _, _)| *tissue == header.tissue);
    own.map_or_else(
        || (header.tissue.clone(), [128; 3]),
        |&(_, name, colour)| (name.to_owned(), colour),
    )
}

/// Rounds to a number of decimals, so that files say no more than is known.
pub(crate) fn rounded(value: f64, decimals: i32) -> f64 {
    let factor = 10f64.powi(decimals);
    (value * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{header, instance};

    #[test]
    fn measures_are_in_micrometres() {
        let (header, nucleus) = (header(), instance(2));
        let outline = Outline::of(&nucleus, &header).unwrap();
        let measures = Measures::of(&nucleus, &outline, &header);
        assert_eq!(measures.area_um2, 6.25);
        // Four sides of 4 processing pixels of 0.5 µm.
        assert!(
            (measures.perimeter_um - 8.0).abs() < 0.01,
            "{}",
            measures.perimeter_um
        );
    }

    #[test]
    fn an_object_without_class_is_called_by_its_tissue() {
        assert_eq!(class(&instance(1), &header()).0, "Nucleus");
        assert_eq!(class(&instance(2), &header()).0, "epithelial");
    }
}
