//! The resolution in an OME-XML description.

/// µm per pixel of one image: along x, along y.
pub(crate) type PerPixel = (f64, f64);

/// Returns whether a TIFF description is an OME-XML document.
pub(crate) fn is_ome(description: &str) -> bool {
    let start = description.trim_start();
    start.starts_with('<') && start.contains("http://www.openmicroscopy.org/Schemas/OME/")
}

/// Reads `PhysicalSizeX` and `PhysicalSizeY` of the image with this size in pixels.
///
/// `Ok(None)` when the document states none, `Err` when it is not well-formed or the
/// unit is no length.
pub(crate) fn pixel_size(xml: &str, width: u32, height: u32) -> Result<Option<PerPixel>, String> {
    let document =
        roxmltree::Document::parse(xml).map_err(|error| format!("its OME-XML: {error}"))?;
    let number = |node: &roxmltree::Node<'_, '_>, name: &str| -> Option<f64> {
        node.attribute(name)
            .and_then(|value| value.trim().parse().ok())
    };
    let Some(pixels) = document
        .descendants()
        .filter(|node| node.has_tag_name_anywhere("Pixels"))
        .find(|node| {
            number(node, "SizeX") == Some(f64::from(width))
                && number(node, "SizeY") == Some(f64::from(height))
        })
    else {
        return Ok(None);
    };
    let axis = |size: &str, unit: &str| -> Result<Option<f64>, String> {
        let Some(value) = number(&pixels, size).filter(|v| v.is_finite() && *v > 0.0) else {
            return Ok(None);
        };
        // The schema's default unit is µm.
        let unit = pixels.attribute(unit).unwrap_or("µm");
        let micrometres =
            micrometres(unit).ok_or(format!("{size} has the unit `{unit}`, which is no length"))?;
        Ok(Some(value * micrometres))
    };
    let x = axis("PhysicalSizeX", "PhysicalSizeXUnit")?;
    let y = axis("PhysicalSizeY", "PhysicalSizeYUnit")?;
    Ok(x.zip(y))
}

/// µm in one unit of the schema's `UnitsLength`, those that a scanner could write.
fn micrometres(unit: &str) -> Option<f64> {
    Some(match unit {
        // MICRO SIGN, GREEK SMALL LETTER MU, and the spelling of files without either.
        "µm" | "μm" | "um" => 1.0,
        "nm" => 1e-3,
        "pm" => 1e-6,
        "Å" => 1e-4,
        "mm" => 1e3,
        "cm" => 1e4,
        "dm" => 1e5,
        "m" => 1e6,
        "in" => 25_400.0,
        _ => return None,
    })
}

/// Compares tag names without their namespace: the schema's address changes with its year.
trait LocalName {
    fn has_tag_name_anywhere(&self, name: &str) -> bool;
}

impl LocalName for roxmltree::Node<'_, '_> {
    fn has_tag_name_anywhere(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(attributes: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\">\
             <Image><Pixels SizeX=\"10\" SizeY=\"9\" PhysicalSizeX=\"7\" PhysicalSizeY=\"7\"/></Image>\
             <Image><Pixels SizeX=\"20\" SizeY=\"30\" {attributes}/></Image></OME>"
        )
    }

    #[test]
    fn the_image_of_this_size_decides() {
        let xml = document("PhysicalSizeX=\"0.25\" PhysicalSizeY=\"0.5\"");
        assert!(is_ome(&xml));
        assert_eq!(pixel_size(&xml, 20, 30), Ok(Some((0.25, 0.5))));
        assert_eq!(pixel_size(&xml, 10, 9), Ok(Some((7.0, 7.0))));
        assert_eq!(pixel_size(&xml, 11, 9), Ok(None));
    }

    #[test]
    fn units_are_converted_and_unknown_ones_refused() {
        let with = |unit: &str| {
            document(&format!(
                "PhysicalSizeX=\"250\" PhysicalSizeY=\"250\" PhysicalSizeXUnit=\"{unit}\" PhysicalSizeYUnit=\"{unit}\""
            ))
        };
        assert_eq!(pixel_size(&with("nm"), 20, 30), Ok(Some((0.25, 0.25))));
        assert!(
            pixel_size(&with("pixel"), 20, 30)
                .unwrap_err()
                .contains("`pixel`")
        );
        assert!(pixel_size("<OME", 20, 30).is_err());
    }
}
