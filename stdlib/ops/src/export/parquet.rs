//! `export.parquet`: objects as a GeoParquet table.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, Float32Builder, Float64Builder, StringBuilder, UInt32Builder,
};
use arrow_array::{ArrayRef, RecordBatch, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema};
use cerb_engine::{Ctx, OpError, Operator, ports};
use cerb_image::{Instance, Instances, InstancesHeader};
use cerb_store::BlobWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::File;
use crate::export::geojson::ctx_note;
use crate::export::measure::{Measures, class};
use crate::export::outline::{Outline, Outliner, uuid};

/// Objects in a row group: about 2 MB, read at once when a window touches it.
const ROW_GROUP: usize = 8192;

/// Writes objects as GeoParquet 1.1, in full-resolution pixels: one row each, with
/// outline, box, class and measurements.
///
/// The coordinates are pixels, so the reference system is `null`; resolution and slide
/// stand in the file's metadata under `cerb`. Rows are in the order of the tiles the
/// objects were found in, so a box on the slide lies in few row groups.
///
/// ```cerb
/// let file = export.parquet(nuclei)
/// ```
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parquet {}

ports! {
    pub struct In {
        /// Objects to write.
        nuclei: Instances,
    }
    pub struct Out {
        /// The file, named after what it holds: `nuclei.parquet`, `glands.parquet`.
        file: File,
    }
}

impl Operator for Parquet {
    const NAME: &'static str = "export.parquet";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn run(&self, In { nuclei }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let header = nuclei.header();
        let mut writer = start(ctx.store().writer()?)?;
        let mut rows = Rows::default();
        let mut outliner = Outliner::default();
        let mut bounds: Option<[f64; 4]> = None;
        for (i, nucleus) in nuclei.iter()?.enumerate() {
            let nucleus = nucleus?;
            if let Some((outline, id)) = outliner.outline(&nucleus, header) {
                let own = outline.bounds();
                bounds = Some(bounds.map_or(own, |all| joined(all, own)));
                rows.push(&nucleus, &outline, id, header);
            }
            if rows.len == ROW_GROUP {
                ctx.check()?;
                ctx.progress(i as u64, nuclei.count(), "nucleus");
                writer.write(&rows.take()?).map_err(parquet_error)?;
                writer.flush().map_err(parquet_error)?;
            }
        }
        // An empty table still has its columns.
        writer.write(&rows.take()?).map_err(parquet_error)?;
        writer.append_key_value_metadata(KeyValue::new("geo".into(), geo(bounds)));
        writer.append_key_value_metadata(KeyValue::new("cerb".into(), provenance(header)));
        let blob = writer.into_inner().map_err(parquet_error)?.finish()?;
        let tally = outliner.tally;
        ctx_note(ctx, &header.tissue, &tally);
        let file = File::new(&format!("{}.parquet", header.tissue), blob)
            .with("rows", tally.written)
            .with("dropped", tally.dropped + tally.repeated);
        Ok(Out { file })
    }
}

/// What GeoParquet 1.1 asks a file to say; `crs` must be there and null, or it means degrees.
fn geo(bounds: Option<[f64; 4]>) -> String {
    let corner = |name: &str| json!(["bbox", name]);
    let mut column = json!({
        "encoding": "WKB",
        "crs": null,
        "geometry_types": ["Polygon"],
        "edges": "planar",
        "covering": { "bbox": {
            "xmin": corner("xmin"), "ymin": corner("ymin"), "xmax": corner("xmax"), "ymax": corner("ymax"),
        } },
    });
    if let Some(bounds) = bounds {
        column["bbox"] = json!(bounds);
    }
    json!({ "version": "1.1.0", "primary_column": "geometry", "columns": { "geometry": column } })
        .to_string()
}

fn provenance(header: &InstancesHeader) -> String {
    json!({
        "slide": header.slide.digest.to_string(),
        "slide_id": header.slide.digest.short(),
        "mpp": header.slide.mpp,
        "width": header.slide.width,
        "height": header.slide.height,
        "tissue": header.tissue,
        "processing_mpp": header.mpp,
    })
    .to_string()
}

fn joined(a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
    [
        a[0].min(b[0]),
        a[1].min(b[1]),
        a[2].max(b[2]),
        a[3].max(b[3]),
    ]
}

fn start(out: BlobWriter) -> Result<ArrowWriter<BlobWriter>, OpError> {
    let level = ZstdLevel::try_new(3).map_err(parquet_error)?;
    let properties = WriterProperties::builder()
        .set_created_by("cerb".to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .build();
    // A folder of files is read by its schema alone, so that has to say what the geometry is too.
    let stated = std::collections::HashMap::from([("geo".to_owned(), geo(None))]);
    let schema = schema().with_metadata(stated);
    ArrowWriter::try_new(out, Arc::new(schema), Some(properties)).map_err(parquet_error)
}

fn parquet_error(error: ParquetError) -> OpError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(error) => OpError::from(*error),
            Err(other) => OpError::Operator(other.to_string()),
        },
        other => OpError::Operator(other.to_string()),
    }
}

