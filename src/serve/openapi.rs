//! The description of the HTTP interface, OpenAPI 3.1, for the model that is served.

use serde_json::Value;

use super::model::Model;
use super::pixels::MOST_IMAGES;
use crate::{Error, Result};

const DOCUMENT: &str = include_str!("openapi.json");

/// The description with this model's number of classes.
pub(super) fn describe(model: &dyn Model) -> Result<Value> {
    let mut document = serde_json::from_str::<Value>(DOCUMENT)
        .map_err(|error| Error::failed("the description of the interface is not readable").caused_by(error))?;
    let classes = model.classes().len();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    let top = &mut document["paths"]["/v1/predict"]["post"]["parameters"][0]["schema"];
    top["maximum"] = classes.into();
    top["default"] = classes.min(3).into();
    document["components"]["schemas"]["Pixels"]["properties"]["images"]["maxItems"] = MOST_IMAGES.into();
    let labels = model.classes().iter().map(|class| Value::from(class.as_str())).chain([Value::Null]);
    document["components"]["schemas"]["Prediction"]["properties"]["label"]["enum"] = labels.collect();
    Ok(document)
}