fn corners() -> Fields {
    ["xmin", "ymin", "xmax", "ymax"]
        .iter()
        .map(|name| Field::new(*name, DataType::Float64, false))
        .collect()
}

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("geometry", DataType::Binary, false),
        Field::new("bbox", DataType::Struct(corners()), false),
        Field::new("centroid_x", DataType::Float64, false),
        Field::new("centroid_y", DataType::Float64, false),
        Field::new("area_um2", DataType::Float64, false),
        Field::new("perimeter_um", DataType::Float64, false),
        Field::new("class", DataType::Utf8, false),
        Field::new("class_id", DataType::UInt32, true),
        Field::new("probability", DataType::Float32, true),
    ])
}

/// The columns of a row group while it fills.
#[derive(Default)]
struct Rows {
    len: usize,
    id: StringBuilder,
    geometry: BinaryBuilder,
    bbox: [Float64Builder; 4],
    centroid: [Float64Builder; 2],
    area: Float64Builder,
    perimeter: Float64Builder,
    class: StringBuilder,
    class_id: UInt32Builder,
    probability: Float32Builder,
}

impl Rows {
    fn push(&mut self, instance: &Instance, outline: &Outline, id: u128, header: &InstancesHeader) {
        let measures = Measures::of(instance, outline, header);
        self.len += 1;
        self.id.append_value(uuid(id));
        self.geometry.append_value(wkb(outline));
        for (column, value) in self.bbox.iter_mut().zip(outline.bounds()) {
            column.append_value(value);
        }
        for (column, value) in self.centroid.iter_mut().zip(measures.centroid) {
            column.append_value(value);
        }
        self.area.append_value(measures.area_um2);
        self.perimeter.append_value(measures.perimeter_um);
        self.class.append_value(class(instance, header).0);
        self.class_id.append_option(instance.class);
        self.probability.append_option(instance.prob);
    }

    /// Returns the rows so far and starts anew.
    fn take(&mut self) -> Result<RecordBatch, OpError> {
        self.len = 0;
        let bbox = self
            .bbox
            .iter_mut()
            .map(|column| Arc::new(column.finish()) as ArrayRef)
            .collect();
        let [x, y] = &mut self.centroid;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.id.finish()),
            Arc::new(self.geometry.finish()),
            Arc::new(StructArray::new(corners(), bbox, None)),
            Arc::new(x.finish()),
            Arc::new(y.finish()),
            Arc::new(self.area.finish()),
            Arc::new(self.perimeter.finish()),
            Arc::new(self.class.finish()),
            Arc::new(self.class_id.finish()),
            Arc::new(self.probability.finish()),
        ];
        RecordBatch::try_new(Arc::new(schema()), columns)
            .map_err(|error| OpError::Operator(error.to_string()))
    }
}

/// Returns an outline as well-known binary: a little-endian polygon of one ring.
fn wkb(outline: &Outline) -> Vec<u8> {
    let ring: Vec<[f64; 2]> = outline.ring().collect();
    let mut bytes = vec![1];
    for word in [3, 1, ring.len() as u32] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for value in ring.iter().flatten() {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{instances, store};
    use cerb_store::Store;

    fn written(store: &Store, count: i32) -> File {
        Parquet {}
            .run(
                In {
                    nuclei: instances(store, count),
                },
                &mut Ctx::detached(store),
            )
            .unwrap()
            .file
    }

    #[test]
    fn every_object_is_a_row_whatever_their_number() {
        let (_dir, store) = store();
        for count in [0, 1, ROW_GROUP as i32, ROW_GROUP as i32 + 5] {
            let file = written(&store, count);
            assert_eq!(file.fields["rows"], count);
            let bytes = store.read_blob(&file.blob.digest).unwrap();
            assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
        }
    }

    #[test]
    fn the_same_objects_give_the_same_bytes() {
        let (_dir, store) = store();
        assert_eq!(written(&store, 9000).blob, written(&store, 9000).blob);
    }

    #[test]
    fn the_reference_system_is_null_and_written_out() {
        let geo: serde_json::Value =
            serde_json::from_str(&geo(Some([0.0, 0.0, 5.0, 5.0]))).unwrap();
        let column = geo["columns"]["geometry"].as_object().unwrap();
        assert!(column.contains_key("crs") && column["crs"].is_null());
        assert_eq!(column["covering"]["bbox"]["xmax"], json!(["bbox", "xmax"]));
    }
}
